"""Unseen scoops and containers: five shapes of each, with random sizes and colours.

Never import this from code that trains or synthesises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..families_train.pour import (
    FLOOR,
    HANDLE_LOW,
    SCOOP_FRICTION,
    SHEET,
    container,
    part_corners,
    ring,
    round_container,
)
from ..objects import Category, LinkPoint, ObjectModel, Split
from ..urdf import Colour, Link, Part, Vector, urdf_text

LEVEL = (0.0, 0.0, 0.0)
FILL = 0.3  # of a pan's length from its rear to where the balls belong
BALL_ROW = 0.016  # metres between two rows of balls
STRIPS = 3  # of the floor between two stations


@dataclass(frozen=True)
class UnseenFamily:
    """Scoops or containers of one kind, random in size and colour.

    Attributes:
        name: unique in its category.
        category: scoop or bowl.
        draw: draws one object of the family named.
    """

    name: str
    category: Category
    draw: Callable[[str, np.random.Generator], ObjectModel]
    split: Split = "test"

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """A random object of this kind."""
        return self.draw(self.name, rng)


def _colour(rng: np.random.Generator) -> Colour:
    red, green, blue = rng.uniform(0.12, 0.95, 3)
    return float(red), float(green), float(blue), 1.0


@dataclass(frozen=True)
class Pan:
    """An open pan of any outline; lengths in metres.

    Attributes:
        x: of its stations from the rear (0) to the lip.
        half: half its width at each station.
        walls: height above the floor of the wall that starts at each station; the last is not used.
        slope: radians, of the floor, up toward the lip.
        colour: of all of it.
    """

    x: Sequence[float]
    half: Sequence[float]
    walls: Sequence[float]
    slope: float
    colour: Colour

    def floor(self, x: float) -> float:
        """The top of the floor."""
        return SHEET + x * float(np.tan(self.slope))

    def half_width(self, x: float) -> float:
        """Half the pan's width."""
        return float(np.interp(x, self.x, self.half))

    def parts(self) -> tuple[Part, ...]:
        """Floor, rear wall and side walls."""
        rear = Part("box", (SHEET, 2 * self.half[0] + SHEET, self.floor(0.0) + self.walls[0]), LEVEL,
                    colour=self.colour, mass=0.008)  # fmt: skip
        rear = replace(rear, xyz=(0.0, 0.0, rear.size[2] / 2))
        return (rear, *self._strips(), *self._boards())

    def _strips(self) -> list[Part]:
        """The sloping floor, cut across into strips that follow the outline."""
        edges = np.concatenate(
            [np.linspace(a, b, STRIPS, endpoint=False) for a, b in pairwise(self.x)] + [[self.x[-1]]]
        )
        parts = []
        for start, end in pairwise(edges):
            x, length = float(start + end) / 2, float(end - start)
            size = (length / float(np.cos(self.slope)), 2 * self.half_width(x), SHEET)
            at = (x, 0.0, self.floor(x) - SHEET / 2)
            mass = 0.04 * length / self.x[-1]
            parts.append(Part("box", size, at, (0.0, -self.slope, 0.0), self.colour, mass))
        return parts

    def _boards(self) -> list[Part]:
        """Upright boards along both sides of the outline."""
        parts = []
        for (x, next_x), (half, next_half), wall in zip(
            pairwise(self.x), pairwise(self.half), self.walls[:-1], strict=True
        ):
            middle, length = (x + next_x) / 2, float(np.hypot(next_x - x, next_half - half))
            height, yaw = self.floor(middle) + wall, float(np.arctan2(next_half - half, next_x - x))
            size, y = (length + SHEET / 2, SHEET, height), (half + next_half) / 2
            mass = 0.024 * length / self.x[-1]
            parts += [
                Part("box", size, (middle, sign * y, height / 2), (0.0, 0.0, sign * yaw), self.colour, mass)
                for sign in (1.0, -1.0)
            ]
        return parts


