"""Unseen brushes and trash: five shapes of brush and five of trash, each with random sizes and colours."""

from __future__ import annotations

import colorsys
from math import cos, pi, sin

import numpy as np

from ..families_train.sweep import (
    HEAD_MASS,
    TRASH_MASS,
    SweepFamily,
    block,
    box_handle,
    brush,
    round_handle,
    trash,
)
from ..objects import ObjectModel
from ..urdf import Colour, Part


def _colour(rng: np.random.Generator) -> Colour:
    rgb = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.2, 0.95), rng.uniform(0.25, 0.95))
    return (*rgb, 1.0)


def _fan_broom(family: str, rng: np.random.Generator) -> ObjectModel:
    """A round handle and a fan of five blades."""
    length, radius = rng.uniform(0.13, 0.17), rng.uniform(0.011, 0.015)
    blade, height, spread = rng.uniform(0.065, 0.085), rng.uniform(0.02, 0.028), rng.uniform(0.75, 0.95)
    fibre, wood = _colour(rng), _colour(rng)
    start = length / 2 - 0.01
    blades = []
    for angle in np.linspace(-spread, spread, 7):
        middle = (start + blade / 2 * cos(angle), blade / 2 * sin(angle), height / 2)
        blades.append(Part("box", (blade, 0.022, height), middle, (0, 0, angle), fibre, HEAD_MASS / 7))
    size = (blade, 2 * blade * sin(spread), height)
    return brush(
        family,
        [round_handle(length, radius, wood)],
        blades,
        (length, 2 * radius, 2 * radius),
        (start + 0.7 * blade, 0.0, height),
        size,
    )


def _sponge_stick(family: str, rng: np.random.Generator) -> ObjectModel:
    """A thin stick with a thick sponge on its end."""
    length, radius = rng.uniform(0.14, 0.19), rng.uniform(0.009, 0.012)
    size = (rng.uniform(0.045, 0.06), rng.uniform(0.075, 0.1), rng.uniform(0.03, 0.04))
    middle = length / 2 + size[0] / 2
    sponge = Part("box", size, (middle, 0, size[2] / 2), colour=_colour(rng), mass=HEAD_MASS)
    return brush(
        family,
        [round_handle(length, radius, _colour(rng))],
        [sponge],
        (length, 2 * radius, 2 * radius),
        (middle, 0, size[2]),
        size,
    )


def _duster(family: str, rng: np.random.Generator) -> ObjectModel:
    """A flat handle and a fluffy roll across its end."""
    length, width, height = rng.uniform(0.12, 0.16), rng.uniform(0.02, 0.03), rng.uniform(0.022, 0.03)
    radius, roll = rng.uniform(0.018, 0.024), rng.uniform(0.06, 0.085)
    middle = length / 2 + radius * 0.8
    fluff = _colour(rng)
    across = (pi / 2, 0.0, 0.0)
    second = (middle + radius * 0.7, 0, radius * 0.8)
    parts = [
        Part("capsule", (radius, roll, 0), (middle, 0, radius), across, fluff, HEAD_MASS / 2),
        Part("capsule", (radius * 0.8, roll * 0.7, 0), second, across, fluff, HEAD_MASS / 2),
    ]
    return brush(
        family,
        [box_handle(length, width, height, _colour(rng))],
        parts,
        (length, width, height),
        (middle, 0, 2 * radius),
        (2.5 * radius, roll + 2 * radius, 2 * radius),
    )


def _squeegee(family: str, rng: np.random.Generator) -> ObjectModel:
    """A tapered handle and a thin, wide blade with a clamp in its middle."""
    length, width, height = rng.uniform(0.12, 0.16), rng.uniform(0.018, 0.026), rng.uniform(0.024, 0.032)
    size = (rng.uniform(0.012, 0.016), rng.uniform(0.12, 0.14), rng.uniform(0.026, 0.034))
    metal, rubber = _colour(rng), _colour(rng)
    clamp = Part("box", (0.035, 0.045, height * 0.9), (length / 2 + 0.0175, 0, height * 0.45), colour=metal,
                 mass=HEAD_MASS / 2)  # fmt: skip
    middle = length / 2 + 0.035 + size[0] / 2
    blade = Part("box", size, (middle, 0, size[2] / 2), colour=rubber, mass=HEAD_MASS / 2)
    return brush(
        family,
        [box_handle(length, width, height, _colour(rng))],
        [clamp, blade],
        (length, width, height),
        (middle, 0, size[2]),
        size,
    )


