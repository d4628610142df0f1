"""Things to point at in pre-training: toy shapes, none of which is an object of the five tasks.

Every thing rests on z = 0 of its own frame and knows where it can be held: its middle, and its ends if it is
long. Ends are told apart by shape ("thin end") where they differ, else only by where they lie in the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .urdf import Part, Vector

Generator = np.random.Generator


@dataclass(frozen=True)
class Grip:
    """A place to hold a thing.

    Attributes:
        xyz: on its upper surface, metres in the thing's frame.
        closing: direction of the jaws' closing axis in the thing's xy plane, radians; None where all do.
        width: metres between the jaws.
    """

    xyz: Vector
    closing: float | None
    width: float


@dataclass(frozen=True)
class Thing:
    """A shape.

    Attributes:
        names: what it may be called.
        parts: its solids; each may be painted differently.
        middle: where it is held by default.
        ends: places to hold it at its ends, by name; two keys "end 0" and "end 1" if they look alike.
    """

    names: tuple[str, ...]
    parts: tuple[Part, ...]
    middle: Grip
    ends: Mapping[str, Grip] = field(default_factory=dict)

    @property
    def radius(self) -> float:
        """Metres around its frame that it takes."""
        return max(math.hypot(part.xyz[0], part.xyz[1]) + _reach(part) for part in self.parts)


def _reach(part: Part) -> float:
    """Metres around a part's centre that it takes on the table."""
    if part.shape == "box":
        return math.hypot(part.size[0], part.size[1]) / 2
    lies = part.shape == "cylinder" and part.rpy != (0, 0, 0)
    return max(part.size[1] / 2, part.size[0]) if lies else part.size[0]


def _box(x: float, y: float, z: float, at: Vector = (0, 0, 0), yaw: float = 0.0) -> Part:
    """A box whose lower face is at height at[2]."""
    return Part("box", (x, y, z), (at[0], at[1], at[2] + z / 2), (0, 0, yaw))


def _upright(radius: float, height: float, at: Vector = (0, 0, 0)) -> Part:
    return Part("cylinder", (radius, height, 0), (at[0], at[1], at[2] + height / 2))


def _lying(radius: float, length: float, at: Vector = (0, 0, 0)) -> Part:
    """A cylinder along x on the table."""
    return Part("cylinder", (radius, length, 0), (at[0], at[1], at[2] + radius), (0, math.pi / 2, 0))


def _block(rng: Generator) -> Thing:
    x, y = rng.uniform(0.03, 0.06), rng.uniform(0.03, 0.06)
    z = rng.uniform(0.02, 0.06)
    narrow = 0.0 if x < y else math.pi / 2
    return Thing(("block", "cube", "box"), (_box(x, y, z),), Grip((0, 0, z), narrow, min(x, y)))


def _bar(rng: Generator) -> Thing:
    x, y, z = rng.uniform(0.1, 0.24), rng.uniform(0.012, 0.035), rng.uniform(0.012, 0.03)
    if rng.random() < 0.5:
        part, top = _box(x, y, z), z
    else:
        part, top = _lying(y / 2, x), y
    return Thing(("bar", "long block", "beam"), (part,), _across((0, 0, top), y), _alike_ends(x, y, top))


def _across(xyz: Vector, width: float) -> Grip:
    """A grip across a part that runs along x."""
    return Grip(xyz, math.pi / 2, width)


def _alike_ends(length: float, width: float, top: float) -> dict[str, Grip]:
    reach = 0.4 * length
    return {"end 0": _across((-reach, 0, top), width), "end 1": _across((reach, 0, top), width)}


def _ball(rng: Generator) -> Thing:
    radius = rng.uniform(0.015, 0.032)
    ball = Part("sphere", (radius, 0, 0), (0, 0, radius))
    return Thing(("ball", "marble"), (ball,), Grip((0, 0, 2 * radius), None, 2 * radius))


def _tin(rng: Generator) -> Thing:
    radius, height = rng.uniform(0.015, 0.035), rng.uniform(0.02, 0.08)
    return Thing(("tin", "cylinder"), (_upright(radius, height),), Grip((0, 0, height), None, 2 * radius))


