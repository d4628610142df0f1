"""RGB-D frames and pinhole cameras.

Conventions used everywhere: metres, radians, right-handed frames. The camera frame is OpenCV's
(x right, y down, z forward). Pixel coordinates (u, v) are continuous with pixel centres at integers, so
the image spans [-0.5, W - 0.5) x [-0.5, H - 0.5). A transform `a_from_b` maps points in b to points in a.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
ImageArray = NDArray[np.uint8]
DepthArray = NDArray[np.float32]


class FrameError(ValueError):
    """A frame or its intrinsics are inconsistent; the message names the field."""


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole intrinsics with OpenCV distortion (k1, k2, p1, p2[, k3]); pixels."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise FrameError(f"intrinsics: image size must be positive, got {self.width}x{self.height}")
        if not (np.isfinite([self.fx, self.fy, self.cx, self.cy]).all() and self.fx > 0 and self.fy > 0):
            raise FrameError(f"intrinsics: fx, fy must be positive and finite, got {self.fx}, {self.fy}")
        if len(self.distortion) not in (0, 4, 5, 8):
            raise FrameError(f"intrinsics: distortion needs 0, 4, 5 or 8 numbers, got {len(self.distortion)}")

    @property
    def matrix(self) -> FloatArray:
        """The 3x3 camera matrix K."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float64)

    def project(self, points_camera: FloatArray) -> FloatArray:
        """Project points (N, 3) in the camera frame to pixels (N, 2); NaN behind the camera."""
        points = np.asarray(points_camera, dtype=np.float64).reshape(-1, 3)
        behind = points[:, 2] <= 0
        safe = np.where(behind[:, None], [0.0, 0.0, 1.0], points)
        pixels, _ = cv2.projectPoints(
            safe.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), self.matrix, np.array(self.distortion)
        )
        pixels = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
        pixels[behind] = np.nan
        return pixels

    def unproject(self, pixels: FloatArray, depth: FloatArray) -> FloatArray:
        """Lift pixels (N, 2) with z-depths (N,) in metres to points (N, 3) in the camera frame."""
        pixels = np.asarray(pixels, dtype=np.float64).reshape(-1, 1, 2)
        # OpenCV's default of five rounds leaves a fifth of a pixel at the corners of wide lenses.
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
        distortion = np.array(self.distortion)
        rays = cv2.undistortPointsIter(pixels, self.matrix, distortion, np.eye(3), np.eye(3), criteria)
        rays = np.asarray(rays, dtype=np.float64).reshape(-1, 2)
        return np.concatenate([rays, np.ones((len(rays), 1))], axis=1) * np.asarray(depth).reshape(-1, 1)


@dataclass(frozen=True)
class RgbdFrame:
    """One colour and depth image of one camera, registered to each other.

    Attributes:
        rgb: uint8 (H, W, 3).
        depth: float32 (H, W), metres along the optical axis, NaN = invalid.
        intrinsics: of this image size.
        base_from_camera: (4, 4), camera (OpenCV) to robot base.
        stamp: seconds on a steady clock.
    """

    rgb: ImageArray
    depth: DepthArray
    intrinsics: Intrinsics
    base_from_camera: FloatArray = field(default_factory=lambda: np.eye(4))
    stamp: float = 0.0

    def __post_init__(self) -> None:
        size = (self.intrinsics.height, self.intrinsics.width)
        if self.rgb.dtype != np.uint8 or self.rgb.shape != (*size, 3):
            raise FrameError(f"rgb: expected uint8 {(*size, 3)}, got {self.rgb.dtype} {self.rgb.shape}")
        if self.depth.dtype != np.float32 or self.depth.shape != size:
            raise FrameError(f"depth: expected float32 {size}, got {self.depth.dtype} {self.depth.shape}")
        if self.base_from_camera.shape != (4, 4) or not np.isfinite(self.base_from_camera).all():
            raise FrameError("base_from_camera: expected a finite 4x4 transform")

    def project(self, points_base: FloatArray) -> FloatArray:
        """Project points (N, 3) in the base frame to pixels (N, 2)."""
        camera_from_base = np.linalg.inv(self.base_from_camera)
        points = np.asarray(points_base, dtype=np.float64).reshape(-1, 3)
        return self.intrinsics.project(points @ camera_from_base[:3, :3].T + camera_from_base[:3, 3])

    def to_base(self, points_camera: FloatArray) -> FloatArray:
        """Map points (N, 3) from the camera frame to the base frame."""
        points = np.asarray(points_camera, dtype=np.float64).reshape(-1, 3)
        return points @ self.base_from_camera[:3, :3].T + self.base_from_camera[:3, 3]
