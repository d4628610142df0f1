"""Scoops, balls and containers of the pour task: how any is built, the training and the validation instances.

A scoop has a pan whose floor rises toward its open front, so that level it keeps the balls and tilted it
lets them go, and a handle that the jaws close on from both sides. Nothing is welded: the tool is held by the
friction of two finger pads on flat handle sides, the balls by the pan's walls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.spatial.transform import Rotation

from ...perception.frame import FloatArray
from ..objects import Category, LinkPoint, ObjectModel, Split
from ..urdf import Colour, Link, Part, Vector, urdf_text

SHEET = 0.004  # metres, thickness of pan walls
HANDLE_LOW = 0.006  # metres, underside of a handle above the table
SCOOP_FRICTION = 1.0
BALL_RADIUS = 0.0075
BALL_MASS = 0.002
BALL_FRICTION = 0.25  # low enough that balls do not arch across the lip
# Beans rather than marbles: they start to roll at 15 degrees, so they leave a tilted pan slowly.
BALL_ROLLING = 0.002


@dataclass(frozen=True)
class ScoopShape:
    """What tells one scoop from another; lengths in metres.

    Attributes:
        rear_width: of the pan, outside, at the handle.
        front_width: of the pan at the lip.
        length: of the pan.
        wall: height of its walls at the rear.
        lip_wall: height of its side walls at the lip.
        slope: radians, of the floor, up toward the lip.
        handle_length: from the pan's rear.
        handle_width: along the jaws' closing axis.
        handle_top: above the table.
        body: colour of the pan.
        grip: colour of the handle.
    """

    rear_width: float
    front_width: float
    length: float
    wall: float = 0.035
    lip_wall: float = 0.02
    slope: float = 0.16
    handle_length: float = 0.12
    handle_width: float = 0.025
    handle_top: float = 0.032
    body: Colour = (0.75, 0.2, 0.2, 1.0)
    grip: Colour = (0.2, 0.2, 0.22, 1.0)

    @property
    def lip_height(self) -> float:
        """The top of the floor at the lip."""
        return SHEET + self.length * float(np.tan(self.slope))


def build_scoop(family: str, shape: ScoopShape) -> ObjectModel:
    """A scoop resting level on the table z = 0, handle along -x, lip toward +x, the pan's rear at x = 0.

    Keypoints: "handle", the middle of the handle's top; "lip", the middle of the floor's front edge; "fill",
    on the floor where balls belong. Scalars, metres: fill_width, the pan's inside width there; back, front,
    half_width, how far the scoop reaches along -x, x and y.
    """
    parts = (*_floor(shape), *_sides(shape), _rear(shape), _handle(shape))
    fill = 0.3 * shape.length
    width = min(shape.rear_width, shape.front_width)
    return ObjectModel(
        category="scoop",
        family=family,
        urdf=urdf_text(family, [Link("base", parts)]),
        keypoints={
            "handle": LinkPoint((-0.5 * shape.handle_length, 0.0, shape.handle_top)),
            "lip": LinkPoint((shape.length, 0.0, shape.lip_height)),
            "fill": LinkPoint((fill, 0.0, SHEET + fill * float(np.tan(shape.slope)))),
        },
        scalars={
            "fill_width": (shape.rear_width + width) / 2 - 2 * SHEET,
            "back": shape.handle_length,
            "front": shape.length,
            "half_width": max(shape.rear_width, shape.front_width) / 2,
        },
        friction=SCOOP_FRICTION,
    )


def _floor(shape: ScoopShape) -> tuple[Part, ...]:
    """The sloping floor, cut across into strips that follow the taper."""
    count = 1 if shape.rear_width == shape.front_width else 4
    length = shape.length / float(np.cos(shape.slope)) / count
    parts = []
    for index in range(count):
        share = (index + 0.5) / count
        x = share * shape.length
        z = SHEET / 2 + x * float(np.tan(shape.slope))
        width = shape.rear_width + share * (shape.front_width - shape.rear_width)
        size = (length, width, SHEET)
        parts.append(Part("box", size, (x, 0.0, z), (0.0, -shape.slope, 0.0), shape.body, 0.04 / count))
    return tuple(parts)


def _sides(shape: ScoopShape) -> tuple[Part, ...]:
    """Two side walls from rear to lip, each a lower full-length and an upper rear board."""
    spread = (shape.front_width - shape.rear_width) / 2
    yaw, length = float(np.arctan2(spread, shape.length)), float(np.hypot(spread, shape.length))
    low = shape.lip_height + shape.lip_wall
    parts = []
    for sign in (1.0, -1.0):
        y = sign * ((shape.rear_width + shape.front_width) / 4 - SHEET / 2)
        turn = (0.0, 0.0, sign * yaw)
        parts.append(
            Part("box", (length, SHEET, low), (shape.length / 2, y, low / 2), turn, shape.body, 0.008)
        )
        if shape.wall > low:
            rear_y = sign * (shape.rear_width / 2 + spread / 4 - SHEET / 2)
            size = (length / 2, SHEET, shape.wall)
            parts.append(
                Part("box", size, (shape.length / 4, rear_y, shape.wall / 2), turn, shape.body, 0.004)
            )
    return tuple(parts)


def _rear(shape: ScoopShape) -> Part:
    size = (SHEET, shape.rear_width, shape.wall)
    return Part("box", size, (0.0, 0.0, shape.wall / 2), (0.0, 0.0, 0.0), shape.body, 0.008)


def _handle(shape: ScoopShape) -> Part:
    size = (shape.handle_length, shape.handle_width, shape.handle_top - HANDLE_LOW)
    middle = (-shape.handle_length / 2, 0.0, (shape.handle_top + HANDLE_LOW) / 2)
    return Part("box", size, middle, (0.0, 0.0, 0.0), shape.grip, 0.015)


def ring(
    radius: float,
    height: float,
    sheet: float,
    angles: tuple[float, float],
    count: int,
    colour: Colour,
    mass: float,
    flare: float = 0.0,
) -> tuple[Part, ...]:
    """An upright wall of flat panels along an arc about the z axis, standing on z = 0.

    Args:
        radius: of the panels' middles at half height, metres.
        height: metres.
        sheet: thickness, metres.
        angles: first and last of the arc, radians.
        count: panels.
        colour: of the panels.
        mass: of the wall, kilograms.
        flare: radians by which the panels lean outward.
    """
    step = (angles[1] - angles[0]) / count
    width = 2 * (radius + sheet + height / 2 * float(np.sin(abs(flare)))) * float(np.tan(abs(step) / 2))
    parts = []
    for index in range(count):
        angle = angles[0] + (index + 0.5) * step
        centre: Vector = (radius * float(np.cos(angle)), radius * float(np.sin(angle)), height / 2)
        size = (sheet, width, height / float(np.cos(flare)))
        parts.append(Part("box", size, centre, (0.0, flare, angle), colour, mass / count))
    return tuple(parts)


@dataclass(frozen=True)
class ScoopFamily:
    """Scoops of one kind.

    Attributes:
        name: unique among scoops.
        split: which split may use it.
        draw: draws one shape.
    """

    name: str
    split: Split
    draw: Callable[[np.random.Generator], ScoopShape]
    category: Category = "scoop"

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """A random scoop of this kind."""
        return build_scoop(self.name, self.draw(rng))


@dataclass(frozen=True)
class ContainerFamily:
    """Containers of one kind.

    Attributes:
        name: unique among containers.
        split: which split may use it.
        draw: draws one container.
    """

    name: str
    split: Split
    draw: Callable[[np.random.Generator], ObjectModel]
    category: Category = "bowl"

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """A random container of this kind."""
        return self.draw(rng)


FLOOR = 0.006  # metres, thickness of a container's floor


def round_container(
    family: str,
    radius: float,
    height: float,
    colour: Colour,
    flare: float = 0.0,
    extra: tuple[Part, ...] = (),
) -> ObjectModel:
    """A round container, `radius` inside at half height; its keypoint and scalars are `container`'s."""
    base = radius - height / 2 * float(np.tan(flare))
    floor = Part("cylinder", (base + 0.002, FLOOR, 0.0), (0.0, 0.0, FLOOR / 2), (0.0, 0.0, 0.0), colour, 0.25)
    wall = ring(radius + 0.002, height, SHEET, (0.0, 2 * np.pi), 14, colour, 0.1, flare)
    rim = radius + height / 2 * float(np.tan(flare))
    return container(family, (floor, *wall, *extra), (rim, rim), height, is_round=True)


