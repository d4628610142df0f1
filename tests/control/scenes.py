"""Analytic depth images of boxes on a table, seen from above with a slight tilt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kalie.affordance.schema import Keypoint
from kalie.affordance.units import from_pixel
from kalie.control.primitives import pointing_down, pose
from kalie.perception.depth import camera_rays
from kalie.perception.frame import FloatArray, Intrinsics, RgbdFrame

SIZE = 256


@dataclass(frozen=True)
class Box:
    """A box on the table: centre (x, y), full size (x, y, z), yaw, and the height of its underside."""

    centre: tuple[float, float]
    size: tuple[float, float, float]
    yaw: float = 0.0
    bottom: float = 0.0


def base_from_camera(tilt: float = 0.15) -> FloatArray:
    """Above the table's middle, looking down, image x to the robot's right, image y toward the robot."""
    right, down = np.array([0.0, -1.0, 0.0]), np.array([-np.cos(tilt), 0.0, -np.sin(tilt)])
    forward = np.cross(right, down)
    eye = np.array([0.55, 0.0, 0.0]) - 1.0 * forward
    return pose(np.stack([right, down, forward], axis=1), eye)


def render(boxes: Sequence[Box]) -> RgbdFrame:
    """The depth image of boxes on the plane z = 0."""
    intrinsics = Intrinsics(SIZE, SIZE, 300.0, 300.0, (SIZE - 1) / 2, (SIZE - 1) / 2)
    camera = base_from_camera()
    rays = camera_rays(intrinsics) @ camera[:3, :3].T
    eye = camera[:3, 3]
    depth = -eye[2] / rays[:, 2]
    for box in boxes:
        depth = np.minimum(depth, _hit(box, eye, rays))
    image = depth.reshape(SIZE, SIZE).astype(np.float32)
    return RgbdFrame(np.zeros((SIZE, SIZE, 3), np.uint8), image, intrinsics, camera)


def _hit(box: Box, eye: FloatArray, rays: FloatArray) -> FloatArray:
    """Ray-box intersection by slabs in the box's frame; inf where the ray misses."""
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    box_from_base = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
    centre = np.array([*box.centre, box.bottom + box.size[2] / 2])
    start, way = box_from_base @ (eye - centre), rays @ box_from_base.T
    half = np.array(box.size) / 2
    with np.errstate(divide="ignore"):
        first, second = (-half - start) / way, (half - start) / way
    near, far = np.minimum(first, second).max(axis=1), np.maximum(first, second).min(axis=1)
    return np.where((near <= far) & (near > 0), near, np.inf)


def keypoint(frame: RgbdFrame, x: float, y: float, z: float = 0.0) -> Keypoint:
    """Where a point of the base frame is seen."""
    return from_pixel(frame.project(np.array([[x, y, z]]))[0], SIZE, SIZE)


def image_yaw(frame: RgbdFrame, point: Sequence[float] | FloatArray, axis: Sequence[float]) -> float:
    """The schema's grasp_yaw of a horizontal closing axis at a point."""
    ends = np.array([point, np.array(point) + 0.01 * np.array(axis)])
    way = np.diff(frame.project(ends), axis=0)[0]
    angle = float(np.arctan2(way[1], way[0]))
    return angle - np.pi * np.ceil((angle - np.pi / 2) / np.pi)


def down_pose(x: float, y: float, z: float, yaw: float = np.pi / 2) -> FloatArray:
    """A TCP pose pointing down with its closing axis at `yaw` from the base's x axis."""
    return pose(pointing_down(np.array([np.cos(yaw), np.sin(yaw), 0.0])), np.array([x, y, z]))