def _plate(rng: Generator) -> Thing:
    radius = rng.uniform(0.04, 0.07)
    if rng.random() < 0.5:
        return Thing(("plate", "disc"), (_upright(radius, 0.008),), Grip((0, 0, 0.008), None, 0.08))
    x, y = radius * 2, radius * rng.uniform(1.2, 2.0)
    return Thing(("tile", "card"), (_box(x, y, 0.006),), Grip((0, 0, 0.006), math.pi / 2, 0.08))


def _cone(rng: Generator) -> Thing:
    radius, height, layers = rng.uniform(0.02, 0.04), rng.uniform(0.04, 0.08), 5
    parts = tuple(
        _upright(radius * (1 - i / layers), height / layers, (0, 0, i * height / layers))
        for i in range(layers)
    )
    return Thing(("cone",), parts, Grip((0, 0, height), None, radius))


def _ring(rng: Generator) -> Thing:
    radius, count = rng.uniform(0.03, 0.055), 12
    thick, high = rng.uniform(0.008, 0.016), rng.uniform(0.01, 0.03)
    angles = [2 * math.pi * i / count for i in range(count)]
    length = 2 * math.pi * radius / count * 1.15
    parts = tuple(
        _box(length, thick, high, (radius * math.cos(a), radius * math.sin(a), 0), a + math.pi / 2)
        for a in angles
    )
    return Thing(("ring", "hoop"), parts, Grip((0, 0, 0), None, 0.08))


def _letter(rng: Generator) -> Thing:
    """L, T, cross, U or Z of bars."""
    size, thick = rng.uniform(0.06, 0.12), rng.uniform(0.014, 0.026)
    high, half = rng.uniform(0.012, 0.03), size / 2
    spine = _box(size, thick, high)
    kind = rng.choice(["L", "T", "cross", "U", "Z"])
    arms = {
        "L": [(half, half / 2)],
        "T": [(half, 0.0)],
        "cross": [(0.0, 0.0)],
        "U": [(half, half / 2), (-half, half / 2)],
        "Z": [(half, half / 2), (-half, -half / 2)],
    }[str(kind)]
    length = size if kind in ("T", "cross") else half
    bars = tuple(_box(thick, length, high, (x, y, 0)) for x, y in arms)
    name = str(kind) if kind == "cross" else f"letter {kind}"
    return Thing((name,), (spine, *bars), _across((0, 0, high), thick))


def _head(rng: Generator, x: float, height: float) -> list[Part]:
    """The thick end of a pin, about x."""
    kind = rng.choice(["ball", "block", "disc", "bar", "drum", "fork", "wedge"])
    width = rng.uniform(0.04, 0.09)
    depth, high = rng.uniform(0.02, 0.05), rng.uniform(0.8, 2.2) * height
    if kind == "ball":
        return [Part("sphere", (width / 3, 0, 0), (x, 0, width / 3))]
    if kind == "disc":
        return [_upright(width / 2, high, (x, 0, 0))]
    if kind == "drum":
        return [Part("cylinder", (depth / 2, width, 0), (x, 0, depth / 2), (math.pi / 2, 0, 0))]
    if kind == "fork":
        return [_box(depth * 2, width / 6, height, (x, side * width / 2.5, 0)) for side in (-1, 0, 1)]
    if kind == "wedge":
        steps = (0.4, 0.7, 1.0)
        return [_box(depth / 3, width * s, high, (x + depth / 3 * i, 0, 0)) for i, s in enumerate(steps)]
    if kind == "bar":
        return [_box(depth / 2, width * 1.4, high, (x, 0, 0))]
    return [_box(depth, width, high, (x, 0, 0))]


def _pin(rng: Generator) -> Thing:
    """A long thin stem with something thick at one end."""
    length, width = rng.uniform(0.09, 0.2), rng.uniform(0.01, 0.026)
    height = rng.uniform(0.8, 1.2) * width
    stem = _box(length, width, height) if rng.random() < 0.5 else _lying(width / 2, length)
    top = height if stem.shape == "box" else width
    head = _head(rng, length / 2, top)
    reach = rng.uniform(0.25, 0.35) * length
    thick = Grip((length / 2, 0, top), math.pi / 2, 0.08)
    ends = {"thin end": _across((-reach, 0, top), width), "thick end": thick}
    return Thing(("pin", "key", "club", "peg"), (stem, *head), _across((0, 0, top), width), ends)


