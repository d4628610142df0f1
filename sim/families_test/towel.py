"""Unseen towels and racks: five shapes of each, with random sizes and colours.

Never import this from code that trains or synthesises.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ..families_train.pour import part_corners
from ..families_train.towel import (
    Bar,
    RackFamily,
    TowelFamily,
    TowelShape,
    Widths,
    build_rack,
    foot,
)
from ..objects import ObjectModel
from ..urdf import Colour, Part, Vector

HALF_ANGLE = (0.58, 0.68)
UPRIGHT = (0.0, 0.0, 0.0)
ALONG_X, ALONG_Y = (0.0, np.pi / 2, 0.0), (np.pi / 2, 0.0, 0.0)


def _colour(rng: np.random.Generator) -> Colour:
    red, green, blue = rng.uniform(0.12, 0.95, 3)
    return float(red), float(green), float(blue), 1.0


def _tail(stations: Iterable[float]) -> tuple[Widths, ...]:
    """Plates between stations: the cloth's widths at its hinges and its hem, metres."""
    return tuple((float(near), float(far)) for near, far in pairwise(stations))


def _towel(
    rng: np.random.Generator, front: Iterable[float], back: Iterable[float], crease_width: float, plate: float
) -> TowelShape:
    """A towel with these widths along its tails, in two random colours."""
    return TowelShape(
        _tail(front),
        _tail(back),
        crease_width,
        crease=rng.uniform(0.047, 0.053),
        half_angle=rng.uniform(*HALF_ANGLE),
        plate=plate,
        mass=rng.uniform(0.045, 0.075),
        colour=_colour(rng),
        hem=_colour(rng),
    )


def _doily(rng: np.random.Generator) -> TowelShape:
    """A round cloth with a rim, or an oval one, folded across its middle."""
    width, plate, crease = rng.uniform(0.115, 0.14), rng.uniform(0.019, 0.023), 0.05
    reach = crease + 3 * plate + 0.006
    stations = width * np.sqrt(1 - ((crease + plate * np.arange(4)) / reach) ** 2)
    return _towel(rng, stations, stations, 0.97 * width, plate)


def _fringed_runner(rng: np.random.Generator) -> TowelShape:
    """Many short folds with a stripe along the middle; both ends are cut into a fringe."""
    width, fringe = rng.uniform(0.07, 0.1), (1, 1, 1, int(rng.integers(4, 7)))
    tail = [width] * 5
    shape = _towel(rng, tail, tail, width, rng.uniform(0.017, 0.019))
    stripe = width * rng.uniform(0.3, 0.5)
    return replace(shape, stripe=stripe, front_strips=fringe, back_strips=fringe)


def _trousers(rng: np.random.Generator) -> TowelShape:
    """Trousers folded over at the hips: the waist on one side, two legs on the other."""
    waist, hips, cuffs = rng.uniform(0.07, 0.08), rng.uniform(0.085, 0.1), rng.uniform(0.11, 0.135)
    legs = np.linspace(hips, cuffs, 4)
    shape = _towel(rng, np.linspace(hips, waist, 4), legs, hips, rng.uniform(0.021, 0.024))
    return replace(shape, back_strips=(2, 2, 2))


def _bath_mat(rng: np.random.Generator) -> TowelShape:
    """Thick, short and wide, with two tails of unlike lengths and a broad stripe."""
    width = rng.uniform(0.125, 0.142)
    shape = _towel(rng, [width] * 3, [width] * 4, width, rng.uniform(0.0245, 0.027))
    return replace(shape, thickness=rng.uniform(0.0065, 0.008), stripe=width * rng.uniform(0.5, 0.7))


def _tie(rng: np.random.Generator) -> TowelShape:
    """A necktie: one end widens and comes to a point, the other stays narrow."""
    neck, blade, tip = rng.uniform(0.048, 0.056), rng.uniform(0.075, 0.095), rng.uniform(0.012, 0.02)
    front = (neck, (neck + blade) / 2, blade, tip)
    shape = _towel(rng, front, (neck, neck, neck, neck, tip), neck, rng.uniform(0.019, 0.022))
    return replace(shape, striped=bool(rng.integers(2)))


