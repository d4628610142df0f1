"""Depth images of simple scenes, made by casting the camera's rays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from kalie.perception.depth import camera_rays
from kalie.perception.frame import BoolArray, FloatArray, Intrinsics, RgbdFrame

Block = tuple[tuple[float, float, float], tuple[float, float, float]]
Render = Callable[..., tuple[RgbdFrame, list[BoolArray]]]

CAMERA = Intrinsics(width=256, height=256, fx=300.0, fy=300.0, cx=127.5, cy=127.5)
TABLE: Block = ((0.2, -0.45, -0.03), (0.9, 0.45, 0.0))
FLOOR: Block = ((-9.0, -9.0, -0.9), (9.0, 9.0, -0.7))


@pytest.fixture
def render() -> Render:
    """`render(blocks, table=, tilt=, noise=, seed=)` -> a frame of blocks and their true masks."""
    return _render


def look_down(tilt: float, height: float = 0.9) -> FloatArray:
    """`base_from_camera` of a camera that looks at the table's middle, leaning back by `tilt` radians."""
    cos, sin = np.cos(tilt), np.sin(tilt)
    pose = np.eye(4)
    # Columns: image right is -y, image down leans from -x, the view leans from -z toward -x.
    pose[:3, :3] = np.array([[0.0, -cos, -sin], [-1.0, 0.0, 0.0], [0.0, sin, -cos]])
    pose[:3, 3] = [0.55 + np.tan(tilt) * height, 0.0, height]
    return pose


def _render(
    blocks: Sequence[Block], table: Block = TABLE, tilt: float = 0.15, noise: float = 0.0, seed: int = 0
) -> tuple[RgbdFrame, list[BoolArray]]:
    pose = look_down(tilt)
    rays = camera_rays(CAMERA) @ pose[:3, :3].T
    depths = np.stack([_cast(pose[:3, 3], rays, block) for block in (FLOOR, table, *blocks)])
    hit = depths.argmin(axis=0).reshape(256, 256)
    depth = depths.min(axis=0).reshape(256, 256)
    depth = depth + np.random.default_rng(seed).normal(0.0, noise, depth.shape)
    frame = RgbdFrame(np.zeros((256, 256, 3), np.uint8), depth.astype(np.float32), CAMERA, pose)
    return frame, [hit == index + 2 for index in range(len(blocks))]


def _cast(origin: FloatArray, rays: FloatArray, block: Block) -> FloatArray:
    """Distance along each ray (in units of z-depth) to a block, inf where it misses."""
    with np.errstate(divide="ignore"):
        near = (np.array(block[0]) - origin) / rays
        far = (np.array(block[1]) - origin) / rays
    enter, leave = np.minimum(near, far).max(axis=1), np.maximum(near, far).min(axis=1)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)