def _dumbbell(rng: Generator) -> Thing:
    length, width = rng.uniform(0.08, 0.16), rng.uniform(0.01, 0.02)
    radius = rng.uniform(0.015, 0.03)
    knobs = [Part("sphere", (radius, 0, 0), (side * length / 2, 0, radius)) for side in (-1, 1)]
    bar = _lying(width / 2, length, (0, 0, radius - width / 2))
    ends = {
        f"end {i}": Grip((side * length / 2, 0, 2 * radius), None, 2 * radius)
        for i, side in ((0, -1), (1, 1))
    }
    top = radius + width / 2
    return Thing(("dumbbell", "bone"), (bar, *knobs), _across((0, 0, top), width), ends)


def _tower(rng: Generator) -> Thing:
    """Blocks on each other, or a brick with studs."""
    x, y, z = rng.uniform(0.03, 0.06), rng.uniform(0.03, 0.05), rng.uniform(0.015, 0.03)
    narrow = 0.0 if x < y else math.pi / 2
    if rng.random() < 0.5:
        parts = [_box(x, y, z), _box(0.7 * x, 0.7 * y, z, (0, 0, z))]
        return Thing(("tower", "stack"), tuple(parts), Grip((0, 0, 2 * z), narrow, 0.7 * min(x, y)))
    studs = [_upright(0.006, 0.006, (sx * x / 4, sy * y / 4, z)) for sx in (-1, 1) for sy in (-1, 1)]
    return Thing(("brick", "toy brick"), (_box(x, y, z), *studs), Grip((0, 0, z), narrow, min(x, y)))


def _car(rng: Generator) -> Thing:
    x, y, z = rng.uniform(0.06, 0.1), rng.uniform(0.03, 0.045), rng.uniform(0.012, 0.02)
    radius = rng.uniform(0.008, 0.012)
    wheels = [
        Part("cylinder", (radius, 0.008, 0), (sx * x / 3, sy * y / 2, radius), (math.pi / 2, 0, 0))
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    body, cabin = _box(x, y, z, (0, 0, radius)), _box(x / 2, 0.9 * y, z, (-x / 10, 0, radius + z))
    return Thing(("car", "toy car"), (body, cabin, *wheels), _across((0, 0, radius + 2 * z), y))


def _animal(rng: Generator) -> Thing:
    x, y, z, leg = rng.uniform(0.05, 0.08), rng.uniform(0.02, 0.035), rng.uniform(0.02, 0.03), 0.015
    legs = [_box(0.01, 0.01, leg, (sx * x / 3, sy * y / 3, 0)) for sx in (-1, 1) for sy in (-1, 1)]
    head = Part("sphere", (0.6 * y, 0, 0), (x / 2 + 0.3 * y, 0, leg + z))
    body = _box(x, y, z, (0, 0, leg))
    return Thing(("animal", "toy dog"), (body, head, *legs), _across((0, 0, leg + z), y))


def _lump(rng: Generator) -> Thing:
    """Two to four random solids through each other."""
    parts: list[Part] = []
    for _ in range(rng.integers(2, 5)):
        x, y, z = rng.uniform(0.015, 0.05, 3)
        at = (rng.uniform(-0.02, 0.02), rng.uniform(-0.02, 0.02), 0.0)
        parts.append(
            _box(x, y, z, at, rng.uniform(0, math.pi)) if rng.random() < 0.6 else _upright(x / 2, z, at)
        )
    top = max(part.xyz[2] * 2 for part in parts)
    return Thing(("lump", "thing"), tuple(parts), Grip((0, 0, 0.6 * top), None, 0.06))


KINDS: Mapping[Callable[[Generator], Thing], float] = {
    _pin: 4.0,
    _bar: 2.0,
    _block: 1.5,
    _letter: 1.5,
    _lump: 1.0,
    _tin: 1.0,
    _ball: 1.0,
    _plate: 1.0,
    _dumbbell: 1.0,
    _ring: 0.7,
    _tower: 0.7,
    _cone: 0.5,
    _car: 0.5,
    _animal: 0.5,
}


def sample_thing(rng: Generator) -> Thing:
    """A random thing; long ones are the commonest."""
    weights = np.array(list(KINDS.values()))
    kind = rng.choice(len(weights), p=weights / weights.sum())
    return list(KINDS)[int(kind)](rng)
