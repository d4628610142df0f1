"""Cabinets with drawers side by side: the shared builder, the training instance, two validation instances.

Object frame: origin on the table under the middle of the closed fronts' back plane, x the way the drawers
open, z up. Drawer i is link "drawer_i", i counted along +y; its frame has the same axes, origin under the
middle of its front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..objects import Category, LinkPoint, ObjectModel, Split
from ..urdf import Colour, Joint, Link, Part, urdf_text

HandleStyle = Literal["none", "bar", "lip"]
# Heavy enough to stand against a hand that presses a little too far; a shove from the side still turns it.
CARCASS_MASS = 8.0
DRAWER_MASS = 0.25
DRAWER_FRICTION = 2.0
TRAY_BELOW_RIM = 0.012
SHEET = 0.006


@dataclass(frozen=True)
class CabinetShape:
    """One cabinet; lengths in metres.

    Attributes:
        drawers: how many, side by side.
        width: of one drawer's front.
        height: of the fronts' rims and the cabinet's top above the table.
        depth: of the carcass.
        thickness: of the fronts.
        legs: height of the carcass above the table.
        handle: what is mounted on the front.
        crown: overhang of a cover plate at the cabinet's sides and back; 0 for none.
        body: colour of the carcass.
        face: colour of the fronts.
        metal: colour of the handles.
        inside: colour of the trays.
    """

    drawers: int
    width: float
    height: float
    depth: float
    thickness: float = 0.018
    legs: float = 0.0
    handle: HandleStyle = "none"
    crown: float = 0.0
    body: Colour = (0.55, 0.36, 0.2, 1.0)
    face: Colour = (0.75, 0.55, 0.33, 1.0)
    metal: Colour = (0.2, 0.2, 0.22, 1.0)
    inside: Colour = (0.9, 0.86, 0.78, 1.0)

    @property
    def pitch(self) -> float:
        """Distance between neighbouring drawers' middles."""
        return self.width + 0.004

    @property
    def total_width(self) -> float:
        """Of the carcass."""
        return self.drawers * self.pitch + SHEET

    @property
    def protrusion(self) -> float:
        """How far the front's middle, with its handle, stands out of the closed cabinet."""
        reach = {"none": 0.0, "bar": 0.02, "lip": 0.014}
        return self.thickness + reach[self.handle]


@dataclass(frozen=True)
class Front:
    """A front of another build than `CabinetShape` has words for.

    Attributes:
        parts: of one front with its handle, in the drawer's frame.
        rim: x of the middle of its top rim, metres.
        protrusion: how far its middle, with its handle, stands out of the closed cabinet, metres.
    """

    parts: tuple[Part, ...]
    rim: float
    protrusion: float


def cabinet_model(
    family: str, shape: CabinetShape, front: Front | None = None, trim: Sequence[Part] = ()
) -> ObjectModel:
    """The cabinet as an object.

    Keypoints `front_i` are the middles of the fronts' top rims. Scalars: `drawers`, `depth`, `width` (of the
    carcass), `height` of the rims, `tray_height` of the trays' floors and `protrusion`, metres.

    Args:
        family: its name.
        shape: its measures and colours.
        front: of every drawer, in place of the shape's own front and handle.
        trim: more parts of the carcass.
    """
    front = front or _plain_front(shape)
    names = [f"drawer_{index}" for index in range(shape.drawers)]
    middles = [(index - (shape.drawers - 1) / 2) * shape.pitch for index in range(shape.drawers)]
    drawer = (*front.parts, *_tray(shape))
    links = [Link("base", (*_carcass(shape), *trim)), *(Link(name, drawer) for name in names)]
    limits = (0.0, shape.depth)
    joints = [
        Joint("base", name, "prismatic", (0.0, y, 0.0), limits=limits, friction=DRAWER_FRICTION)
        for name, y in zip(names, middles, strict=True)
    ]
    rim = (front.rim, 0.0, shape.height)
    return ObjectModel(
        category="cabinet",
        family=family,
        urdf=urdf_text(family, links, joints),
        keypoints={f"front_{index}": LinkPoint(rim, name) for index, name in enumerate(names)},
        scalars={
            "drawers": shape.drawers,
            "depth": shape.depth,
            "width": shape.total_width,
            "height": shape.height,
            "tray_height": shape.height - TRAY_BELOW_RIM,
            "protrusion": front.protrusion,
        },
    )


