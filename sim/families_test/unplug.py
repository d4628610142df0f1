"""Unseen sticks and hosts: round, ringed, ridged and T-shaped; slabs, towers, drums and wedges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from ..families_train.unplug import (
    HOST_MASS,
    STICK_MASS,
    Socket,
    front_sockets,
    host_model,
    polar,
    stick_model,
)
from ..objects import Category, ObjectModel, Split
from ..urdf import Colour, Part

RING_PIECES = 10


@dataclass(frozen=True)
class UnseenFamily:
    """A test family: a function that draws one instance.

    Attributes:
        name: of the family.
        category: stick or host.
        make: draws one instance, given the family's name.
    """

    name: str
    category: Category
    make: Callable[[str, np.random.Generator], ObjectModel]
    split: Split = "test"

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """A random instance of the family."""
        return self.make(self.name, rng)


def _colour(rng: np.random.Generator) -> Colour:
    red, green, blue = rng.uniform(0.1, 0.95, 3)
    return (float(red), float(green), float(blue), 1.0)


def _draw(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


# ---- sticks ------------------------------------------------------------------------------------------------


def round_dongle(family: str, rng: np.random.Generator) -> ObjectModel:
    """A round rod with a collar at the socket and a ball tip."""
    radius, length = _draw(rng, 0.009, 0.013), _draw(rng, 0.05, 0.06)
    body, trim = _colour(rng), _colour(rng)
    along = (0.0, pi / 2, 0.0)
    parts = (
        Part("cylinder", (radius, length, 0), (length / 2, 0, 0), along, body, STICK_MASS),
        Part("cylinder", (radius + 0.003, 0.005, 0), (0.0025, 0, 0), along, trim, 0.003),
        Part("sphere", (radius, 0, 0), (length, 0, 0), colour=trim, mass=0.005),
    )
    return stick_model(family, parts, (0.55 * length, 0, radius), 2 * radius, length + radius)


def ring_key(family: str, rng: np.random.Generator) -> ObjectModel:
    """A flat shank that ends in a ring, like a key."""
    length, width, tall = _draw(rng, 0.042, 0.05), _draw(rng, 0.014, 0.02), _draw(rng, 0.009, 0.013)
    ring, colour = _draw(rng, 0.011, 0.0125), _colour(rng)
    parts = [Part("box", (length, width, tall), (length / 2, 0, 0), colour=colour, mass=STICK_MASS)]
    piece = 2 * pi * ring / RING_PIECES
    for index in range(RING_PIECES):
        angle = 2 * pi * index / RING_PIECES
        xyz = (length + ring + ring * cos(angle), ring * sin(angle), 0.0)
        size = (0.005, 1.15 * piece, 0.6 * tall)
        parts.append(Part("box", size, xyz, (0, 0, angle), colour, 0.001))
    return stick_model(family, parts, (0.55 * length, 0, tall / 2), width, length + 2 * ring)


def ridged_stick(family: str, rng: np.random.Generator) -> ObjectModel:
    """A core with evenly spaced ribs to hold it by."""
    length, width, tall = _draw(rng, 0.054, 0.066), _draw(rng, 0.016, 0.023), _draw(rng, 0.01, 0.014)
    body, trim = _colour(rng), _colour(rng)
    ribs = int(rng.integers(4, 7))
    parts = [Part("box", (length, width, tall), (length / 2, 0, 0), colour=body, mass=STICK_MASS)]
    for index in range(ribs):
        x = length * (index + 0.5) / ribs
        size = (0.4 * length / ribs, width + 0.005, tall + 0.003)
        parts.append(Part("box", size, (x, 0, 0), colour=trim, mass=0.001))
    return stick_model(family, parts, (0.55 * length, 0, tall / 2 + 0.0015), width + 0.005, length)


def tee_handle(family: str, rng: np.random.Generator) -> ObjectModel:
    """A square rod with a cross bar at its end."""
    length, width = _draw(rng, 0.048, 0.058), _draw(rng, 0.013, 0.017)
    bar, body, trim = _draw(rng, 0.028, 0.032), _colour(rng), _colour(rng)
    parts = (
        Part("box", (length, width, width), (length / 2, 0, 0), colour=body, mass=STICK_MASS),
        Part("box", (0.01, bar, width), (length + 0.005, 0, 0), colour=trim, mass=0.006),
    )
    return stick_model(family, parts, (0.55 * length, 0, width / 2), width, length + 0.01)


# ---- hosts -------------------------------------------------------------------------------------------------


def laptop_slab(family: str, rng: np.random.Generator) -> ObjectModel:
    """A laptop seen from the side of its sockets: slab, keyboard, and a screen that leans back."""
    depth, width, tall = _draw(rng, 0.12, 0.14), _draw(rng, 0.17, 0.21), _draw(rng, 0.032, 0.036)
    body, dark = _colour(rng), _colour(rng)
    lean = _draw(rng, 0.35, 0.7)
    screen = (-depth / 2 - 0.03 * sin(lean), 0.0, tall + 0.03 * cos(lean))
    parts = (
        Part("box", (depth, width, tall), (0, 0, tall / 2), colour=body, mass=HOST_MASS),
        Part("box", (0.5 * depth, 0.85 * width, 0.002), (-0.1 * depth, 0, tall), colour=dark, solid=False),
        Part("box", (0.005, width, 0.06), screen, (0, -lean, 0), dark, 0.05),
    )
    return host_model(
        family, parts, front_sockets(_draw(rng, 0.08, 0.12), depth / 2, _draw(rng, 0.02, 0.024))
    )


def hub_tower(family: str, rng: np.random.Generator) -> ObjectModel:
    """A narrow upright hub on a foot, with one socket or two."""
    depth, width, tall = _draw(rng, 0.05, 0.065), _draw(rng, 0.11, 0.13), _draw(rng, 0.046, 0.05)
    body, trim = _colour(rng), _colour(rng)
    parts = (
        Part("box", (depth, width, tall), (0, 0, tall / 2), colour=body, mass=HOST_MASS),
        Part("box", (depth + 0.02, width + 0.03, 0.006), (-0.01, 0, 0.003), colour=trim),
        Part("cylinder", (0.3 * depth, 0.003, 0), (0, 0, tall), colour=trim, solid=False),
    )
    sockets = front_sockets(_draw(rng, 0.076, 0.088), depth / 2, _draw(rng, 0.03, 0.033))
    if rng.random() < 0.4:
        sockets = (Socket((depth / 2, 0.0, sockets[0].xyz[2])),)
    return host_model(family, parts, sockets)


def drum_hub(family: str, rng: np.random.Generator) -> ObjectModel:
    """A round hub with two sockets that face apart."""
    radius, tall = _draw(rng, 0.06, 0.072), _draw(rng, 0.034, 0.042)
    body, trim = _colour(rng), _colour(rng)
    parts = (
        Part("cylinder", (radius, tall, 0), (0, 0, tall / 2), colour=body, mass=HOST_MASS),
        Part("cylinder", (0.5 * radius, 0.004, 0), (0, 0, tall), colour=trim, solid=False),
    )
    apart, height = _draw(rng, 0.65, 0.85), _draw(rng, 0.022, 0.026)
    return host_model(family, parts, (polar(radius, -apart, height), polar(radius, apart, height)))


def wedge_dock(family: str, rng: np.random.Generator) -> ObjectModel:
    """A dock that rises in steps away from its sockets."""
    width, low = _draw(rng, 0.13, 0.17), _draw(rng, 0.032, 0.036)
    step, body, trim = _draw(rng, 0.007, 0.011), _colour(rng), _colour(rng)
    depth, steps = 0.12, 4
    parts = [Part("box", (depth, width, low), (0, 0, low / 2), colour=body, mass=HOST_MASS)]
    for index in range(1, steps):
        length = depth * (1 - index / steps)
        size = (length, width, step)
        xyz = ((length - depth) / 2, 0.0, low + (index - 0.5) * step)
        parts.append(Part("box", size, xyz, colour=trim if index == steps - 1 else body, mass=0.03))
    return host_model(
        family, parts, front_sockets(_draw(rng, 0.08, 0.1), depth / 2, _draw(rng, 0.021, 0.025))
    )


FAMILIES = (
    UnseenFamily("round_dongle", "stick", round_dongle),
    UnseenFamily("ring_key", "stick", ring_key),
    UnseenFamily("ridged_stick", "stick", ridged_stick),
    UnseenFamily("tee_handle", "stick", tee_handle),
    UnseenFamily("laptop_slab", "host", laptop_slab),
    UnseenFamily("hub_tower", "host", hub_tower),
    UnseenFamily("drum_hub", "host", drum_hub),
    UnseenFamily("wedge_dock", "host", wedge_dock),
)