def _scoop(family: str, pan: Pan, handle: tuple[Part, ...], grip: Vector) -> ObjectModel:
    """A pan with a handle behind it; keypoints and scalars are `build_scoop`'s, `grip` is its "handle"."""
    parts = (*pan.parts(), *handle)
    corners = [part_corners(part) for part in parts]
    low, high = np.min(corners, axis=(0, 1)), np.max(corners, axis=(0, 1))
    fill, length = FILL * pan.x[-1], pan.x[-1]
    inside = 2 * min(pan.half_width(fill), pan.half_width(fill + BALL_ROW)) - 2 * SHEET
    return ObjectModel(
        category="scoop",
        family=family,
        urdf=urdf_text(family, [Link("base", parts)]),
        keypoints={
            "handle": LinkPoint(grip),
            "lip": LinkPoint((length, 0.0, pan.floor(length))),
            "fill": LinkPoint((fill, 0.0, pan.floor(fill))),
        },
        scalars={
            "fill_width": inside,
            "back": float(-low[0]),
            "front": float(high[0]),
            "half_width": float(max(high[1], -low[1])),
        },
        friction=SCOOP_FRICTION,
    )


def _stick(
    start: float, end: float, width: float, heights: tuple[float, float], colour: Colour, mass: float = 0.015
) -> Part:
    """A flat-sided bar behind a pan, between two distances from its rear."""
    size = (end - start, width, heights[1] - heights[0])
    return Part("box", size, (-(start + end) / 2, 0.0, sum(heights) / 2), LEVEL, colour, mass)


def _loop(length: float, width: float, top: float, colour: Colour) -> tuple[Part, ...]:
    """A cup's handle: two arms from the rear, one above the other, and an upright between their ends."""
    return (
        _stick(0.0, length, width, (top - 0.018, top), colour, 0.008),
        _stick(length - 0.011, length, width, (0.008, top - 0.018), colour, 0.004),
        _stick(0.0, length - 0.011, width, (0.008, 0.016), colour, 0.004),
    )


def _round_outline(radius: float, first: float, last: float) -> tuple[list[float], list[float]]:
    """Stations (x, half width) of a circle between two angles from its rear, the first at x = 0."""
    angles = np.linspace(first, last, 8)
    x, half = radius * (np.cos(first) - np.cos(angles)), radius * np.sin(angles)
    return [float(value) for value in x], [float(value) for value in half]


def _mug(family: str, rng: np.random.Generator) -> ObjectModel:
    """A tall round cup, open in front, with a looped handle behind."""
    x, half = _round_outline(rng.uniform(0.043, 0.047), 0.35, 2.45)
    wall, top = rng.uniform(0.036, 0.044), rng.uniform(0.044, 0.05)
    length, width = rng.uniform(0.055, 0.065), rng.uniform(0.016, 0.022)
    walls = [wall] * 5 + [0.7 * wall, 0.4 * wall, 0.0]
    pan = Pan(x, half, walls, 0.17, _colour(rng))
    return _scoop(family, pan, _loop(length, width, top, _colour(rng)), (-0.55 * length, 0.0, top))


def _milk_jug(family: str, rng: np.random.Generator) -> ObjectModel:
    """A round jug drawn out to a long spout, with a looped handle behind."""
    x, half = _round_outline(rng.uniform(0.038, 0.042), 0.4, 2.1)
    spout, lip = rng.uniform(0.03, 0.04), rng.uniform(0.026, 0.029)
    wall, top = rng.uniform(0.034, 0.042), rng.uniform(0.042, 0.048)
    x, half = [*x, x[-1] + 0.5 * spout, x[-1] + spout], [*half, lip, lip]
    walls = [wall] * 6 + [0.75 * wall, 0.55 * wall, 0.4 * wall, 0.0]
    pan = Pan(x, half, walls, 0.18, _colour(rng))
    length, width = rng.uniform(0.06, 0.07), rng.uniform(0.018, 0.024)
    return _scoop(family, pan, _loop(length, width, top, _colour(rng)), (-0.55 * length, 0.0, top))


