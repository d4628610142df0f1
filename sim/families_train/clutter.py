"""Clutter of the training and validation splits: plain solids of all sizes.

Clutter is no category with a training instance: nothing is done to it and no keypoint lies on it. So training
and validation have one family each, of the same random solids, and the test split one of random shapes.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from ..objects import Category, ObjectModel, Split
from ..urdf import Colour, Link, Part, urdf_text

# Metres: reach from the middle, and height, which the hand passes over.
RADII = (0.015, 0.065)
HEIGHTS = (0.015, 0.035)


@dataclass(frozen=True)
class Solids:
    """Boxes and upright cylinders of 3 to 13 cm in random colours."""

    name: str = "solids"
    category: Category = "clutter"
    split: Split = "train"

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """A random solid."""
        rgb = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.9))
        part = _box(rng, (*rgb, 1.0)) if rng.uniform() < 0.5 else _cylinder(rng, (*rgb, 1.0))
        radius = float(np.hypot(*part.size[:2]) / 2) if part.shape == "box" else part.size[0]
        text = urdf_text(self.name, [Link("base", (part,))])
        return ObjectModel("clutter", self.name, text, {}, {"radius": radius, "height": 2 * part.xyz[2]})


def _box(rng: np.random.Generator, colour: Colour) -> Part:
    radius, slant = float(rng.uniform(*RADII)), float(rng.uniform(0.45, 1.1))
    x, y, z = 2 * radius * np.cos(slant), 2 * radius * np.sin(slant), float(rng.uniform(*HEIGHTS))
    return Part("box", (float(x), float(y), z), (0, 0, z / 2), colour=colour, mass=0.08)


def _cylinder(rng: np.random.Generator, colour: Colour) -> Part:
    radius, height = float(rng.uniform(*RADII)), float(rng.uniform(*HEIGHTS))
    return Part("cylinder", (radius, height, 0), (0, 0, height / 2), colour=colour, mass=0.08)


FAMILIES: tuple[Solids, ...] = (Solids(), Solids(name="validation_solids", split="validation"))
