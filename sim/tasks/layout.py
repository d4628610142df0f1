"""Where a scene's objects go: random places on the table that do not overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, sin

import cv2
import numpy as np

from ...perception.frame import FloatArray
from ..objects import LinkPoint, ObjectModel
from ..world import TABLE, Quaternion, yaw_quaternion

Range = tuple[float, float]
ATTEMPTS = 2000


@dataclass(frozen=True)
class Place:
    """A spot on the table: metres in the base frame and a yaw in radians."""

    x: float
    y: float
    yaw: float

    @property
    def position(self) -> tuple[float, float, float]:
        """(x, y, 0)."""
        return self.x, self.y, 0.0

    @property
    def quaternion(self) -> Quaternion:
        """The yaw as (x, y, z, w)."""
        return yaw_quaternion(self.yaw)

    def point(self, point: LinkPoint) -> FloatArray:
        """Where a point of an object's base link is here, seen from above, (2,) metres."""
        x, y, _ = point.xyz
        c, s = cos(self.yaw), sin(self.yaw)
        return np.array([self.x + c * x - s * y, self.y + s * x + c * y])

    def outline(self, model: ObjectModel, margin: float = 0.0) -> FloatArray:
        """Corners (4, 2) of the rectangle that an object here covers, `margin` metres added all round.

        The model's scalars `back`, `front` and `half_width` say how far it reaches along -x, x and y.
        """
        back, front = model.scalars["back"] + margin, model.scalars["front"] + margin
        side = model.scalars["half_width"] + margin
        corners = np.array([[-back, -side], [front, -side], [front, side], [-back, side]])
        turn = np.array([[cos(self.yaw), -sin(self.yaw)], [sin(self.yaw), cos(self.yaw)]])
        return corners @ turn.T + (self.x, self.y)


@dataclass(frozen=True)
class Wish:
    """An object and where it may go.

    Attributes:
        model: the object.
        x: range, metres.
        y: range, metres.
        yaw: range, radians.
        room: metres to keep free around it.
    """

    model: ObjectModel
    x: Range
    y: Range
    yaw: Range
    room: float = 0.01

    def draw(self, rng: np.random.Generator) -> Place:
        """A random place within the ranges."""
        return Place(*(float(rng.uniform(low, high)) for low, high in (self.x, self.y, self.yaw)))


def _anywhere(_: Sequence[Place]) -> bool:
    return True


def arrange(
    wishes: Sequence[Wish],
    rng: np.random.Generator,
    accept: Callable[[Sequence[Place]], bool] = _anywhere,
) -> tuple[Place, ...]:
    """Places for all objects, each wholly on the table and clear of the others by the larger room of the two.

    Args:
        wishes: the objects.
        rng: source of all draws.
        accept: whether the task can be done with the objects at these places.

    Raises:
        ValueError: no arrangement was found; the message names the families.
    """
    for _ in range(ATTEMPTS):
        places = tuple(wish.draw(rng) for wish in wishes)
        if accept(places) and _fits(wishes, places):
            return places
    names = ", ".join(wish.model.family for wish in wishes)
    raise ValueError(f"no room on the table for {names} together")


def _fits(wishes: Sequence[Wish], places: Sequence[Place]) -> bool:
    outlines = [place.outline(wish.model) for wish, place in zip(wishes, places, strict=True)]
    if not all(TABLE.contains(*corner) for outline in outlines for corner in outline):
        return False
    roomy = [place.outline(wish.model, wish.room) for wish, place in zip(wishes, places, strict=True)]
    return not any(
        overlap(roomy[i], outlines[j]) for i in range(len(wishes)) for j in range(len(wishes)) if i != j
    )


def overlap(first: FloatArray, second: FloatArray) -> bool:
    """Whether two convex polygons, (N, 2) and (M, 2), share any area."""
    return cv2.intersectConvexConvex(first.astype(np.float32), second.astype(np.float32))[0] > 0