def _saucepan(family: str, rng: np.random.Generator) -> ObjectModel:
    """A wide round pan with a notch in front, and a raised stick: a thin neck, a broad end, a knob."""
    x, half = _round_outline(rng.uniform(0.044, 0.049), 0.3, 2.4)
    top, width = rng.uniform(0.036, 0.042), rng.uniform(0.022, 0.028)
    neck, length = rng.uniform(0.03, 0.04), rng.uniform(0.13, 0.15)
    pan = Pan(x, half, [rng.uniform(0.02, 0.026)] * 8, 0.17, _colour(rng))
    grip, trim = _colour(rng), _colour(rng)
    handle = (
        _stick(0.0, neck, 0.5 * width, (top - 0.02, top - 0.004), trim, 0.004),
        _stick(neck, length, width, (top - 0.026, top), grip),
        Part("cylinder", (0.75 * width, 0.018, 0.0), (-length, 0.0, top - 0.012), LEVEL, trim, 0.004),
    )
    return _scoop(family, pan, handle, (-(neck + length) / 2, 0.0, top))


def _flour_scoop(family: str, rng: np.random.Generator) -> ObjectModel:
    """A long channel whose walls are cut obliquely, hooded at its rear, with a short stout handle."""
    half, length, wall = rng.uniform(0.032, 0.036), rng.uniform(0.105, 0.12), rng.uniform(0.04, 0.048)
    colour, grip, width = _colour(rng), _colour(rng), rng.uniform(0.026, 0.034)
    x = [float(value) for value in np.linspace(0.0, length, 7)]
    pan = Pan(x, [half] * 7, [float(value) for value in np.linspace(wall, 0.006, 7)], 0.16, colour)
    hood = Part("box", (0.018, 2 * half + SHEET, SHEET), (0.008, 0.0, wall + SHEET), LEVEL, colour, 0.004)
    reach, top = rng.uniform(0.09, 0.105), rng.uniform(0.03, 0.036)
    handle = _stick(0.0, reach, width, (HANDLE_LOW, top), grip)
    return _scoop(family, pan, (hood, handle), (-0.55 * reach, 0.0, top))


def _hex_ladle(family: str, rng: np.random.Generator) -> ObjectModel:
    """A six-sided bowl, open in front, on a long stick that ends in a ball."""
    rear, middle, lip = rng.uniform(0.02, 0.026), rng.uniform(0.042, 0.047), rng.uniform(0.027, 0.031)
    length, wall = rng.uniform(0.08, 0.092), rng.uniform(0.022, 0.03)
    pan = Pan((0.0, 0.4 * length, length), (rear, middle, lip), (wall, 0.7 * wall, 0.0), 0.18, _colour(rng))
    reach, width, top = rng.uniform(0.14, 0.16), rng.uniform(0.016, 0.022), rng.uniform(0.03, 0.034)
    handle = _stick(0.0, reach, width, (HANDLE_LOW, top), _colour(rng))
    ball = Part("sphere", (0.016, 0.0, 0.0), (-reach, 0.0, 0.018), LEVEL, pan.colour, 0.004)
    return _scoop(family, pan, (handle, ball), (-0.5 * reach, 0.0, top))


def _dustpan(family: str, rng: np.random.Generator) -> ObjectModel:
    """Shallow and flat, a fan from a narrow rear to a wide lip, with a broad flat handle and an end bar."""
    rear, lip, length = rng.uniform(0.027, 0.031), rng.uniform(0.047, 0.052), rng.uniform(0.085, 0.095)
    colour, wall = _colour(rng), rng.uniform(0.014, 0.018)
    pan = Pan((0.0, length), (rear, lip), (wall, 0.0), 0.16, colour)
    reach, width, top = rng.uniform(0.1, 0.12), rng.uniform(0.034, 0.042), rng.uniform(0.028, 0.032)
    handle = _stick(0.0, reach, width, (HANDLE_LOW, top), _colour(rng))
    bar = _stick(reach, reach + 0.012, 1.8 * width, (HANDLE_LOW, top), colour, 0.004)
    return _scoop(family, pan, (handle, bar), (-0.5 * reach, 0.0, top))


