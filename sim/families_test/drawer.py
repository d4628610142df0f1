"""Unseen cabinets: towers, dressers, desks and crates, with leaning, reeded, panelled or notched fronts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import atan2, cos, hypot, pi, sin, tan
from typing import Literal

import numpy as np

from ..families_train.drawer import DRAWER_MASS, SHEET, TRAY_BELOW_RIM, CabinetShape, Front, cabinet_model
from ..objects import Category, ObjectModel, Split
from ..urdf import Colour, Part, Vector

RING_PIECES = 10
ARCH_PIECES = 6
# Turn a cylinder, which stands, along an axis.
LYING: dict[Literal["x", "y", "z"], Vector] = {"x": (0, pi / 2, 0), "y": (pi / 2, 0, 0), "z": (0, 0, 0)}


@dataclass(frozen=True)
class UnseenCabinets:
    """A test family: a function that draws one instance.

    Attributes:
        name: of the family.
        make: draws one instance, given the family's name.
    """

    name: str
    make: Callable[[str, np.random.Generator], ObjectModel]
    category: Category = "cabinet"
    split: Split = "test"

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """A random instance of the family."""
        return self.make(self.name, rng)


def _colour(rng: np.random.Generator) -> Colour:
    red, green, blue = rng.uniform(0.1, 0.95, 3)
    return (float(red), float(green), float(blue), 1.0)


def _draw(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _box(size: Vector, xyz: Vector, colour: Colour, mass: float = 0.004, rpy: Vector = (0, 0, 0)) -> Part:
    return Part("box", size, xyz, rpy, colour, mass)


def _rod(radius: float, length: float, xyz: Vector, axis: Literal["x", "y", "z"], colour: Colour) -> Part:
    return Part("cylinder", (radius, length, 0), xyz, LYING[axis], colour, 0.004)


def _shape(
    rng: np.random.Generator,
    drawers: int,
    width: float,
    height: float,
    *,
    thickness: float = 0.016,
    legs: float = 0.0,
    crown: float = 0.0,
) -> CabinetShape:
    """A cabinet of random depth in random colours."""
    body, face, metal, inside = (_colour(rng) for _ in range(4))
    depth = _draw(rng, 0.108, 0.134)
    return CabinetShape(
        drawers, width, height, depth, thickness, legs, crown=crown,
        body=body, face=face, metal=metal, inside=inside,
    )  # fmt: skip


def _extent(shape: CabinetShape) -> tuple[float, float]:
    """Height of a front, and of its middle above the table."""
    low = shape.legs + SHEET
    return shape.height - low, (shape.height + low) / 2


def _slab(shape: CabinetShape) -> Part:
    """A flat front of full size."""
    tall, middle = _extent(shape)
    size = (shape.thickness, shape.width, tall)
    return _box(size, (shape.thickness / 2, 0, middle), shape.face, DRAWER_MASS)


def _corners(shape: CabinetShape, beside: float) -> list[tuple[float, float]]:
    """Of the carcass seen from above, moved out by `beside` at its sides."""
    y = shape.total_width / 2 + beside
    return [(x, side * y) for x in (-0.012, 0.012 - shape.depth) for side in (-1, 1)]


# ---- a tower -----------------------------------------------------------------------------------------------


def _ring(x: float, z: float, radius: float, colour: Colour) -> list[Part]:
    """A ring that hangs flat before a front, and the boss that it hangs on."""
    piece = 2 * pi * radius / RING_PIECES
    parts = [_rod(0.004, 0.012, (x, 0, z + radius), "x", colour)]
    for index in range(RING_PIECES):
        angle = 2 * pi * index / RING_PIECES
        at = (x, radius * cos(angle), z + radius * sin(angle))
        parts.append(_box((0.004, 0.004, 1.15 * piece), at, colour, 0.001, (angle, 0, 0)))
    return parts


def ring_tower(family: str, rng: np.random.Generator) -> ObjectModel:
    """A tall narrow tower on a broader base; only its upper drawer is real; a ring hangs on every front."""
    height, live = _draw(rng, 0.07, 0.088), _draw(rng, 0.036, 0.042)
    shape = _shape(rng, 1, _draw(rng, 0.082, 0.1), height, legs=height - live)
    radius, x = _draw(rng, 0.007, 0.01), shape.thickness + 0.005
    _, middle = _extent(shape)
    broad = shape.total_width + 0.014
    below = (shape.thickness, shape.width, shape.legs - 0.01)
    trim = [
        _box((shape.depth, broad, shape.legs), (-shape.depth / 2, 0, shape.legs / 2), shape.body),
        _box(below, (below[0] / 2, 0, 0.007 + below[2] / 2), shape.face),
        *_ring(x, 0.005 + below[2] / 2, radius, shape.metal),
    ]
    front = (_slab(shape), *_ring(x, middle - 0.002, radius, shape.metal))
    return cabinet_model(family, shape, Front(front, shape.thickness / 2, x + 0.002), trim)


# ---- fronts that lean --------------------------------------------------------------------------------------


def hopper_front(family: str, rng: np.random.Generator) -> ObjectModel:
    """Fronts that lean out, each under a flat cap with two ears."""
    drawers = int(rng.integers(1, 4))
    width = _draw(rng, 0.082, 0.09 if drawers == 3 else 0.115)
    shape = _shape(rng, drawers, width, _draw(rng, 0.042, 0.054), thickness=0.014)
    slope, (tall, _) = tan(_draw(rng, 0.2, 0.36)), _extent(shape)
    cap, out = shape.thickness + 0.008, slope * tall + shape.thickness / 2
    protrusion, z = out + cap / 2, shape.height - 0.003
    board, rise = (shape.thickness, shape.width, (tall - 0.004) * hypot(1, slope)), (tall - 0.004) / 2
    middle = (shape.thickness / 2 + slope * rise, 0, shape.height - tall + rise)
    floor = slope * (tall - TRAY_BELOW_RIM) + 0.004
    parts = (
        _box(board, middle, shape.face, DRAWER_MASS, (0, atan2(slope, 1), 0)),
        _box((cap, shape.width, 0.006), (out, 0, z), shape.metal),
        _box((floor, width - 0.012, SHEET), (floor / 2, 0, z - TRAY_BELOW_RIM), shape.inside),
        *(_box((0.016, 0.01, 0.006), (protrusion + 0.007, side * (width / 2 - 0.005), z), shape.metal)
          for side in (-1, 1)),
    )  # fmt: skip
    sill = (0.02, shape.total_width + 0.02, SHEET)
    skids = [_box(sill, (x, 0, SHEET / 2), shape.metal) for x in (-0.01, 0.01 - shape.depth)]
    return cabinet_model(family, shape, Front(parts, out, protrusion), skids)


# ---- reeds and columns -------------------------------------------------------------------------------------


def reeded_front(family: str, rng: np.random.Generator) -> ObjectModel:
    """Fronts of upright half-round reeds between columns with balls on them; a rail runs around the top."""
    drawers, reeds, back = int(rng.integers(1, 4)), int(rng.integers(5, 9)), 0.01
    width = _draw(rng, 0.082, 0.088 if drawers == 3 else 0.12)
    shape = _shape(rng, drawers, width, _draw(rng, 0.042, 0.058), thickness=back)
    (tall, middle), radius = _extent(shape), width / (2 * reeds)
    front = [_slab(shape)]
    for index in range(reeds):
        y = (2 * index + 1 - reeds) * radius
        colour = shape.face if index % 2 else shape.metal
        front.append(_rod(radius, tall, (back, y, middle), "z", colour))
    girth, height = _draw(rng, 0.007, 0.01), shape.height
    trim: list[Part] = []
    for x, y in _corners(shape, 0.6 * girth):
        trim.append(_rod(girth, height, (x, y, height / 2), "z", shape.body))
        trim.append(
            Part("sphere", (girth, 0, 0), (x, y, height + 0.6 * girth), colour=shape.metal, mass=0.01)
        )
    rail = (0.006, shape.total_width, 0.012)
    trim.append(_box(rail, (-shape.depth + 0.01, 0, height + 0.006), shape.body))
    return cabinet_model(family, shape, Front(tuple(front), (back + radius) / 2, back + radius), trim)


# ---- a dresser ---------------------------------------------------------------------------------------------


def _panelled(width: float, size: tuple[float, float], at: Vector, colour: Colour) -> list[Part]:
    """A frame of strips `width` wide on a board of `size` (across, up), around `at`."""
    (across, up), (x, y, z) = size, at
    sides, ends = (across - width) / 2, (up - width) / 2
    upright, level = (0.006, width, up), (0.006, across, width)
    strips = [_box(upright, (x, y + side * sides, z), colour) for side in (-1, 1)]
    return strips + [_box(level, (x, y, z + side * ends), colour) for side in (-1, 1)]


def panel_dresser(family: str, rng: np.random.Generator) -> ObjectModel:
    """Two drawers with two studs each over two doors that stay shut, all framed, on ball feet."""
    height, live, strip = _draw(rng, 0.066, 0.082), _draw(rng, 0.036, 0.042), _draw(rng, 0.006, 0.009)
    shape = _shape(rng, 2, _draw(rng, 0.1, 0.122), height, thickness=0.012, legs=height - live)
    thick, width, low = shape.thickness, shape.width, 0.011
    (tall, middle), face = _extent(shape), thick + 0.003
    # As far apart as hopper_front's ears: a fist wedged in between would draw the drawer out again.
    studs = [_rod(0.007, 0.01, (thick + 0.005, side * 0.4 * width, middle), "x", shape.metal)
             for side in (-1, 1)]  # fmt: skip
    front = (_slab(shape), *_panelled(strip, (width, tall), (face, 0, middle), shape.body), *studs)
    door, z = shape.legs - low - 0.003, (shape.legs + low) / 2
    case = (shape.depth, shape.total_width, shape.legs - low)
    trim = [_box(case, (-shape.depth / 2, 0, z), shape.body)]
    for side in (-1, 1):
        y = side * shape.pitch / 2
        trim.append(_box((thick, width, door), (thick / 2, y, z), shape.face))
        trim += _panelled(strip, (width, door), (face, y, z), shape.body)
        trim.append(_box((0.012, 0.005, 0.014), (thick + 0.006, 0.14 * y, z), shape.metal))
    trim += [Part("sphere", (0.008, 0, 0), (x, y, 0.008), colour=shape.metal, mass=0.01)
             for x, y in _corners(shape, 0.0)]  # fmt: skip
    return cabinet_model(family, shape, Front(front, face / 2, thick + 0.006), trim)


# ---- a desk ------------------------------------------------------------------------------------------------


def _arch(x: float, z: float, span: float, reach: float, colour: Colour) -> list[Part]:
    """A flat bridge that stands out of a front by `reach` in its middle."""
    steps = np.linspace(-1, 1, ARCH_PIECES + 1).tolist()
    feet = [(x + reach * (1 - step**2), span / 2 * step) for step in steps]
    parts = []
    for (x0, y0), (x1, y1) in pairwise(feet):
        size = (0.006, 1.1 * hypot(x1 - x0, y1 - y0), 0.009)
        yaw = atan2(x0 - x1, y1 - y0)
        parts.append(_box(size, ((x0 + x1) / 2, (y0 + y1) / 2, z), colour, 0.002, (0, 0, yaw)))
    return parts


def arch_desk(family: str, rng: np.random.Generator) -> ObjectModel:
    """A desk on two panels: shallow drawers with arched bridges under an overhanging top with a shelf."""
    drawers = int(rng.integers(2, 4))
    height, live = _draw(rng, 0.058, 0.078), _draw(rng, 0.03, 0.034)
    width = _draw(rng, 0.082, 0.089 if drawers == 3 else 0.11)
    crown = _draw(rng, 0.008, 0.014)
    shape = _shape(rng, drawers, width, height, legs=height - live, crown=crown)
    reach, (_, middle) = _draw(rng, 0.012, 0.018), _extent(shape)
    arch = _arch(shape.thickness, middle, _draw(rng, 0.4, 0.7) * width, reach, shape.metal)
    front = Front((_slab(shape), *arch), shape.thickness / 2, shape.thickness + reach + 0.003)
    top, back = height + SHEET, 0.008 - shape.depth
    pad = (0.45 * shape.depth, 0.4 * shape.total_width, 0.003)
    trim = [
        _box((0.014, 0.9 * shape.total_width, 0.022), (back, 0, top + 0.011), shape.body),
        _box(pad, (-0.4 * shape.depth, 0, top + 0.001), shape.metal),
    ]
    return cabinet_model(family, shape, front, trim)


# ---- a crate -----------------------------------------------------------------------------------------------


def notched_crate(family: str, rng: np.random.Generator) -> ObjectModel:
    """Fronts of two planks, rims notched left and right for fingers; posts at the corners, rope grips."""
    drawers, notch = int(rng.integers(1, 4)), _draw(rng, 0.009, 0.013)
    width = _draw(rng, 0.084, 0.089 if drawers == 3 else 0.12)
    shape = _shape(rng, drawers, width, _draw(rng, 0.042, 0.056), thickness=_draw(rng, 0.014, 0.022))
    thick, (tall, _) = shape.thickness, _extent(shape)
    low, plank = shape.height - tall, (tall - notch - 0.002) / 2
    tooth, side = (thick, 0.36 * width, notch), (thick, 0.15 * width, notch)
    z = shape.height - notch / 2
    front = (
        _box((thick, width, plank), (thick / 2, 0, low + plank / 2), shape.metal, DRAWER_MASS / 2),
        _box((thick - 0.004, width, tall - notch), (thick / 2 - 0.002, 0, low + (tall - notch) / 2),
             shape.inside),
        _box((thick, width, plank), (thick / 2, 0, low + 1.5 * plank + 0.002), shape.face, DRAWER_MASS / 2),
        _box(tooth, (thick / 2, 0, z), shape.face),
        *(_box(side, (thick / 2, end * 0.425 * width, z), shape.face) for end in (-1, 1)),
    )  # fmt: skip
    trim = [_box((0.014, 0.014, shape.height + 0.006), (x, y, shape.height / 2 + 0.003), shape.face)
            for x, y in _corners(shape, 0.004)]  # fmt: skip
    for end in (-1, 1):
        y, middle = end * (shape.total_width / 2 + 0.006), -shape.depth / 2
        rope = Part("capsule", (0.004, 0.05, 0), (middle, y, 0.7 * shape.height), LYING["x"], shape.metal)
        trim.append(rope)
    return cabinet_model(family, shape, Front(front, thick / 2, thick), trim)


FAMILIES = (
    UnseenCabinets("ring_tower", ring_tower),
    UnseenCabinets("hopper_front", hopper_front),
    UnseenCabinets("reeded_front", reeded_front),
    UnseenCabinets("panel_dresser", panel_dresser),
    UnseenCabinets("arch_desk", arch_desk),
    UnseenCabinets("notched_crate", notched_crate),
)