def _rack(family: str, bars: tuple[Bar, ...], frame: tuple[Part, ...], colour: Colour) -> ObjectModel:
    """A rack whose frame is round or leans: how far it reaches is measured at its parts' corners."""
    corners = [part_corners(part) for part in (*frame, *(bar.part(colour) for bar in bars))]
    low, high = np.min(corners, axis=(0, 1)), np.max(corners, axis=(0, 1))
    model = build_rack(family, bars, frame, colour)
    reach = {"back": -low[0], "front": high[0], "half_width": max(high[1], -low[1])}
    return replace(model, scalars={**model.scalars, **{name: float(far) for name, far in reach.items()}})


def _tube(radius: float, length: float, xyz: Vector, turn: Vector, colour: Colour, mass: float) -> Part:
    return Part("cylinder", (radius, length, 0.0), xyz, turn, colour, mass)


def _pillar(x: float, y: float, height: float, radius: float, colour: Colour) -> Part:
    """A round post from the table up to `height` at (x, y), metres."""
    return _tube(radius, height, (x, y, height / 2), UPRIGHT, colour, 0.1)


def _disc(x: float, y: float, radius: float, colour: Colour, mass: float) -> Part:
    """A heavy round foot."""
    return _tube(radius, 0.012, (x, y, 0.006), UPRIGHT, colour, mass)


def _strut(start: Vector, end: Vector, radius: float, colour: Colour) -> Part:
    """A round rod between two points."""
    way = np.subtract(end, start)
    x, y, z = (float(value) for value in np.add(start, end) / 2)
    turn = (0.0, float(np.arctan2(np.hypot(way[0], way[1]), way[2])), float(np.arctan2(way[1], way[0])))
    return _tube(radius, float(np.linalg.norm(way)), (x, y, z), turn, colour, 0.05)


def _sawhorse(rng: np.random.Generator) -> ObjectModel:
    """A bar, round or square, in the forks of two pairs of crossed legs, and a stretcher low below it."""
    wood, iron = _colour(rng), _colour(rng)
    length, height, square = rng.uniform(0.185, 0.205), rng.uniform(0.17, 0.195), bool(rng.integers(2))
    bar = Bar((0.0, 0.0, height), length, rng.uniform(0.0075, 0.0085 if square else 0.0105), square)
    x, spread, radius = length / 2, rng.uniform(0.05, 0.075), rng.uniform(0.006, 0.008)
    above = rng.uniform(0.15, 0.22)  # of a leg's length below the bar
    sides = [(a * x, b * spread) for a in (1.0, -1.0) for b in (1.0, -1.0)]
    legs = [
        _strut((at, y, 0.006), (at, -above * y, (1 + above) * (height - 0.01)), radius, iron)
        for at, y in sides
    ]
    feet = [foot(at, y, (0.03, 0.03), iron, 0.8) for at, y in sides]
    stretcher = _tube(0.006, length, (0.0, 0.0, rng.uniform(0.025, 0.04)), ALONG_X, iron, 0.05)
    return _rack("sawhorse", (bar,), (*legs, *feet, stretcher), wood)


def _sled(rng: np.random.Generator) -> ObjectModel:
    """One bent tube: the bar, two uprights, and runners on the table that a cross tube joins behind."""
    colour, radius = _colour(rng), rng.uniform(0.0085, 0.0105)
    length, height, depth = rng.uniform(0.18, 0.2), rng.uniform(0.17, 0.2), rng.uniform(0.06, 0.085)
    bar, x, rear = Bar((0.0, 0.0, height), length, radius), length / 2, float(rng.choice((1.0, -1.0)))
    ends = (x, -x)
    frame = [_pillar(at, 0.0, height, radius, colour) for at in ends]
    frame += [_tube(radius, 2 * depth, (at, 0.0, radius), ALONG_Y, colour, 1.4) for at in ends]
    frame += [_tube(radius, length, (0.0, rear * depth, radius), ALONG_X, colour, 0.3)]
    corners = [(at, 0.0, height) for at in ends] + [(at, rear * depth, radius) for at in ends]
    frame += [Part("sphere", (radius, 0.0, 0.0), corner, UPRIGHT, colour, 0.01) for corner in corners]
    return _rack("sled", (bar,), tuple(frame), colour)