def _carcass(shape: CabinetShape) -> tuple[Part, ...]:
    """Bottom, top, back, walls and dividers, runners as legs, and perhaps a crown."""
    depth, width, low, high = shape.depth, shape.total_width, shape.legs, shape.height
    side = high - low
    parts = [
        Part(
            "box",
            (depth, width, SHEET),
            (-depth / 2, 0, low + SHEET / 2),
            colour=shape.body,
            mass=CARCASS_MASS,
        ),
        Part("box", (depth, width, SHEET), (-depth / 2, 0, high - SHEET / 2), colour=shape.body, mass=0.1),
        Part(
            "box", (SHEET, width, side), (SHEET / 2 - depth, 0, low + side / 2), colour=shape.body, mass=0.1
        ),
    ]
    for index in range(shape.drawers + 1):
        y = (index - shape.drawers / 2) * shape.pitch
        parts.append(Part("box", (depth, SHEET, side), (-depth / 2, y, low + side / 2), colour=shape.body))
    if shape.legs > 0:
        for y in (-0.45 * width, 0.45 * width):
            size = (depth, 0.02, low)
            parts.append(Part("box", size, (-depth / 2, y, low / 2), colour=shape.metal, mass=0.1))
    if shape.crown > 0:
        size = (depth + shape.crown, width + 2 * shape.crown, SHEET)
        parts.append(Part("box", size, (-size[0] / 2, 0, high + SHEET / 2), colour=shape.face, mass=0.1))
    return tuple(parts)


def _plain_front(shape: CabinetShape) -> Front:
    parts = (*_front(shape), *_handle(shape))
    return Front(parts, shape.thickness / 2, shape.protrusion)


def _front(shape: CabinetShape) -> tuple[Part, ...]:
    low, high, thick = shape.legs + SHEET, shape.height, shape.thickness
    size = (thick, shape.width, high - low)
    return (Part("box", size, (thick / 2, 0, (low + high) / 2), colour=shape.face, mass=DRAWER_MASS),)


def _handle(shape: CabinetShape) -> tuple[Part, ...]:
    """The handle, half way up the front, where a hand pushing below the rim meets it."""
    face, metal = shape.thickness, shape.metal
    middle = (shape.legs + SHEET + shape.height) / 2
    if shape.handle == "bar":
        reach, span = 0.015, 0.45 * shape.width
        posts = [Part("box", (reach, 0.006, 0.006), (face + reach / 2, y, middle), colour=metal, mass=0.003)
                 for y in (-0.8 * span / 2, 0.8 * span / 2)]  # fmt: skip
        rod = Part("box", (0.01, span, 0.01), (face + reach, 0, middle), colour=metal, mass=0.02)
        return (rod, *posts)
    if shape.handle == "lip":
        size = (0.014, shape.width, 0.008)
        return (Part("box", size, (face + 0.007, 0, middle), colour=metal),)
    return ()


def _tray(shape: CabinetShape) -> tuple[Part, ...]:
    """A shallow tray behind the front: floor, two sides and a back."""
    length, width = shape.depth - 0.015, shape.width - 0.012
    floor, tall = shape.height - TRAY_BELOW_RIM, TRAY_BELOW_RIM - SHEET - 0.001
    thick = floor - shape.legs - SHEET - 0.002
    inside, x = shape.inside, -length / 2
    sides = [
        Part("box", (length, 0.004, tall), (x, y, floor + tall / 2), colour=inside, mass=0.01)
        for y in (-width / 2 + 0.002, width / 2 - 0.002)
    ]
    return (
        Part("box", (length, width, thick), (x, 0, floor - thick / 2), colour=inside, mass=0.1),
        Part("box", (0.004, width, tall), (0.002 - length, 0, floor + tall / 2), colour=inside, mass=0.01),
        *sides,
    )


@dataclass(frozen=True)
class FixedCabinet:
    """A family of one shape.

    Attributes:
        name: of the family.
        split: train or validation.
        shape: of every sample.
    """

    name: str
    split: Split
    shape: CabinetShape
    category: Category = "cabinet"

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """The one instance; draws nothing."""
        return cabinet_model(self.name, self.shape)


FAMILIES = (
    FixedCabinet("bar_cabinet", "train", CabinetShape(3, 0.09, 0.042, 0.13, handle="bar")),
    FixedCabinet(
        "lip_cabinet",
        "validation",
        CabinetShape(
            2, 0.11, 0.046, 0.125, handle="lip", body=(0.3, 0.33, 0.4, 1.0), face=(0.5, 0.6, 0.7, 1.0)
        ),
    ),
    FixedCabinet(
        "plain_cabinet",
        "validation",
        CabinetShape(
            3, 0.085, 0.039, 0.12, thickness=0.022, body=(0.8, 0.8, 0.76, 1.0), face=(0.45, 0.6, 0.42, 1.0)
        ),
    ),
)
