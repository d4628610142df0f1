"""Towels and racks of the towel task: how any is built, the training and the validation instances.

A towel is a chain of thin plates. Two of them form a stiff crease in the middle, standing up like a small
tent, which the jaws pinch from both sides; the other plates hang on hinges with a little friction, as cloth
would. The crease does not fold further: Bullet's joint limits give way under the force of the jaws, a rigid
crease does not. Rack and towel hold together by friction alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..objects import Category, LinkPoint, ObjectModel, Split
from ..urdf import Colour, Joint, Link, Part, Vector, urdf_text

# (width at the crease's side, width at the hem's side) of one plate, metres.
Widths = tuple[float, float]
# Hinges bend upward a little, and downward until the plate hangs straight; radians.
FIRST_HINGE = (-0.2, 1.65)
HINGE = (-0.4, 0.4)
HINGE_FRICTION = 0.002  # N m; about a fifth of what a horizontal tail weighs on its hinge
HINGE_DAMPING = 2e-4  # N m s/rad
GAP = 0.0005  # metres left between plates
SLICES = 3  # boxes that a tapering plate is cut into
SLIT = 0.2  # of a strip's breadth, left free between it and the next
STRIPE_RISE = 0.0005  # metres that a stripe stands out of the cloth on either side
TOWEL_FRICTION = 1.2
BAR_FRICTION = 1.0


@dataclass(frozen=True)
class TowelShape:
    """What tells one towel from another.

    Attributes:
        front: widths of the plates from the crease to one hem, metres.
        back: the same on the other side.
        crease_width: metres along the crease.
        crease: metres from the crease's ridge down one of its sides.
        half_angle: radians between a side of the crease and the vertical.
        plate: length of one plate, metres.
        thickness: metres.
        mass: kilograms, of the whole towel.
        colour: of the cloth.
        hem: colour of the last plate on either side.
        striped: whether every second plate takes the hem's colour too.
        stripe: metres, breadth of a stripe in the hem's colour along the middle of the whole towel.
        front_strips: how many strips each front plate is cut into, side by side, like legs or a fringe; one
            where nothing is told.
        back_strips: the same on the other side.
    """

    front: tuple[Widths, ...]
    back: tuple[Widths, ...]
    crease_width: float
    crease: float = 0.05
    half_angle: float = 0.63
    plate: float = 0.024
    thickness: float = 0.005
    mass: float = 0.06
    colour: Colour = (0.35, 0.55, 0.85, 1.0)
    hem: Colour = (0.35, 0.55, 0.85, 1.0)
    striped: bool = False
    stripe: float = 0.0
    front_strips: tuple[int, ...] = ()
    back_strips: tuple[int, ...] = ()

    @property
    def drop(self) -> float:
        """How far the towel hangs below its ridge, metres."""
        longest = max(len(self.front), len(self.back)) * self.plate
        return self.crease * float(np.cos(self.half_angle)) + longest

    @property
    def area(self) -> float:
        """Square metres of cloth."""
        tails = sum(sum(widths) / 2 for widths in (*self.front, *self.back))
        return tails * self.plate + 2 * self.crease * self.crease_width


def build_towel(family: str, shape: TowelShape) -> ObjectModel:
    """A towel lying flat, its length along x, the ridge of its crease along y; the table is z = 0.

    Keypoints: "ridge", the middle of the crease's top. Scalars, metres: drop (how far it hangs below the
    ridge), back, front, half_width (how far it reaches along -x, x and y).
    """
    links, joints = [_crease_link(shape)], []
    sides = ((1.0, "front", shape.front, shape.front_strips), (-1.0, "back", shape.back, shape.back_strips))
    for sign, name, tail, cuts in sides:
        parent, start = "base", _tail_start(shape, sign)
        for index, widths in enumerate(tail):
            link, strips = f"{name}_{index}", cuts[index] if index < len(cuts) else 1
            colour = _plate_colour(shape, index, len(tail))
            links.append(Link(link, _plate_parts(shape, widths, sign, colour, strips)))
            lower, upper = FIRST_HINGE if index == 0 else HINGE
            joints.append(
                Joint(
                    parent,
                    link,
                    "revolute",
                    xyz=start,
                    axis=(0.0, sign, 0.0),
                    limits=(lower, upper),
                    damping=HINGE_DAMPING,
                    friction=HINGE_FRICTION,
                )
            )
            parent, start = link, (sign * shape.plate, 0.0, 0.0)
    return ObjectModel(
        category="towel",
        family=family,
        urdf=urdf_text(family, links, joints),
        keypoints={"ridge": LinkPoint((0.0, 0.0, _ridge_height(shape)))},
        scalars={"drop": shape.drop, **_footprint(shape)},
        friction=TOWEL_FRICTION,
    )


def _ridge_height(shape: TowelShape) -> float:
    return shape.crease * float(np.cos(shape.half_angle)) + shape.thickness


def _footprint(shape: TowelShape) -> dict[str, float]:
    start = _tail_start(shape, 1.0)[0]
    widest = max(width for widths in (*shape.front, *shape.back, (shape.crease_width,)) for width in widths)
    front, back = (start + len(tail) * shape.plate for tail in (shape.front, shape.back))
    return {"front": front, "back": back, "half_width": widest / 2}


def _tail_start(shape: TowelShape, sign: float) -> Vector:
    return sign * shape.crease * float(np.sin(shape.half_angle)), 0.0, shape.thickness / 2


def _plate_colour(shape: TowelShape, index: int, count: int) -> Colour:
    is_hem = index == count - 1 or (shape.striped and index % 2 == 0)
    return shape.hem if is_hem else shape.colour


def _crease_link(shape: TowelShape) -> Link:
    x, height = _tail_start(shape, 0.5)[0], shape.crease * float(np.cos(shape.half_angle))
    pitch = np.pi / 2 - shape.half_angle
    size = (shape.crease, shape.crease_width, shape.thickness)
    mass = shape.mass * shape.crease * shape.crease_width / shape.area
    centre_z = height / 2 + shape.thickness / 2
    sides = [
        Part("box", size, (sign * x, 0.0, centre_z), (0.0, sign * pitch, 0.0), shape.colour, mass)
        for sign in (1.0, -1.0)
    ]
    return Link("base", (*sides, *(part for side in sides for part in _stripe(shape, side))))


def _stripe(shape: TowelShape, plate: Part) -> tuple[Part, ...]:
    """The stripe along the middle of a plate, where the towel has one: paint, not cloth."""
    if not shape.stripe:
        return ()
    size = (plate.size[0], min(shape.stripe, plate.size[1]), shape.thickness + 2 * STRIPE_RISE)
    return (replace(plate, size=size, colour=shape.hem, mass=0.0, solid=False),)


def _plate_parts(
    shape: TowelShape, widths: Widths, sign: float, colour: Colour, strips: int
) -> tuple[Part, ...]:
    """A plate from its hinge outward, cut across into boxes where it tapers, and lengthwise into strips."""
    near, far = widths
    count = 1 if near == far else SLICES
    length = (shape.plate - GAP) / count
    parts = []
    for index in range(count):
        width = near + (far - near) * (index + 0.5) / count
        mass = shape.mass * length * width / shape.area
        x, pitch = sign * (index + 0.5) * length, width / strips
        size = (length, pitch if strips == 1 else (1 - SLIT) * pitch, shape.thickness)
        for strip in range(strips):
            centre = (x, (strip - (strips - 1) / 2) * pitch, 0.0)
            parts.append(Part("box", size, centre, (0.0, 0.0, 0.0), colour, mass / strips))
        parts.extend(_stripe(shape, parts[-1]) if strips == 1 else ())
    return tuple(parts)


@dataclass(frozen=True)
class TowelFamily:
    """Towels of one kind.

    Attributes:
        name: unique among towels.
        split: which split may use it.
        draw: draws one shape.
    """

    name: str
    split: Split
    draw: Callable[[np.random.Generator], TowelShape]
    category: Category = "towel"

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """A random towel of this kind."""
        return build_towel(self.name, self.draw(rng))


@dataclass(frozen=True)
class Bar:
    """A bar to hang things on.

    Attributes:
        xyz: its middle, metres in the rack's frame, whose x axis it follows.
        length: metres.
        radius: metres, half the side where it is square.
        square: whether its cross-section is a square standing on an edge instead of a circle.
    """

    xyz: Vector
    length: float
    radius: float = 0.01
    square: bool = False

    def part(self, colour: Colour) -> Part:
        """The bar as a solid."""
        if self.square:
            size = (self.length, 2 * self.radius, 2 * self.radius)
            return Part("box", size, self.xyz, (np.pi / 4, 0.0, 0.0), colour, 0.05)
        size = (self.radius, self.length, 0.0)
        return Part("cylinder", size, self.xyz, (0.0, np.pi / 2, 0.0), colour, 0.05)

    @property
    def top(self) -> Vector:
        """The point on top of its middle."""
        rise = self.radius * (np.sqrt(2.0) if self.square else 1.0)
        return self.xyz[0], self.xyz[1], self.xyz[2] + rise


def build_rack(family: str, bars: tuple[Bar, ...], frame: tuple[Part, ...], colour: Colour) -> ObjectModel:
    """A rack: bars along x held up by a frame; the table is z = 0.

    Keypoints: "bar_0", "bar_1", ...: the middle of each bar's top, from +y to -y. Scalars: bars (how many);
    back, front, half_width (how far it reaches along -x, x and y, metres).
    """
    parts = (*(bar.part(colour) for bar in bars), *frame)
    reach = [max(abs(part.xyz[axis]) + part.size[axis] / 2 for part in frame) for axis in (0, 1)]
    length = max(max(bar.length for bar in bars) / 2, reach[0])
    return ObjectModel(
        category="rack",
        family=family,
        urdf=urdf_text(family, [Link("base", parts)]),
        keypoints={f"bar_{index}": LinkPoint(bar.top) for index, bar in enumerate(bars)},
        scalars={"bars": float(len(bars)), "back": length, "front": length, "half_width": reach[1]},
        friction=BAR_FRICTION,
    )


@dataclass(frozen=True)
class RackFamily:
    """Racks of one kind.

    Attributes:
        name: unique among racks.
        split: which split may use it.
        draw: draws one rack.
    """

    name: str
    split: Split
    draw: Callable[[np.random.Generator], ObjectModel]
    category: Category = "rack"

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """A random rack of this kind."""
        return self.draw(rng)


def upright(x: float, y: float, height: float, side: float, colour: Colour, mass: float = 0.1) -> Part:
    """A square post from the table up to `height` at (x, y), metres."""
    return Part("box", (side, side, height), (x, y, height / 2), (0.0, 0.0, 0.0), colour, mass)


def foot(x: float, y: float, size: tuple[float, float], colour: Colour, mass: float = 1.5) -> Part:
    """A heavy plate on the table under a post; it keeps the rack from tipping."""
    return Part("box", (*size, 0.012), (x, y, 0.006), (0.0, 0.0, 0.0), colour, mass)


def two_posts(family: str, bar: Bar, side: float, wood: Colour, iron: Colour) -> ObjectModel:
    """A bar between two posts, each on its own foot."""
    x, height = bar.length / 2, bar.xyz[2]
    posts = [upright(sign * x, 0.0, height + bar.radius, side, wood) for sign in (1.0, -1.0)]
    feet = [foot(sign * x, 0.0, (0.03, 0.10), iron) for sign in (1.0, -1.0)]
    return build_rack(family, (bar,), (*posts, *feet), wood)


WOOD: Colour = (0.72, 0.52, 0.3, 1.0)
DARK: Colour = (0.25, 0.25, 0.28, 1.0)
STEEL: Colour = (0.7, 0.72, 0.75, 1.0)


def _lab_towel(_: np.random.Generator) -> TowelShape:
    plain = ((0.10, 0.10),) * 3
    return TowelShape(plain, plain, 0.10, hem=(0.95, 0.95, 0.95, 1.0))


def _lab_rack(_: np.random.Generator) -> ObjectModel:
    return two_posts("two_posts", Bar((0.0, 0.0, 0.19), 0.20), 0.018, WOOD, DARK)


def _narrow_towel(_: np.random.Generator) -> TowelShape:
    plain = ((0.075, 0.075),) * 3
    return TowelShape(plain, plain, 0.075, colour=(0.85, 0.4, 0.35, 1.0), hem=(0.85, 0.4, 0.35, 1.0))


def _short_towel(_: np.random.Generator) -> TowelShape:
    plain = ((0.12, 0.12),) * 2
    return TowelShape(plain, plain, 0.12, colour=(0.5, 0.75, 0.5, 1.0), hem=(0.95, 0.9, 0.6, 1.0))


def _low_rack(_: np.random.Generator) -> ObjectModel:
    return two_posts("low_rack", Bar((0.0, 0.0, 0.17), 0.18, 0.009), 0.012, STEEL, STEEL)


def _thick_rack(_: np.random.Generator) -> ObjectModel:
    return two_posts("thick_rack", Bar((0.0, 0.0, 0.20), 0.20, 0.012), 0.03, DARK, WOOD)


FAMILIES: tuple[TowelFamily | RackFamily, ...] = (
    TowelFamily("lab_towel", "train", _lab_towel),
    TowelFamily("narrow_towel", "validation", _narrow_towel),
    TowelFamily("short_towel", "validation", _short_towel),
    RackFamily("two_posts", "train", _lab_rack),
    RackFamily("low_rack", "validation", _low_rack),
    RackFamily("thick_rack", "validation", _thick_rack),
)