def _hexagon(radius: float, low: float, sheet: float, colour: Colour, mass: float) -> tuple[Part, ...]:
    """A six-sided plate, `radius` from its middle to a side."""
    size = (2 * radius, 2 * radius / float(np.sqrt(3.0)), sheet)
    turns = [(0.0, 0.0, float(angle)) for angle in np.pi / 3 * (np.arange(3) + 0.5)]
    return tuple(Part("box", size, (0.0, 0.0, low + sheet / 2), turn, colour, mass / 3) for turn in turns)


def _hex_dish(family: str, rng: np.random.Generator) -> ObjectModel:
    """A low six-sided dish with a wide flare."""
    colour, height, flare = _colour(rng), rng.uniform(0.036, 0.05), rng.uniform(0.15, 0.35)
    radius = rng.uniform(0.06, 0.066)
    lean = height / 2 * float(np.tan(flare))
    wall = ring(radius + SHEET / 2, height, SHEET, (0.0, 2 * np.pi), 6, colour, 0.1, flare)
    floor = _hexagon(radius - lean + 0.002, 0.0, FLOOR, colour, 0.25)
    return container(family, (*floor, *wall), (radius + lean, radius + lean), height, is_round=True)


def _casserole(family: str, rng: np.random.Generator) -> ObjectModel:
    """A deep round pot with two ears in another colour and a broad band around it."""
    colour, trim = _colour(rng), _colour(rng)
    radius, height, ear = rng.uniform(0.055, 0.061), rng.uniform(0.058, 0.07), rng.uniform(0.018, 0.026)
    span, level = rng.uniform(0.036, 0.05), rng.uniform(0.6, 0.85) * height
    ears: list[Part] = []
    for sign in (1.0, -1.0):
        y = sign * (radius + ear)
        ears.append(Part("box", (span, 0.009, 0.01), (0.0, y, level), LEVEL, trim, 0.008))
        ears += [
            Part("box", (0.009, ear, 0.01), (side * (span - 0.009) / 2, y - sign * ear / 2, level), LEVEL,
                 trim, 0.004)
            for side in (1.0, -1.0)
        ]  # fmt: skip
    band = ring(radius + 0.006, 0.3 * height, SHEET, (0.0, 2 * np.pi), 14, trim, 0.03)
    return round_container(family, radius, height, colour, extra=(*ears, *band))


def _oval_dish(family: str, rng: np.random.Generator) -> ObjectModel:
    """Two half rounds with straight sides between them, on a thick foot plate."""
    colour, half = _colour(rng), rng.uniform(0.018, 0.026)
    radius, height = rng.uniform(0.05, 0.055), rng.uniform(0.038, 0.055)
    parts = [Part("box", (2 * half, 2 * radius + SHEET, FLOOR), (0.0, 0.0, FLOOR / 2), LEVEL, colour, 0.12)]
    for sign, start in ((1.0, -np.pi / 2), (-1.0, np.pi / 2)):
        arc = ring(radius + SHEET / 2, height, SHEET, (start, start + np.pi), 8, colour, 0.04)
        end = Part("cylinder", (radius + 0.002, FLOOR, 0.0), (0.0, 0.0, FLOOR / 2), LEVEL, colour, 0.08)
        parts += [replace(p, xyz=(p.xyz[0] + sign * half, *p.xyz[1:])) for p in (*arc, end)]
        y = sign * (radius + SHEET / 2)
        parts.append(Part("box", (2 * half, SHEET, height), (0.0, y, height / 2), LEVEL, colour, 0.01))
    return container(family, tuple(parts), (half + radius, radius), height, is_round=True)