def _bench_brush(family: str, rng: np.random.Generator) -> ObjectModel:
    """A stubby, thick handle and a wide short head in three tufts."""
    length, width, height = rng.uniform(0.095, 0.115), rng.uniform(0.028, 0.036), rng.uniform(0.026, 0.034)
    size = (rng.uniform(0.03, 0.045), rng.uniform(0.125, 0.14), rng.uniform(0.022, 0.03))
    middle = length / 2 + size[0] / 2
    tuft, other = _colour(rng), _colour(rng)
    tufts = []
    for index, colour in ((-1, tuft), (0, other), (1, tuft)):
        centre = (middle, index * size[1] / 3, size[2] / 2)
        tufts.append(Part("box", (size[0], size[1] / 3, size[2]), centre, colour=colour, mass=HEAD_MASS / 3))
    return brush(
        family,
        [box_handle(length, width, height, _colour(rng))],
        tufts,
        (length, width, height),
        (middle, 0, size[2]),
        size,
    )


def _ring(family: str, rng: np.random.Generator) -> ObjectModel:
    """A flat ring of eight bars."""
    radius, height, colour = rng.uniform(0.014, 0.018), rng.uniform(0.014, 0.02), _colour(rng)
    parts = []
    for angle in np.arange(8) * pi / 4:
        at = (radius * cos(angle), radius * sin(angle))
        parts.append(block((0.008, 0.9 * radius, height), angle, colour, TRASH_MASS / 8, at))
    return trash(family, parts, height, radius + 0.006)


def _bag(family: str, rng: np.random.Generator) -> ObjectModel:
    """A tied bag: a stout body and a thin neck."""
    radius, height, colour = rng.uniform(0.015, 0.02), rng.uniform(0.014, 0.02), _colour(rng)
    body = Part("cylinder", (radius, height, 0), (0, 0, height / 2), colour=colour, mass=TRASH_MASS * 0.8)
    neck = Part("cylinder", (radius / 3, 0.008, 0), (0, 0, height + 0.004), colour=_colour(rng),
                mass=TRASH_MASS * 0.2)  # fmt: skip
    return trash(family, [body, neck], height + 0.008, radius)


def _bolt(family: str, rng: np.random.Generator) -> ObjectModel:
    """A lying bolt: a shaft and a hexagonal head standing on edge; thick enough to be pushed."""
    length, side, colour = rng.uniform(0.028, 0.036), rng.uniform(0.016, 0.02), _colour(rng)
    shaft = Part(
        "box", (length, 0.011, 0.011), (length * 0.2, 0, side / 2), colour=colour, mass=TRASH_MASS / 3
    )
    head = [
        Part(
            "box",
            (0.011, side, side / 1.73),
            (-length * 0.3, 0, side / 2),
            (angle, 0, 0),
            colour,
            TRASH_MASS / 3,
        )
        for angle in (0.0, pi / 3, 2 * pi / 3)
    ]
    tip = block((0.008, 0.014, side / 2), 0, colour, 0.001, (length * 0.66, 0))
    return trash(family, [shaft, *head, tip], side, length * 0.7)


def _wrapper(family: str, rng: np.random.Generator) -> ObjectModel:
    """A sweet in its wrapper: a barrel between two flared ends."""
    length, width, height = rng.uniform(0.02, 0.026), rng.uniform(0.016, 0.022), rng.uniform(0.014, 0.02)
    body, ends = _colour(rng), _colour(rng)
    parts = [block((length, width, height), 0, body, TRASH_MASS * 0.8)]
    for sign in (-1, 1):
        for yaw in (-0.4, 0.4):
            at = (sign * (length / 2 + 0.004), 0.0)
            parts.append(block((0.012, width * 0.8, height * 0.6), yaw, ends, TRASH_MASS * 0.05, at))
    return trash(family, parts, height, length / 2 + 0.012)


def _shard(family: str, rng: np.random.Generator) -> ObjectModel:
    """A jagged heap: four boxes of different sizes, turned at random."""
    edge, height, colour = rng.uniform(0.022, 0.03), rng.uniform(0.016, 0.026), _colour(rng)
    parts = []
    for share in (1.0, 0.9, 0.75, 0.6):
        size = (edge * rng.uniform(0.7, 1.1), edge * rng.uniform(0.5, 0.8), height * share)
        at = (float(rng.uniform(-0.003, 0.003)), float(rng.uniform(-0.003, 0.003)))
        parts.append(block(size, float(rng.uniform(0, pi)), colour, TRASH_MASS / 4, at))
    return trash(family, parts, height, 0.75 * edge)


FAMILIES: tuple[SweepFamily, ...] = (
    SweepFamily("fan_broom", "brush", "test", _fan_broom),
    SweepFamily("sponge_stick", "brush", "test", _sponge_stick),
    SweepFamily("duster", "brush", "test", _duster),
    SweepFamily("squeegee", "brush", "test", _squeegee),
    SweepFamily("bench_brush", "brush", "test", _bench_brush),
    SweepFamily("ring", "trash", "test", _ring),
    SweepFamily("bag", "trash", "test", _bag),
    SweepFamily("bolt", "trash", "test", _bolt),
    SweepFamily("wrapper", "trash", "test", _wrapper),
    SweepFamily("shard", "trash", "test", _shard),
)
