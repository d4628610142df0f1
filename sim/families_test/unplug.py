"""Unseen sticks and hosts: hexagons, tapers, elbows, cubes, coins, pucks; strips, pipes, routers, houses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, hypot, pi, sin, sqrt, tan

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
from ..urdf import Colour, Part, Vector

# Turn a cylinder, which stands, along x or y.
ALONG: Vector = (0.0, pi / 2, 0.0)
ACROSS: Vector = (pi / 2, 0.0, 0.0)
BLACK: Colour = (0.08, 0.08, 0.09, 1.0)


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


def _light(size: Vector, xyz: Vector, colour: Colour, rpy: Vector = (0, 0, 0), mass: float = 0.002) -> Part:
    """A box that weighs little."""
    return Part("box", size, xyz, rpy, colour, mass)


# ---- sticks ------------------------------------------------------------------------------------------------


def _cable(radius: float, start: Vector, yaw: float, bend: float, length: float) -> list[Part]:
    """Two pieces of cable, level: the first leaves `start` along `yaw`, the second is turned by `bend`."""
    parts, (x, y, z) = [], start
    for angle in (yaw, yaw + bend):
        dx, dy = length / 2 * cos(angle), length / 2 * sin(angle)
        at = (x + dx / 2, y + dy / 2, z)
        parts.append(Part("capsule", (radius, length / 2, 0), at, (0, pi / 2, angle), BLACK, 0.001))
        x, y = x + dx, y + dy
    return parts


def hex_barrel(family: str, rng: np.random.Generator) -> ObjectModel:
    """A six-sided bar with a corner up, a round band around it and a pin at its tip."""
    across, length = _draw(rng, 0.018, 0.026), _draw(rng, 0.046, 0.058)
    body, trim = _colour(rng), _colour(rng)
    side = across / sqrt(3)
    parts = [
        Part("box", (length, across, side), (length / 2, 0, 0), (index * pi / 3, 0, 0), body, STICK_MASS / 3)
        for index in range(3)
    ]
    parts += [
        Part("cylinder", (1.04 * side, 0.006, 0), (0.15 * length, 0, 0), ALONG, trim, 0.002),
        Part("cylinder", (0.5 * side, 0.01, 0), (length + 0.005, 0, 0), ALONG, trim, 0.002),
    ]
    return stick_model(family, parts, (0.6 * length, 0, side), across, length + 0.01)


def taper_plug(family: str, rng: np.random.Generator) -> ObjectModel:
    """A plug that narrows in steps from a broad face to its cable."""
    wide, narrow, tall = _draw(rng, 0.026, 0.03), _draw(rng, 0.012, 0.016), _draw(rng, 0.016, 0.024)
    length, steps = _draw(rng, 0.044, 0.054), int(rng.integers(4, 6))
    body, trim, step = _colour(rng), _colour(rng), length / steps
    widths = np.linspace(wide, narrow, steps).tolist()
    heights = np.linspace(tall, 0.7 * tall, steps).tolist()
    parts = []
    for index, (width, height) in enumerate(zip(widths, heights, strict=True)):
        size, x = (step, width, height), (index + 0.5) * step
        parts.append(_light(size, (x, 0, 0), trim if index % 2 else body, mass=STICK_MASS / steps))
    bend = _draw(rng, -0.7, 0.7)
    parts += _cable(0.0035, (length, 0, 0), 0.0, bend, _draw(rng, 0.016, 0.026))
    middle = steps // 2
    grasp = ((middle + 0.5) * step, 0, heights[middle] / 2)
    return stick_model(family, parts, grasp, widths[middle], length + 0.02)


def elbow_plug(family: str, rng: np.random.Generator) -> ObjectModel:
    """A plug that turns a right angle, left or right, to where its cable comes out."""
    width, tall, reach = _draw(rng, 0.015, 0.021), _draw(rng, 0.014, 0.02), _draw(rng, 0.046, 0.052)
    limb, arm, side = _draw(rng, 0.013, 0.018), _draw(rng, 0.012, 0.018), float(rng.choice((-1.0, 1.0)))
    body, trim = _colour(rng), _colour(rng)
    x, end = reach + limb / 2, side * (width / 2 + arm)
    parts = [
        _light((reach, width, tall), (reach / 2, 0, 0), body, mass=0.7 * STICK_MASS),
        _light((limb, width + arm, tall), (x, side * arm / 2, 0), body, mass=0.3 * STICK_MASS),
        Part("cylinder", (0.3 * limb, 0.006, 0), (x, end + side * 0.003, 0), ACROSS, trim, 0.001),
        _light((0.004, width + 0.006, tall + 0.004), (0.003, 0, 0), trim),
        *_cable(0.003, (x, end, 0), side * pi / 2, -side * 0.5, 0.024),
    ]
    return stick_model(family, parts, (0.55 * reach, 0, tall / 2), width, reach + limb)


def cube_charger(family: str, rng: np.random.Generator) -> ObjectModel:
    """A cube on a thin round neck, behind a collar plate; a lamp on top."""
    side, neck = _draw(rng, 0.023, 0.029), _draw(rng, 0.014, 0.022)
    body, trim, lamp = _colour(rng), _colour(rng), _colour(rng)
    middle = neck + side / 2
    parts = (
        _light((side, side, side), (middle, 0, 0), body, mass=STICK_MASS),
        Part("cylinder", (0.006, neck, 0), (neck / 2, 0, 0), ALONG, trim, 0.002),
        _light((0.004, side + 0.004, 0.8 * side), (0.002, 0, 0), trim),
        Part("cylinder", (0.15 * side, 0.002, 0), (neck + 0.75 * side, 0, side / 2), colour=lamp, mass=0,
             solid=False),
    )  # fmt: skip
    return stick_model(family, parts, (middle, 0, side / 2), side, neck + side)


def coin_tab(family: str, rng: np.random.Generator) -> ObjectModel:
    """A coin that stands on edge behind a round stub, like the wing of a wind-up key."""
    radius, thick, stub = _draw(rng, 0.0145, 0.0172), _draw(rng, 0.009, 0.013), _draw(rng, 0.014, 0.02)
    body, trim = _colour(rng), _colour(rng)
    middle = stub + 0.8 * radius
    parts = (
        Part("cylinder", (radius, thick, 0), (middle, 0, 0), ACROSS, body, STICK_MASS),
        Part("cylinder", (0.55 * radius, thick + 0.002, 0), (middle, 0, 0), ACROSS, trim, 0.002),
        Part("cylinder", (0.012, stub, 0), (stub / 2, 0, 0), ALONG, trim, 0.008),
    )
    return stick_model(family, parts, (middle, 0, radius), thick, middle + radius)


def puck_wart(family: str, rng: np.random.Generator) -> ObjectModel:
    """A round puck lying flat on a short neck, with a smaller disc on it and a cable that bends away."""
    radius, tall, neck = _draw(rng, 0.0125, 0.015), _draw(rng, 0.016, 0.024), _draw(rng, 0.01, 0.018)
    body, trim = _colour(rng), _colour(rng)
    middle = neck + 0.95 * radius
    parts = [
        Part("cylinder", (radius, tall, 0), (middle, 0, 0), (0, 0, 0), body, STICK_MASS),
        Part("cylinder", (0.7 * radius, 0.004, 0), (middle, 0, tall / 2), (0, 0, 0), trim, 0.002),
        _light((neck, 0.014, 0.012), (neck / 2, 0, 0), trim),
    ]
    start = (middle + radius, 0.0, -0.2 * tall)
    parts += _cable(0.003, start, 0.0, _draw(rng, -0.9, 0.9), _draw(rng, 0.018, 0.03))
    grasp = (middle, 0, tall / 2 + 0.002)
    return stick_model(family, parts, grasp, 2 * radius, middle + radius + 0.015)


# ---- hosts -------------------------------------------------------------------------------------------------


def _disc(radius: float, xyz: Vector, colour: Colour) -> Part:
    """A flat disc on a host's top, for the eye only."""
    return Part("cylinder", (radius, 0.003, 0), xyz, (0, 0, 0), colour, 0.0, solid=False)