def box_container(
    family: str,
    inner: tuple[float, float],
    height: float,
    colour: Colour,
    extra: tuple[Part, ...] = (),
) -> ObjectModel:
    """A rectangular container with (x, y) inside lengths; its keypoint and scalars are `container`'s."""
    x, y = inner[0] / 2 + SHEET / 2, inner[1] / 2 + SHEET / 2
    level = (0.0, 0.0, 0.0)
    floor = Part("box", (2 * x, 2 * y, FLOOR), (0.0, 0.0, FLOOR / 2), level, colour, 0.25)
    ends = [
        Part("box", (SHEET, 2 * y + SHEET, height), (sign * x, 0.0, height / 2), level, colour, 0.025)
        for sign in (1.0, -1.0)
    ]
    sides = [
        Part("box", (2 * x, SHEET, height), (0.0, sign * y, height / 2), level, colour, 0.025)
        for sign in (1.0, -1.0)
    ]
    return container(
        family, (floor, *ends, *sides, *extra), (inner[0] / 2, inner[1] / 2), height, is_round=False
    )


def container(
    family: str, parts: tuple[Part, ...], half: tuple[float, float], height: float, *, is_round: bool
) -> ObjectModel:
    """A container about the z axis on the table z = 0.

    Keypoint: "centre", the middle of its floor. Scalars: half_x, half_y (of its opening, inside), height of
    its rim, back, front, half_width (how far it reaches along -x, x and y), all metres; round (1 or 0).
    """
    corners = [part_corners(part) for part in parts]
    low, high = np.min(corners, axis=(0, 1)), np.max(corners, axis=(0, 1))
    reach = float(-low[0]), float(high[0]), float(max(high[1], -low[1]))
    return ObjectModel(
        category="bowl",
        family=family,
        urdf=urdf_text(family, [Link("base", parts)]),
        keypoints={"centre": LinkPoint((0.0, 0.0, FLOOR))},
        scalars={
            "half_x": half[0],
            "half_y": half[1],
            "height": height,
            "round": float(is_round),
            "back": reach[0],
            "front": reach[1],
            "half_width": reach[2],
        },
    )


