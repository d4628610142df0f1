"""Clutter of the test split: PyBullet's random shapes whose number ends in 0, the usual held-out tenth."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pybullet_data

from ..objects import Category, ObjectModel, Split
from ..urdf import Link, Part, urdf_text

COUNT = 100
# Reach from the middle (horizontal half-diagonal), metres.
RADII = (0.015, 0.065)


@cache
def _mesh_bounds(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Least and greatest vertex coordinates of an OBJ file."""
    lines = [line.split()[1:4] for line in path.read_text().splitlines() if line.startswith("v ")]
    vertices = np.array(lines, dtype=np.float64)
    return tuple(vertices.min(axis=0).tolist()), tuple(vertices.max(axis=0).tolist())


@dataclass(frozen=True)
class RandomShapes:
    """The hundred test shapes, scaled to 3 to 13 cm, in random colours."""

    name: str = "random_shapes"
    category: Category = "clutter"
    split: Split = "test"

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """One of the hundred."""
        number = f"{10 * int(rng.integers(COUNT)):03d}"
        folder = Path(pybullet_data.getDataPath()) / "random_urdfs" / number
        low, high = (np.array(bound) for bound in _mesh_bounds(folder / f"{number}.obj"))
        size = high - low
        scale = float(rng.uniform(*RADII) / (np.hypot(size[0], size[1]) / 2))
        scale = min(scale, 0.045 / float(size[2]))
        x, y, z = (-scale * (low + high) / 2).tolist()
        rgb = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.9))
        extent = tuple((scale * size).tolist())
        part = Part(
            "mesh",
            (scale, scale, scale),
            (x, y, z + extent[2] / 2),
            colour=(*rgb, 1.0),
            mass=0.08,
            mesh=f"{number}.obj",
            extent=extent,
        )
        text = urdf_text(self.name, [Link("base", (part,))])
        scalars = {"radius": float(np.hypot(extent[0], extent[1]) / 2), "height": extent[2]}
        return ObjectModel("clutter", self.name, text, {}, scalars, asset_dir=str(folder))


FAMILIES: tuple[RandomShapes, ...] = (RandomShapes(),)