def _flower_tub(family: str, rng: np.random.Generator) -> ObjectModel:
    """Four leaning walls, wider above than below, with a knob at every corner of the rim."""
    colour, trim = _colour(rng), _colour(rng)
    radius, height, flare = rng.uniform(0.053, 0.058), rng.uniform(0.05, 0.066), rng.uniform(0.12, 0.26)
    lean = height / 2 * float(np.tan(flare))
    base = 2 * (radius - lean) + SHEET
    floor = Part("box", (base, base, FLOOR), (0.0, 0.0, FLOOR / 2), LEVEL, colour, 0.25)
    wall = ring(radius + SHEET / 2, height, SHEET, (-np.pi / 4, 7 * np.pi / 4), 4, colour, 0.1, flare)
    corner, size = radius + lean + SHEET, rng.uniform(0.007, 0.01)
    knobs = [
        Part("box", (2 * size, 2 * size, 0.012), (a * corner, b * corner, height - 0.006), LEVEL, trim, 0.004)
        for a in (1.0, -1.0)
        for b in (1.0, -1.0)
    ]
    half = (radius + lean, radius + lean)
    return container(family, (floor, *wall, *knobs), half, height, is_round=False)


def _compote(family: str, rng: np.random.Generator) -> ObjectModel:
    """A bowl held up on a stem and a round foot, with a broad level brim in another colour."""
    colour, trim = _colour(rng), _colour(rng)
    radius, depth, flare = rng.uniform(0.06, 0.065), rng.uniform(0.034, 0.04), rng.uniform(0.1, 0.25)
    stem, brim = rng.uniform(0.022, 0.03), rng.uniform(0.01, 0.016)
    lean = depth / 2 * float(np.tan(flare))
    base, rim = radius - lean + 0.002, radius + lean
    bowl = [
        Part("cylinder", (base, FLOOR, 0.0), (0.0, 0.0, FLOOR / 2), LEVEL, colour, 0.1),
        *ring(radius + 0.002, depth, SHEET, (0.0, 2 * np.pi), 14, colour, 0.06, flare),
    ]
    edge = ring(rim + SHEET + brim / 2, 0.005, brim, (0.0, 2 * np.pi), 14, trim, 0.02)
    raised = [*_lifted(bowl, stem), *_lifted(edge, stem + depth - 0.005)]
    post = Part("cylinder", (0.016, stem, 0.0), (0.0, 0.0, stem / 2), LEVEL, trim, 0.05)
    foot = Part("cylinder", (0.75 * base, 0.008, 0.0), (0.0, 0.0, 0.004), LEVEL, trim, 0.3)
    model = container(family, (*raised, post, foot), (rim, rim), stem + depth, is_round=True)
    return replace(model, keypoints={"centre": LinkPoint((0.0, 0.0, stem + FLOOR))})


def _lifted(parts: Iterable[Part], rise: float) -> list[Part]:
    return [replace(part, xyz=(*part.xyz[:2], part.xyz[2] + rise)) for part in parts]


FAMILIES: tuple[UnseenFamily, ...] = (
    UnseenFamily("mug", "scoop", _mug),
    UnseenFamily("milk_jug", "scoop", _milk_jug),
    UnseenFamily("saucepan", "scoop", _saucepan),
    UnseenFamily("flour_scoop", "scoop", _flour_scoop),
    UnseenFamily("hex_ladle", "scoop", _hex_ladle),
    UnseenFamily("dustpan", "scoop", _dustpan),
    UnseenFamily("hex_dish", "bowl", _hex_dish),
    UnseenFamily("casserole", "bowl", _casserole),
    UnseenFamily("oval_dish", "bowl", _oval_dish),
    UnseenFamily("flower_tub", "bowl", _flower_tub),
    UnseenFamily("compote", "bowl", _compote),
)