def part_corners(part: Part) -> FloatArray:
    """Corners (8, 3) of the box around a part, metres in the link's frame."""
    radius, length = part.size[:2]
    size = (2 * radius, 2 * radius, length) if part.shape == "cylinder" else part.size
    corners = np.array(list(product((-0.5, 0.5), repeat=3))) * size
    return Rotation.from_euler("xyz", part.rpy).apply(corners) + part.xyz


def ball(colour: Colour) -> ObjectModel:
    """One small ball, the stuff that is poured."""
    part = Part("sphere", (BALL_RADIUS, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), colour, BALL_MASS)
    return ObjectModel(
        category="clutter",
        family="ball",
        urdf=urdf_text("ball", [Link("base", (part,))]),
        keypoints={},
        scalars={"radius": BALL_RADIUS, "rolling_friction": BALL_ROLLING},
        friction=BALL_FRICTION,
    )


WHITE: Colour = (0.92, 0.92, 0.88, 1.0)
BLUE: Colour = (0.25, 0.35, 0.7, 1.0)
GREEN: Colour = (0.3, 0.6, 0.4, 1.0)

FAMILIES: tuple[ScoopFamily | ContainerFamily, ...] = (
    ScoopFamily("box_scoop", "train", lambda _: ScoopShape(0.08, 0.08, 0.09)),
    ScoopFamily(
        "long_scoop",
        "validation",
        lambda _: ScoopShape(0.07, 0.07, 0.10, handle_length=0.14, body=BLUE, grip=WHITE),
    ),
    ScoopFamily(
        "flared_scoop", "validation", lambda _: ScoopShape(0.065, 0.085, 0.085, handle_width=0.03, body=GREEN)
    ),
    ContainerFamily("bowl", "train", lambda _: round_container("bowl", 0.062, 0.05, WHITE, flare=0.25)),
    ContainerFamily("deep_bowl", "validation", lambda _: round_container("deep_bowl", 0.058, 0.06, BLUE)),
    ContainerFamily(
        "square_bowl", "validation", lambda _: box_container("square_bowl", (0.12, 0.12), 0.045, GREEN)
    ),
)