def _swan_neck(rng: np.random.Generator) -> ObjectModel:
    """A post that bends over like a swan's neck into a level arm with a knob at its free end."""
    steel, wood = _colour(rng), _colour(rng)
    length, radius, height = rng.uniform(0.17, 0.19), rng.uniform(0.009, 0.011), rng.uniform(0.17, 0.195)
    bend, start = rng.uniform(0.02, 0.026), -length / 2
    angles = np.linspace(np.pi, 0.0, 6)
    neck = [
        (float(start - bend + bend * np.cos(a)), 0.0, float(height + 0.008 + 2 * bend * np.sin(a)))
        for a in angles
    ]
    arch = [_strut(first, second, radius, steel) for first, second in pairwise((*neck, (start, 0.0, height)))]
    joints = [
        Part("sphere", (radius, 0.0, 0.0), at, UPRIGHT, steel, 0.01) for at in (*neck, (start, 0.0, height))
    ]
    post = _pillar(start - 2 * bend, 0.0, height + 0.01, radius, steel)
    knob = _tube(1.8 * radius, 0.016, (length / 2, 0.0, height), ALONG_X, wood, 0.01)
    base = _disc(start - bend, 0.0, rng.uniform(0.06, 0.07), wood, 3.0)
    spine = foot(-0.03, 0.0, (length - 0.02, 0.03), wood, 0.5)
    bar = Bar((0.0, 0.0, height), length, radius)
    return _rack("swan_neck", (bar,), (*arch, *joints, post, knob, base, spine), steel)


def _curtain_rod(rng: np.random.Generator) -> ObjectModel:
    """A long rod with thick knobs that reaches out beyond two round posts on round feet."""
    wood, iron, gold = _colour(rng), _colour(rng), _colour(rng)
    length, x, height = rng.uniform(0.215, 0.235), rng.uniform(0.084, 0.09), rng.uniform(0.17, 0.195)
    bar = Bar((0.0, 0.0, height), length, rng.uniform(0.008, 0.01))
    size, ends = rng.uniform(0.016, 0.021), (1.0, -1.0)
    posts = [_pillar(sign * x, 0.0, height, rng.uniform(0.006, 0.008), iron) for sign in ends]
    feet = [_disc(sign * x, 0.0, rng.uniform(0.04, 0.05), iron, 1.5) for sign in ends]
    knobs = [_tube(size, 0.018, (sign * length / 2, 0.0, height), ALONG_X, gold, 0.01) for sign in ends]
    return _rack("curtain_rod", (bar,), (*posts, *feet, *knobs), wood)


def _valet(rng: np.random.Generator) -> ObjectModel:
    """Two crossbars of unlike heights and lengths, each on its own post, on one spine; one is named."""
    wood, iron = _colour(rng), _colour(rng)
    spacing, radius = rng.uniform(0.25, 0.28), rng.uniform(0.009, 0.011)
    low, high = rng.uniform(0.165, 0.178), rng.uniform(0.188, 0.205)
    places = [
        (sign * spacing / 2, float(z))
        for sign, z in zip((1.0, -1.0), rng.permutation((low, high)), strict=True)
    ]
    bars = tuple(Bar((0.0, y, z), rng.uniform(0.165, 0.2), radius) for y, z in places)
    posts = [_pillar(0.0, y, z, rng.uniform(0.007, 0.009), iron) for y, z in places]
    feet = [foot(0.0, y, (rng.uniform(0.1, 0.13), 0.03), iron, 1.2) for y, _ in places]
    spine = foot(0.0, 0.0, (0.03, spacing), iron, 1.0)
    return _rack("valet", bars, (*posts, *feet, spine), wood)


FAMILIES: tuple[TowelFamily | RackFamily, ...] = (
    TowelFamily("doily", "test", _doily),
    TowelFamily("fringed_runner", "test", _fringed_runner),
    TowelFamily("trousers", "test", _trousers),
    TowelFamily("bath_mat", "test", _bath_mat),
    TowelFamily("tie", "test", _tie),
    RackFamily("sawhorse", "test", _sawhorse),
    RackFamily("sled", "test", _sled),
    RackFamily("swan_neck", "test", _swan_neck),
    RackFamily("curtain_rod", "test", _curtain_rod),
    RackFamily("valet", "test", _valet),
)
