"""Clutter of the training and validation splits: small plain solids."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from ..objects import Category, ObjectModel, Split
from ..urdf import Colour, Link, Part, urdf_text


@dataclass(frozen=True)
class Solids:
    """Boxes and upright cylinders of 2.5 to 5 cm in random colours."""

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
    x, y, z = (float(edge) for edge in rng.uniform((0.025, 0.025, 0.015), (0.05, 0.05, 0.035)))
    return Part("box", (x, y, z), (0, 0, z / 2), colour=colour, mass=0.08)


def _cylinder(rng: np.random.Generator, colour: Colour) -> Part:
    radius, height = float(rng.uniform(0.012, 0.025)), float(rng.uniform(0.015, 0.035))
    return Part("cylinder", (radius, height, 0), (0, 0, height / 2), colour=colour, mass=0.08)


FAMILIES: tuple[Solids, ...] = (Solids(), Solids(name="validation_solids", split="validation"))
