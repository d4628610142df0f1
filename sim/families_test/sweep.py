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


def _dish_brush(family: str, rng: np.random.Generator) -> ObjectModel:
    """A slim round handle and a round head lying flat, with a thinner plate on top."""
    length, radius = rng.uniform(0.14, 0.18), rng.uniform(0.01, 0.013)
    disc, height = rng.uniform(0.04, 0.052), rng.uniform(0.022, 0.03)
    middle = length / 2 + 0.85 * disc
    bristles = Part("cylinder", (disc, height, 0), (middle, 0, height / 2), colour=_colour(rng),
                    mass=HEAD_MASS / 2)  # fmt: skip
    plate = Part("cylinder", (0.7 * disc, 0.006, 0), (middle, 0, height + 0.003), colour=_colour(rng),
                 mass=HEAD_MASS / 2)  # fmt: skip
    return brush(
        family,
        [round_handle(length, radius, _colour(rng))],
        [bristles, plate],
        (length, 2 * radius, 2 * radius),
        (middle, 0, height + 0.006),
        (2 * disc, 2 * disc, height),
    )


def _hearth_broom(family: str, rng: np.random.Generator) -> ObjectModel:
    """A round handle and a skirt that widens in three bands."""
    length, radius = rng.uniform(0.12, 0.16), rng.uniform(0.011, 0.015)
    band, width, height = rng.uniform(0.02, 0.026), rng.uniform(0.1, 0.13), rng.uniform(0.022, 0.03)
    straw, cord = _colour(rng), _colour(rng)
    start = length / 2
    skirt = [
        Part("box", (band, share * width, height), (start + (index + 0.5) * band, 0, height / 2),
             colour=colour, mass=HEAD_MASS / 3)
        for index, (share, colour) in enumerate(((0.45, straw), (0.72, cord), (1.0, straw)))
    ]  # fmt: skip
    depth = 3 * band
    return brush(
        family,
        [round_handle(length, radius, _colour(rng))],
        skirt,
        (length, 2 * radius, 2 * radius),
        (start + depth / 2, 0, height),
        (depth, width, height),
    )


def _paint_brush(family: str, rng: np.random.Generator) -> ObjectModel:
    """A handle with a waist, a metal sleeve, and a broad flat tuft."""
    length, width, height = rng.uniform(0.13, 0.16), rng.uniform(0.022, 0.03), rng.uniform(0.022, 0.03)
    size = (rng.uniform(0.05, 0.065), rng.uniform(0.075, 0.095), rng.uniform(0.022, 0.028))
    wood, sleeve = _colour(rng), 0.02
    knob = Part("cylinder", (0.65 * width, height, 0), (-length / 2, 0, height / 2), colour=wood, mass=0.005)
    metal = Part("box", (sleeve, size[1], size[2]), (length / 2 + sleeve / 2, 0, size[2] / 2),
                 colour=_colour(rng), mass=HEAD_MASS / 2)  # fmt: skip
    centre = length / 2 + sleeve + (size[0] - sleeve) / 2
    tuft = Part("box", (size[0] - sleeve, 0.94 * size[1], 0.9 * size[2]), (centre, 0, 0.45 * size[2]),
                colour=_colour(rng), mass=HEAD_MASS / 2)  # fmt: skip
    return brush(
        family,
        [box_handle(length, width, height, wood), knob],
        [metal, tuft],
        (length, width, height),
        (length / 2 + size[0] / 2, 0, size[2]),
        size,
    )


def _rubber_rake(family: str, rng: np.random.Generator) -> ObjectModel:
    """A round stick and a crossbar with a row of stout teeth."""
    length, radius = rng.uniform(0.14, 0.18), rng.uniform(0.009, 0.013)
    bar, width, height = rng.uniform(0.016, 0.022), rng.uniform(0.11, 0.135), rng.uniform(0.024, 0.03)
    body, teeth = _colour(rng), _colour(rng)
    start, tooth = length / 2, rng.uniform(0.014, 0.02)
    cross = Part("box", (bar, width, height), (start + bar / 2, 0, height / 2), colour=body,
                 mass=HEAD_MASS / 2)  # fmt: skip
    pitch = (width - 0.014) / 5
    row = [
        Part("box", (tooth, 0.014, 0.8 * height), (start + bar + tooth / 2, y * pitch, 0.4 * height),
             colour=teeth, mass=HEAD_MASS / 12)
        for y in (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)
    ]  # fmt: skip
    return brush(
        family,
        [round_handle(length, radius, _colour(rng))],
        [cross, *row],
        (length, 2 * radius, 2 * radius),
        (start + (bar + tooth) / 2, 0, height),
        (bar + tooth, width, height),
    )


