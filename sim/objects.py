"""Objects of the benchmark: a URDF plus the keypoints that its generator, not the tester, knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from ..perception.frame import FloatArray

Split = Literal["train", "validation", "test"]
Category = Literal["brush", "trash", "cabinet", "towel", "rack", "scoop", "bowl", "stick", "host", "clutter"]


@dataclass(frozen=True)
class LinkPoint:
    """A point on a link of an object: metres in that link's frame ("base" is the root link)."""

    xyz: tuple[float, float, float]
    link: str = "base"


@dataclass(frozen=True)
class ObjectModel:
    """One object instance, ready to be loaded.

    Attributes:
        category: what it is for.
        family: the shape family that made it, e.g. "flat_brush".
        urdf: the URDF as XML text (mesh file names are absolute or relative to `asset_dir`).
        keypoints: named points, e.g. grasp, function; names are the task's business.
        scalars: numbers the task needs, e.g. grasp_width (m), drawer_height (m).
        asset_dir: where meshes lie, empty when there are none.
        friction: lateral friction of every link.
        colours: RGBA by link; a texture by link may override it in the scene.
    """

    category: Category
    family: str
    urdf: str
    keypoints: Mapping[str, LinkPoint]
    scalars: Mapping[str, float] = field(default_factory=dict)
    asset_dir: str = ""
    friction: float = 1.0
    colours: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)


class ObjectFamily(Protocol):
    """A generator of object instances of one shape."""

    @property
    def name(self) -> str:
        """The family's name, unique in its category."""
        ...

    @property
    def category(self) -> Category:
        """What its objects are for."""
        ...

    @property
    def split(self) -> Split:
        """Which split may use it."""
        ...

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """A random instance (a training family always returns the same shape)."""
        ...


@dataclass(frozen=True)
class PlacedObject:
    """An object in the world: its model, PyBullet body id and link indices by name."""

    model: ObjectModel
    body: int
    links: Mapping[str, int]
    start_position: FloatArray
    start_quaternion: FloatArray
