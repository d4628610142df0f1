"""Collisions of the arm with itself and with the table plane, on the convex hulls of the URDF's links."""

from __future__ import annotations

from pathlib import Path

import coal  # pyright: ignore[reportMissingImports]
import numpy as np
import pinocchio as pin  # pyright: ignore[reportMissingImports]

from ..perception.frame import FloatArray
from .robot import RobotConfig

TABLE = "the table"


class CollisionModel:
    """Tells which two things touch in a configuration of the arm.

    Every collision geometry of the URDF becomes its convex hull: larger than the link, so nothing is missed,
    and fast. Pairs are left out that a joint connects or that touch in the resting posture anyway.
    """

    def __init__(self, robot: RobotConfig, model: pin.Model, locked: FloatArray) -> None:
        """Build from the full model; joints that are not the arm's stay at `locked`, (nq,)."""
        geometry = pin.GeometryModel()
        urdf = Path(robot.urdf)
        pin.buildGeomFromUrdf(model, str(urdf), pin.GeometryType.COLLISION, geometry, str(urdf.parent))
        for item in geometry.geometryObjects:
            item.geometry = _convex_hull(item.geometry)
        others = [i for i in range(1, model.njoints) if model.names[i] not in robot.joint_names]
        self._model, self._geometry = pin.buildReducedModel(model, geometry, others, locked)
        self._data = self._model.createData()
        self._add_self_pairs(np.array(robot.posture))
        first_table_pair = len(self._geometry.collisionPairs)
        self._add_table_pairs(robot)
        self._results = pin.GeometryData(self._geometry)
        for index in range(first_table_pair, len(self._geometry.collisionPairs)):
            finger = self._link(self._geometry.collisionPairs[index].first) in robot.finger_links
            margin = -robot.finger_margin if finger else robot.link_margin
            self._results.collisionRequests[index].security_margin = margin

    def find(self, positions: FloatArray) -> str | None:
        """What touches what at joint positions (J,), in words; None when nothing does."""
        if not pin.computeCollisions(self._model, self._data, self._geometry, self._results, positions, True):
            return None
        for index, pair in enumerate(self._geometry.collisionPairs):
            if self._results.collisionResults[index].isCollision():
                return f"{self._link(pair.first)} touches {self._link(pair.second)}"
        raise RuntimeError("coal reported a collision without a pair")

    def _link(self, index: int) -> str:
        item = self._geometry.geometryObjects[index]
        return TABLE if item.name == TABLE else self._model.frames[item.parentFrame].name

    def _add_self_pairs(self, posture: FloatArray) -> None:
        items = self._geometry.geometryObjects
        for i in range(len(items)):
            for j in range(i + 1, len(items)):
                if not self._connected(items[i].parentJoint, items[j].parentJoint):
                    self._geometry.addCollisionPair(pin.CollisionPair(i, j))
        results = pin.GeometryData(self._geometry)
        pin.computeCollisions(self._model, self._data, self._geometry, results, posture, False)
        touching = [r.isCollision() for r in results.collisionResults]
        for pair, touches in zip(list(self._geometry.collisionPairs), touching, strict=True):
            if touches:
                self._geometry.removeCollisionPair(pair)

    def _connected(self, first: int, second: int) -> bool:
        parents = self._model.parents
        return first == second or parents[second] == first or parents[first] == second

    def _add_table_pairs(self, robot: RobotConfig) -> None:
        plane = coal.Halfspace(np.array([0.0, 0.0, 1.0]), robot.table_height)
        table = self._geometry.addGeometryObject(pin.GeometryObject(TABLE, 0, pin.SE3.Identity(), plane))
        for i in range(table):
            if self._link(i) not in robot.base_links:
                self._geometry.addCollisionPair(pin.CollisionPair(i, table))


def _convex_hull(geometry: coal.CollisionGeometry) -> coal.CollisionGeometry:
    """The hull of a mesh; primitives are convex already."""
    if not isinstance(geometry, coal.BVHModelBase):
        return geometry
    geometry.buildConvexHull(True, "Qt")
    return geometry.convex