def _mop_head(family: str, rng: np.random.Generator) -> ObjectModel:
    """A flat handle and four fat cords side by side."""
    length, width, height = rng.uniform(0.12, 0.16), rng.uniform(0.02, 0.028), rng.uniform(0.022, 0.03)
    radius, cord = rng.uniform(0.011, 0.014), rng.uniform(0.04, 0.055)
    first, second = _colour(rng), _colour(rng)
    middle = length / 2 + cord / 2
    lying = (0.0, pi / 2, 0.0)
    cords = [
        Part("capsule", (radius, cord - radius, 0), (middle, (index - 1.5) * 2 * radius, radius), lying,
             first if index % 2 else second, HEAD_MASS / 4)
        for index in range(4)
    ]  # fmt: skip
    return brush(
        family,
        [box_handle(length, width, height, _colour(rng))],
        cords,
        (length, width, height),
        (middle, 0, 2 * radius),
        (cord + radius, 8 * radius, 2 * radius),
    )


def _star(family: str, rng: np.random.Generator) -> ObjectModel:
    """A thick three-armed star."""
    reach, width = rng.uniform(0.034, 0.042), rng.uniform(0.01, 0.014)
    height, colour = rng.uniform(0.016, 0.022), _colour(rng)
    arms = [block((reach, width, height), index * pi / 3, colour, TRASH_MASS / 3) for index in range(3)]
    return trash(family, arms, height, reach / 2)


def _lid(family: str, rng: np.random.Generator) -> ObjectModel:
    """A crown cap of two discs, one on the other."""
    radius, height = rng.uniform(0.014, 0.019), rng.uniform(0.016, 0.022)
    lower = Part("cylinder", (radius, 0.6 * height, 0), (0, 0, 0.3 * height), colour=_colour(rng),
                 mass=0.7 * TRASH_MASS)  # fmt: skip
    upper = Part("cylinder", (0.7 * radius, 0.4 * height, 0), (0, 0, 0.8 * height), colour=_colour(rng),
                 mass=0.3 * TRASH_MASS)  # fmt: skip
    return trash(family, [lower, upper], height, radius)


def _peg(family: str, rng: np.random.Generator) -> ObjectModel:
    """A clothes peg: two legs side by side, closer at one end, and a spring across."""
    length, width = rng.uniform(0.034, 0.042), rng.uniform(0.009, 0.012)
    height, wood = rng.uniform(0.014, 0.018), _colour(rng)
    parts = [
        block((length, width, height), sign * 0.09, wood, 0.4 * TRASH_MASS, (0.0, sign * 0.75 * width))
        for sign in (-1, 1)
    ]
    spring = Part("box", (0.008, 3 * width, 0.5 * height), (0, 0, 1.1 * height), colour=_colour(rng),
                  mass=0.2 * TRASH_MASS)  # fmt: skip
    return trash(family, [*parts, spring], 1.35 * height, length / 2 + 0.002)


def _corner_scrap(family: str, rng: np.random.Generator) -> ObjectModel:
    """An offcut shaped like an L, with stout arms."""
    side = rng.uniform(0.03, 0.038)
    width = side * rng.uniform(0.5, 0.58)
    height, colour = rng.uniform(0.016, 0.022), _colour(rng)
    shift = (side - width) / 2
    parts = [
        block((side, width, height), 0, colour, TRASH_MASS / 2, (0.25 * shift, -0.75 * shift)),
        block((width, side, height), 0, colour, TRASH_MASS / 2, (-0.75 * shift, 0.25 * shift)),
    ]
    return trash(family, parts, height, 0.68 * side)


def _pebbles(family: str, rng: np.random.Generator) -> ObjectModel:
    """Three lumps that stick together."""
    colour, parts = _colour(rng), []
    top = 0.0
    for angle in np.arange(3) * 2 * pi / 3:
        radius, height = rng.uniform(0.009, 0.012), rng.uniform(0.016, 0.022)
        at = (0.009 * cos(angle), 0.009 * sin(angle), height / 2)
        parts.append(Part("cylinder", (radius, height, 0), at, colour=colour, mass=TRASH_MASS / 3))
        top = max(top, height)
    return trash(family, parts, float(top), 0.021)


FAMILIES: tuple[SweepFamily, ...] = (
    SweepFamily("dish_brush", "brush", "test", _dish_brush),
    SweepFamily("hearth_broom", "brush", "test", _hearth_broom),
    SweepFamily("paint_brush", "brush", "test", _paint_brush),
    SweepFamily("rubber_rake", "brush", "test", _rubber_rake),
    SweepFamily("mop_head", "brush", "test", _mop_head),
    SweepFamily("star", "trash", "test", _star),
    SweepFamily("lid", "trash", "test", _lid),
    SweepFamily("peg", "trash", "test", _peg),
    SweepFamily("corner_scrap", "trash", "test", _corner_scrap),
    SweepFamily("pebbles", "trash", "test", _pebbles),
)
