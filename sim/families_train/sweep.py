"""Brushes and trash: shared builders, the training instances, two validation instances of each.

Object frame: on the table, z up. A brush's x axis runs along the handle toward the head; its origin lies
under the middle of the handle. Keypoints: `grasp` on top of the handle, `function` on top of the middle of
the head. A piece of trash has `target` on top of its middle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..objects import Category, LinkPoint, ObjectModel, Split
from ..urdf import Colour, Joint, Link, Part, Vector, urdf_text

HANDLE_MASS = 0.05
HEAD_MASS = 0.04
TRASH_MASS = 0.012
# Trash slides when swept; it must not roll off on its own.
TRASH_ROLLING = 0.002


@dataclass(frozen=True)
class SweepFamily:
    """A family of brushes or trash.

    Attributes:
        name: unique in its category.
        category: brush or trash.
        split: which split may use it.
        make: draws an instance.
    """

    name: str
    category: Category
    split: Split
    make: Callable[[str, np.random.Generator], ObjectModel]

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """A random instance."""
        return self.make(self.name, rng)


def brush(
    family: str,
    handle: Sequence[Part],
    head: Sequence[Part],
    handle_size: Vector,
    head_centre: Vector,
    head_size: Vector,
) -> ObjectModel:
    """A brush from the parts of its handle and head, all in the brush's frame.

    Args:
        family: its name.
        handle: parts around the origin, along x.
        head: parts beyond the handle.
        handle_size: length, width and height of the handle, metres.
        head_centre: the middle of the head's top.
        head_size: of the head along, across and up.
    """
    links = [Link("base", tuple(handle)), Link("head", tuple(head))]
    reach = -handle_size[0] / 10
    return ObjectModel(
        "brush",
        family,
        urdf_text(family, links, [Joint("base", "head")]),
        {"grasp": LinkPoint((reach, 0.0, handle_size[2])), "function": LinkPoint(head_centre)},
        {
            "grasp_width": handle_size[1],
            "handle_length": handle_size[0],
            "head_depth": head_size[0],
            "head_width": head_size[1],
        },
    )


def box_handle(length: float, width: float, height: float, colour: Colour) -> Part:
    """A handle lying along x on the table, its middle at the origin."""
    return Part("box", (length, width, height), (0, 0, height / 2), colour=colour, mass=HANDLE_MASS)


def round_handle(length: float, radius: float, colour: Colour) -> Part:
    """A round handle lying along x on the table, its middle at the origin."""
    lying = (0.0, np.pi / 2, 0.0)
    return Part("cylinder", (radius, length, 0), (0, 0, radius), lying, colour, HANDLE_MASS)


def trash(family: str, parts: Sequence[Part], height: float, radius: float) -> ObjectModel:
    """A piece of trash from parts in its frame, `height` tall and within `radius` of its axis, metres."""
    return ObjectModel(
        "trash",
        family,
        urdf_text(family, [Link("base", tuple(parts))]),
        {"target": LinkPoint((0.0, 0.0, height))},
        {"height": height, "radius": radius, "rolling_friction": TRASH_ROLLING},
        friction=0.6,
    )


def block(size: Vector, yaw: float, colour: Colour, mass: float, xy: tuple[float, float] = (0, 0)) -> Part:
    """A box standing on the table, turned by `yaw`."""
    return Part("box", size, (*xy, size[2] / 2), (0, 0, yaw), colour, mass)


def flat_brush(
    family: str, handle: Vector, head: Vector, handle_colour: Colour, head_colour: Colour
) -> ObjectModel:
    """A straight handle and a block head across it, with bristles at the front; sizes in metres."""
    middle = handle[0] / 2 + head[0] / 2
    wood = Part("box", (head[0] * 0.6, head[1], head[2]), (middle - head[0] * 0.2, 0, head[2] / 2),
                colour=head_colour, mass=HEAD_MASS / 2)  # fmt: skip
    front = (middle + head[0] * 0.3, 0, head[2] * 0.425)
    bristles = Part("box", (head[0] * 0.4, head[1], head[2] * 0.85), front,
                    colour=(0.12, 0.12, 0.12, 1.0), mass=HEAD_MASS / 2)  # fmt: skip
    return brush(family, [box_handle(*handle, handle_colour)], [wood, bristles], handle,
                 (middle, 0, head[2]), head)  # fmt: skip


def crumple(family: str, edge: float, height: float, colour: Colour) -> ObjectModel:
    """A crumpled lump: three boxes turned against each other."""
    sizes = ((1.0, 1.0, 0.8), (1.0, 0.9, 1.0), (0.9, 1.0, 0.7))
    parts = [
        block((edge * x, edge * y, height * z), yaw, colour, TRASH_MASS / 3)
        for (x, y, z), yaw in zip(sizes, (0.0, 0.5, 1.0), strict=True)
    ]
    return trash(family, parts, height, 0.72 * edge)


def _lab_brush(family: str, _: np.random.Generator) -> ObjectModel:
    return flat_brush(
        family, (0.16, 0.024, 0.028), (0.04, 0.11, 0.03), (0.75, 0.12, 0.1, 1), (0.8, 0.62, 0.4, 1)
    )


def _lab_trash(family: str, _: np.random.Generator) -> ObjectModel:
    return crumple(family, 0.028, 0.024, (0.92, 0.92, 0.9, 1))


def _blue_brush(family: str, _: np.random.Generator) -> ObjectModel:
    return flat_brush(
        family, (0.18, 0.03, 0.024), (0.035, 0.09, 0.034), (0.1, 0.25, 0.7, 1), (0.6, 0.6, 0.62, 1)
    )


def _green_brush(family: str, _: np.random.Generator) -> ObjectModel:
    return flat_brush(
        family, (0.14, 0.02, 0.03), (0.05, 0.13, 0.026), (0.1, 0.5, 0.2, 1), (0.3, 0.2, 0.12, 1)
    )


def _big_crumple(family: str, _: np.random.Generator) -> ObjectModel:
    return crumple(family, 0.034, 0.02, (0.9, 0.8, 0.3, 1))


def _small_crumple(family: str, _: np.random.Generator) -> ObjectModel:
    return crumple(family, 0.024, 0.026, (0.5, 0.7, 0.85, 1))


FAMILIES: tuple[SweepFamily, ...] = (
    SweepFamily("flat_brush", "brush", "train", _lab_brush),
    SweepFamily("crumpled_paper", "trash", "train", _lab_trash),
    SweepFamily("blue_brush", "brush", "validation", _blue_brush),
    SweepFamily("green_brush", "brush", "validation", _green_brush),
    SweepFamily("yellow_crumple", "trash", "validation", _big_crumple),
    SweepFamily("blue_crumple", "trash", "validation", _small_crumple),
)
