"""Test families of scoops and containers. Never import this from code that trains or synthesises."""

from __future__ import annotations

import numpy as np

from ..families_train.pour import (
    ContainerFamily,
    ScoopFamily,
    ScoopShape,
    box_container,
    round_container,
)
from ..objects import ObjectModel
from ..urdf import Colour, Part

LEVEL = (0.0, 0.0, 0.0)


def random_colour(rng: np.random.Generator) -> Colour:
    """A random opaque colour that is neither black nor white."""
    red, green, blue = rng.uniform(0.12, 0.95, 3)
    return float(red), float(green), float(blue), 1.0


def _trowel(rng: np.random.Generator) -> ScoopShape:
    """Narrows toward the lip; low walls at the front."""
    return ScoopShape(
        rear_width=rng.uniform(0.085, 0.095),
        front_width=rng.uniform(0.058, 0.066),
        length=rng.uniform(0.10, 0.115),
        wall=rng.uniform(0.035, 0.042),
        lip_wall=0.012,
        handle_length=rng.uniform(0.11, 0.13),
        handle_width=rng.uniform(0.022, 0.03),
        body=random_colour(rng),
        grip=random_colour(rng),
    )


def _ladle(rng: np.random.Generator) -> ScoopShape:
    """A round bowl with a spout and a long thin handle."""
    width = rng.uniform(0.076, 0.084)
    return ScoopShape(
        rear_width=width,
        front_width=rng.uniform(0.055, 0.062),
        length=rng.uniform(0.06, 0.07),
        wall=rng.uniform(0.034, 0.04),
        lip_wall=0.014,
        slope=0.2,
        round_rear=True,
        handle_length=rng.uniform(0.15, 0.17),
        handle_width=rng.uniform(0.018, 0.024),
        body=random_colour(rng),
        grip=random_colour(rng),
    )


def _shovel(rng: np.random.Generator) -> ScoopShape:
    """Wide and short, widening toward the lip, with a crossbar at the handle's end."""
    width = rng.uniform(0.075, 0.085)
    return ScoopShape(
        rear_width=width,
        front_width=width + rng.uniform(0.015, 0.025),
        length=rng.uniform(0.075, 0.085),
        wall=rng.uniform(0.028, 0.034),
        lip_wall=0.016,
        slope=0.17,
        handle="grip",
        handle_length=rng.uniform(0.12, 0.14),
        handle_width=rng.uniform(0.02, 0.028),
        body=random_colour(rng),
        grip=random_colour(rng),
    )


def _spoon(rng: np.random.Generator) -> ScoopShape:
    """Round behind, straight in front, with a broad ribbed handle."""
    width = rng.uniform(0.064, 0.07)
    return ScoopShape(
        rear_width=width,
        front_width=width,
        length=rng.uniform(0.065, 0.075),
        wall=rng.uniform(0.03, 0.036),
        lip_wall=0.012,
        slope=0.19,
        round_rear=True,
        handle="rib",
        handle_length=rng.uniform(0.14, 0.16),
        handle_width=rng.uniform(0.03, 0.036),
        body=random_colour(rng),
        grip=random_colour(rng),
    )


def _cup(rng: np.random.Generator) -> ObjectModel:
    """Tall, with a handle on its side."""
    colour, radius, height = random_colour(rng), rng.uniform(0.052, 0.056), rng.uniform(0.065, 0.075)
    x = radius + 0.018
    ear = (
        Part("box", (0.008, 0.012, height * 0.5), (x, 0.0, height * 0.5), LEVEL, colour, 0.01),
        Part("box", (0.02, 0.012, 0.008), (x - 0.008, 0.0, height * 0.75), LEVEL, colour, 0.005),
        Part("box", (0.02, 0.012, 0.008), (x - 0.008, 0.0, height * 0.25), LEVEL, colour, 0.005),
    )
    return round_container("cup", radius, height, colour, extra=ear)


def _crate(rng: np.random.Generator) -> ObjectModel:
    """A rectangular box, longer than wide."""
    inner = (rng.uniform(0.11, 0.12), rng.uniform(0.13, 0.15))
    return box_container("crate", inner, rng.uniform(0.045, 0.06), random_colour(rng))


def _tray(rng: np.random.Generator) -> ObjectModel:
    """Low, with a broad rim and grips at both ends."""
    colour, rim = random_colour(rng), random_colour(rng)
    x, y, height = rng.uniform(0.12, 0.13), rng.uniform(0.13, 0.15), rng.uniform(0.032, 0.038)
    grips = tuple(
        Part("box", (0.05, 0.016, 0.008), (0.0, sign * (y / 2 + 0.01), height - 0.004), LEVEL, rim, 0.01)
        for sign in (1.0, -1.0)
    )
    return box_container("tray", (x, y), height, colour, extra=grips)


def _pan(rng: np.random.Generator) -> ObjectModel:
    """A flaring round pan with one long handle."""
    colour, radius, height = random_colour(rng), rng.uniform(0.062, 0.068), rng.uniform(0.038, 0.046)
    handle = Part(
        "box", (0.07, 0.018, 0.01), (radius + 0.042, 0.0, height * 0.7), LEVEL, random_colour(rng), 0.02
    )
    return round_container("skillet", radius, height, colour, flare=0.3, extra=(handle,))


FAMILIES: tuple[ScoopFamily | ContainerFamily, ...] = (
    ScoopFamily("trowel", "test", _trowel),
    ScoopFamily("ladle", "test", _ladle),
    ScoopFamily("shovel", "test", _shovel),
    ScoopFamily("spoon", "test", _spoon),
    ContainerFamily("cup", "test", _cup),
    ContainerFamily("crate", "test", _crate),
    ContainerFamily("tray", "test", _tray),
    ContainerFamily("skillet", "test", _pan),
)