def power_strip(family: str, rng: np.random.Generator) -> ObjectModel:
    """A long strip with round ends: sockets in its side, shut outlets and a rocker on top, a cable behind."""
    depth, width, tall = _draw(rng, 0.05, 0.062), _draw(rng, 0.15, 0.175), _draw(rng, 0.036, 0.042)
    body, trim, rocker = _colour(rng), _colour(rng), _colour(rng)
    parts = [Part("box", (depth, width, tall), (0, 0, tall / 2), colour=body, mass=HOST_MASS)]
    for end in (-1, 1):
        at = (0, end * width / 2, tall / 2)
        parts.append(Part("cylinder", (depth / 2, tall, 0), at, colour=body, mass=0.05))
    parts += [_disc(0.014, (0, (index - 1) * 0.04, tall), trim) for index in range(3)]
    parts += [
        _light((0.022, 0.014, 0.008), (0, 0.45 * width, tall), rocker, (0.25, 0, 0)),
        Part("capsule", (0.005, 0.03, 0), (-0.2 * depth, -width / 2 - depth / 2, 0.012), ACROSS, BLACK),
    ]
    height = _draw(rng, 0.021, 0.026)
    return host_model(family, parts, front_sockets(_draw(rng, 0.08, 0.125), depth / 2, height))


