"""Depth images of simple scenes and photographs of boards, made by casting the camera's rays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kalie.perception.charuco import CharucoConfig
from kalie.perception.depth import camera_rays
from kalie.perception.frame import BoolArray, FloatArray, ImageArray, Intrinsics, RgbdFrame

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


BOARD = CharucoConfig(columns=9, rows=14, square=0.02, marker=0.015, dictionary="DICT_5X5_100")
LENS = Intrinsics(640, 480, 610.0, 607.0, 322.5, 236.0, distortion=(-0.18, 0.06, 0.0008, -0.0012, 0.0))


@dataclass(frozen=True)
class Photographer:
    """Photographs a ChArUco board by casting every pixel's ray onto it, so that lens and pose are exact."""

    config: CharucoConfig = BOARD
    samples: int = 2

    def photograph(self, camera: Intrinsics, camera_from_board: FloatArray) -> ImageArray:
        """Grey image uint8 (H, W); each pixel is the mean of `samples` squared rays."""
        n = self.samples
        fine = Intrinsics(
            camera.width * n,
            camera.height * n,
            camera.fx * n,
            camera.fy * n,
            (camera.cx + 0.5) * n - 0.5,
            (camera.cy + 0.5) * n - 0.5,
            camera.distortion,
        )
        board_from_camera = np.linalg.inv(camera_from_board)
        directions = camera_rays(fine) @ board_from_camera[:3, :3].T
        xy = board_from_camera[:2, 3] - directions[:, :2] * (board_from_camera[2, 3] / directions[:, 2:])
        pixels_per_square = 60
        places = (xy * pixels_per_square / self.config.square - 0.5).astype(np.float32)
        maps = places.reshape(fine.height, fine.width, 2)
        print_ = self.config.image(pixels_per_square)
        seen = cv2.remap(print_, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderValue=(255,))
        size = (camera.width, camera.height)
        return np.asarray(cv2.resize(seen, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def rigid(
    rotation_vector: Sequence[float] | FloatArray, translation: Sequence[float] | FloatArray
) -> FloatArray:
    """A transform (4, 4)."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(rotation_vector).as_matrix()
    pose[:3, 3] = translation
    return pose


def view_poses(count: int, seed: int = 0) -> list[FloatArray]:
    """`camera_from_board` of boards about 0.45 m away, in the middle of the image, tilted up to 0.6 rad."""
    rng = np.random.default_rng(seed)
    middle = rigid([0, 0, 0], [-BOARD.columns * BOARD.square / 2, -BOARD.rows * BOARD.square / 2, 0])
    poses = []
    for _ in range(count):
        turn = rng.uniform([-0.6, -0.6, -1.5], [0.6, 0.6, 1.5])
        place = rng.uniform([-0.05, -0.03, 0.38], [0.05, 0.03, 0.5])
        poses.append(rigid(turn, place) @ middle)
    return poses


@pytest.fixture(scope="session")
def photographer() -> Photographer:
    """Takes photographs of the test board."""
    return Photographer()
