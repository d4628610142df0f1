"""Objects that can lie on the table in several ways: the same object, its root frame standing otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

from ..perception.frame import FloatArray
from .objects import LinkPoint, ObjectModel
from .urdf import Vector, roll_pitch_yaw, xml_lines


def resting(
    model: ObjectModel,
    xyz: Vector,
    rpy: Vector,
    keypoints: Mapping[str, LinkPoint] | None = None,
    scalars: Mapping[str, float] | None = None,
) -> ObjectModel:
    """An object as it lies in one of its resting poses, in a new root frame: z up, z = 0 the table's top.

    Args:
        model: the object; keypoints on its root link are moved with it.
        xyz: where the object's own root frame lies in the new one, metres.
        rpy: how it is turned there: fixed-axis roll, pitch, yaw, radians.
        keypoints: those that lie elsewhere on the object in this pose, in its own frames.
        scalars: those that are others in this pose.
    """
    table_from_object = _pose(xyz, rpy)
    points = {**model.keypoints, **(keypoints or {})}
    return replace(
        model,
        urdf=_turned(model.urdf, table_from_object),
        keypoints={name: _moved(point, table_from_object) for name, point in points.items()},
        scalars={**model.scalars, **(scalars or {})},
    )


def root_link(urdf: ElementTree.Element) -> str:
    """The name of the link that no joint moves; empty when there is none."""
    children = {child.get("link") for joint in urdf.iter("joint") for child in joint.iter("child")}
    roots = [link.get("name", "") for link in urdf.iter("link") if link.get("name") not in children]
    return next(iter(roots), "")


def _moved(point: LinkPoint, table_from_object: FloatArray) -> LinkPoint:
    if point.link != "base":
        return point
    x, y, z = (table_from_object @ (*point.xyz, 1.0))[:3].tolist()
    return LinkPoint((x, y, z))


def _turned(text: str, table_from_object: FloatArray) -> str:
    """The URDF with everything that hangs on its root link's frame moved; no link or joint is added."""
    root = ElementTree.fromstring(text)  # noqa: S314 - made here, or vetted by `user_objects`
    name = root_link(root)
    for link in root.iter("link"):
        if link.get("name") == name:
            for part in (*link.iter("inertial"), *link.iter("visual"), *link.iter("collision")):
                _move_origin(part, table_from_object)
    for joint in root.iter("joint"):
        if any(parent.get("link") == name for parent in joint.iter("parent")):
            _move_origin(joint, table_from_object)
    return xml_lines(root)


def _move_origin(element: ElementTree.Element, table_from_object: FloatArray) -> None:
    origin = element.find("origin")
    if origin is None:
        origin = ElementTree.SubElement(element, "origin")
    xyz, rpy = (_vector(origin.get(key, "0 0 0")) for key in ("xyz", "rpy"))
    pose = table_from_object @ _pose(xyz, rpy)
    origin.set("xyz", " ".join(map(repr, pose[:3, 3].tolist())))
    origin.set("rpy", " ".join(map(repr, roll_pitch_yaw(pose[:3, :3]).tolist())))


def _pose(xyz: Vector, rpy: Vector) -> FloatArray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", rpy).as_matrix()
    pose[:3, 3] = xyz
    return pose


def _vector(text: str) -> Vector:
    x, y, z = (float(number) for number in text.split())
    return x, y, z