def corner_box(family: str, rng: np.random.Generator) -> ObjectModel:
    """A square box with a lidded top: one socket in its front, the other around the corner."""
    side, tall = _draw(rng, 0.092, 0.115), _draw(rng, 0.034, 0.042)
    body, trim, hand = _colour(rng), _colour(rng), float(rng.choice((-1.0, 1.0)))
    parts = (
        Part("box", (side, side, tall), (0, 0, tall / 2), colour=body, mass=HOST_MASS),
        _light((0.8 * side, 0.8 * side, 0.006), (0, 0, tall + 0.003), trim, (0, 0, 0.15)),
        Part("cylinder", (0.012, 0.01, 0), (0, 0, tall + 0.01), colour=body, mass=0.01),
        *(_light((0.016, 0.016, tall + 0.004), (x * 0.48 * side, y * 0.48 * side, tall / 2 + 0.002), trim)
          for x in (-1, 1) for y in (-1, 1)),
    )  # fmt: skip
    height = _draw(rng, 0.021, 0.025)
    sockets = [Socket((side / 2, 0, height)), Socket((0, hand * side / 2, height), hand * pi / 2)]
    return host_model(family, parts, sorted(sockets, key=lambda socket: socket.yaw))


def _hexagon(across: float, tall: float, z: float, yaw: float, colour: Colour, mass: float) -> list[Part]:
    """An upright hexagonal prism, `across` between its flats, as three crossed boxes."""
    size = (across, across / sqrt(3), tall)
    return [
        Part("box", size, (0, 0, z), (0, 0, yaw + index * pi / 3), colour, mass / 3) for index in range(3)
    ]


def hex_hub(family: str, rng: np.random.Generator) -> ObjectModel:
    """A six-sided hub under a smaller, turned one and a dome; two of its faces have a socket."""
    across, tall, upper = _draw(rng, 0.105, 0.135), _draw(rng, 0.034, 0.04), _draw(rng, 0.006, 0.012)
    body, trim, dome = _colour(rng), _colour(rng), _colour(rng)
    parts = [
        *_hexagon(across, tall, tall / 2, 0.0, body, HOST_MASS),
        *_hexagon(0.62 * across, upper, tall + upper / 2, pi / 6, trim, 0.05),
        Part("sphere", (0.18 * across, 0, 0), (0, 0, tall), colour=dome, mass=0.02),
    ]
    height = _draw(rng, 0.021, 0.025)
    return host_model(family, parts, [polar(across / 2, side * pi / 3, height) for side in (-1, 1)])


