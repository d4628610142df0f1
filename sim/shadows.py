"""Cast shadows by a shadow map, because TinyRenderer's own misses anything lower than about 5 cm."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..perception.frame import FloatArray, ImageArray, RgbdFrame
from .camera import Camera, CameraConfig

LIGHT_DISTANCE = 2.0
# Depth by which a surface must lie behind the light's first hit to be in shadow; hides the map's own grain.
BIAS = 0.008


def light_camera(
    direction: tuple[float, float, float], centre: tuple[float, float, float], size: int
) -> Camera:
    """A camera that looks from the light at the table.

    Args:
        direction: from the scene toward the light.
        centre: what it looks at, metres in the base frame.
        size: of the shadow map, pixels.
    """
    unit = np.array(direction) / np.linalg.norm(direction)
    x, y, z = (np.array(centre) + LIGHT_DISTANCE * unit).tolist()
    return Camera.place(CameraConfig((x, y, z), centre, 32.0, size))


def shadow_mask(frame: RgbdFrame, light: RgbdFrame) -> FloatArray:
    """How much of each pixel of `frame` lies in shadow, (H, W) in [0, 1], softened at the rims.

    Args:
        frame: the picture.
        light: the same scene seen from the light (only its depth is used).
    """
    size = frame.intrinsics.height, frame.intrinsics.width
    v, u = np.mgrid[: size[0], : size[1]]
    depth = np.nan_to_num(frame.depth.ravel(), nan=10.0)
    points = frame.to_base(_rays(frame, u, v) * depth[:, None])
    light_from_base = np.linalg.inv(light.base_from_camera)
    seen = points @ light_from_base[:3, :3].T + light_from_base[:3, 3]
    camera = light.intrinsics
    map_x = (seen[:, 0] / seen[:, 2] * camera.fx + camera.cx).reshape(size).astype(np.float32)
    map_y = (seen[:, 1] / seen[:, 2] * camera.fy + camera.cy).reshape(size).astype(np.float32)
    first = cv2.remap(light.depth, map_x, map_y, cv2.INTER_NEAREST, borderValue=np.nan)
    hidden = (seen[:, 2].reshape(size) > first + BIAS).astype(np.float32)
    return cv2.GaussianBlur(hidden, (5, 5), 1.0).astype(np.float64)


def cast(rgb: ImageArray, mask: FloatArray, strength: float) -> ImageArray:
    """Darken a picture where the mask says shadow.

    Args:
        rgb: uint8 (H, W, 3).
        mask: (H, W) in [0, 1].
        strength: 0 leaves the picture as it is, 1 makes full shadow black.
    """
    return (rgb * (1 - strength * mask[..., None])).astype(np.uint8)


def _rays(frame: RgbdFrame, u: NDArray[np.int64], v: NDArray[np.int64]) -> FloatArray:
    """Directions (N, 3) with z = 1 of all pixels; simulated cameras have no distortion."""
    camera = frame.intrinsics
    x = (u.ravel() - camera.cx) / camera.fx
    y = (v.ravel() - camera.cy) / camera.fy
    return np.stack([x, y, np.ones_like(x)], axis=1).astype(np.float64)