def antenna_router(family: str, rng: np.random.Generator) -> ObjectModel:
    """A router: a slab with grooves and a row of lamps, two or three aerials fanned out along its back."""
    depth, width, tall = _draw(rng, 0.095, 0.125), _draw(rng, 0.14, 0.185), _draw(rng, 0.033, 0.038)
    body, trim, lamps = _colour(rng), _colour(rng), _colour(rng)
    aerials, length = int(rng.integers(2, 4)), _draw(rng, 0.045, 0.065)
    fan = _draw(rng, 0.15, 0.4)
    parts = [Part("box", (depth, width, tall), (0, 0, tall / 2), colour=body, mass=HOST_MASS)]
    for index in range(aerials):
        place = 2 * index / (aerials - 1) - 1
        lean = -place * fan
        y = 0.42 * width * place - sin(lean) * length / 2
        at = (0.006 - depth / 2, y, tall + cos(lean) * length / 2)
        parts.append(Part("capsule", (0.005, length, 0), at, (lean, 0, 0), trim, 0.005))
    for index in range(4):
        groove = (0.004, 0.7 * width, 0.003)
        parts.append(Part("box", groove, (0.01 - 0.012 * index, 0, tall), colour=trim, mass=0, solid=False))
        parts.append(_disc(0.003, (0.4 * depth, (index - 1.5) * 0.012, tall), lamps))
    height = _draw(rng, 0.02, 0.024)
    return host_model(family, parts, front_sockets(_draw(rng, 0.078, 0.105), depth / 2, height))


def pipe_speaker(family: str, rng: np.random.Generator) -> ObjectModel:
    """A pipe that lies on two feet, closed by discs, with one or two sockets in plates on its side."""
    radius, length = _draw(rng, 0.021, 0.026), _draw(rng, 0.145, 0.19)
    body, trim = _colour(rng), _colour(rng)
    height, spread = radius + 0.003, _draw(rng, 0.078, 0.1)
    parts = [Part("cylinder", (radius, length, 0), (0, 0, height), ACROSS, body, HOST_MASS)]
    for end in (-1, 1):
        disc = (0, end * length / 2, height)
        parts.append(Part("cylinder", (radius + 0.003, 0.008, 0), disc, ACROSS, trim, 0.02))
        parts.append(_light((2 * radius, 0.016, 0.014), (0, end * 0.3 * length, 0.007), trim, mass=0.05))
    parts.append(Part("cylinder", (0.006, 0.006, 0), (0, 0, height + radius), colour=trim, mass=0.005))
    sockets = front_sockets(spread, radius + 0.002, height)
    if rng.random() < 0.3:
        sockets = (Socket((radius + 0.002, 0.0, height)),)
    parts += [
        _light((0.012, 0.034, 0.03), (radius - 0.004, socket.xyz[1], height), trim) for socket in sockets
    ]
    return host_model(family, parts, sockets)


def gable_house(family: str, rng: np.random.Generator) -> ObjectModel:
    """A house: walls with the sockets as its doors, a gable roof and a chimney."""
    depth, width, eaves = _draw(rng, 0.085, 0.11), _draw(rng, 0.125, 0.16), _draw(rng, 0.036, 0.04)
    wall, tiles, stone = _colour(rng), _colour(rng), _colour(rng)
    pitch = _draw(rng, 0.3, 0.5)
    half, rise = depth / 2 + 0.002, depth / 2 * tan(pitch)
    parts = [Part("box", (depth, width, eaves), (0, 0, eaves / 2), colour=wall, mass=HOST_MASS)]
    for side in (-1, 1):
        size = (hypot(half, rise), width + 0.012, 0.006)
        at = (side * half / 2, 0, eaves + rise / 2)
        parts.append(_light(size, at, tiles, (0, side * pitch, 0), 0.03))
    chimney = (-0.25 * depth, 0.3 * width, eaves + 0.75 * rise)
    parts.append(_light((0.016, 0.016, rise + 0.012), chimney, stone))
    height = _draw(rng, 0.02, 0.024)
    return host_model(family, parts, front_sockets(_draw(rng, 0.078, 0.1), depth / 2, height))


FAMILIES = (
    UnseenFamily("hex_barrel", "stick", hex_barrel),
    UnseenFamily("taper_plug", "stick", taper_plug),
    UnseenFamily("elbow_plug", "stick", elbow_plug),
    UnseenFamily("cube_charger", "stick", cube_charger),
    UnseenFamily("coin_tab", "stick", coin_tab),
    UnseenFamily("puck_wart", "stick", puck_wart),
    UnseenFamily("power_strip", "host", power_strip),
    UnseenFamily("corner_box", "host", corner_box),
    UnseenFamily("hex_hub", "host", hex_hub),
    UnseenFamily("antenna_router", "host", antenna_router),
    UnseenFamily("pipe_speaker", "host", pipe_speaker),
    UnseenFamily("gable_house", "host", gable_house),
)
