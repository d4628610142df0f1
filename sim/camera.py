"""The fixed scene camera: where it stands, what it projects to, how its pose jitters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from ..perception.frame import FloatArray, Intrinsics

Renderer = Literal["tiny", "egl"]
NEAR, FAR = 0.2, 4.0
# OpenGL cameras look along -z with y up; OpenCV's along +z with y down.
OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class CameraConfig:
    """A camera on the robot's side of the table, looking down and a little forward; image up is base +x.

    Attributes:
        eye: metres in the base frame.
        look_at: the point on its optical axis.
        field_of_view: vertical, degrees.
        size: image side, pixels.
    """

    eye: tuple[float, float, float] = (0.39, 0.0, 1.15)
    look_at: tuple[float, float, float] = (0.53, 0.0, 0.0)
    field_of_view: float = 43.0
    size: int = 256


@dataclass(frozen=True)
class Camera:
    """A posed camera.

    Attributes:
        base_from_camera: (4, 4), OpenCV camera frame to base.
        config: size and field of view.
    """

    base_from_camera: FloatArray
    config: CameraConfig

    @classmethod
    def place(cls, config: CameraConfig) -> Camera:
        """The camera at its nominal pose."""
        eye = np.array(config.eye)
        forward = np.array(config.look_at) - eye
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [1.0, 0.0, 0.0])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        pose[:3, 3] = eye
        return cls(pose, config)

    def jittered(self, metres: float, radians: float, rng: np.random.Generator) -> Camera:
        """The camera moved by Gaussian noise of the given standard deviations, per axis.

        The noise is cut at two deviations, so that what is in view by design stays in view.
        """
        pose = self.base_from_camera.copy()
        pose[:3, 3] += metres * rng.standard_normal(3).clip(-2, 2)
        pose[:3, :3] = (
            pose[:3, :3] @ Rotation.from_rotvec(radians * rng.standard_normal(3).clip(-2, 2)).as_matrix()
        )
        return Camera(pose, self.config)

    def intrinsics(self, renderer: Renderer) -> Intrinsics:
        """Pinhole intrinsics of what the renderer really draws.

        TinyRenderer samples pixels at their corners (right by half a pixel, up by half), which is put into
        the principal point, so that projection stays exact.
        """
        size = self.config.size
        focal = size / 2 / math.tan(math.radians(self.config.field_of_view) / 2)
        centre = (size - 1) / 2
        shift = 0.5 if renderer == "tiny" else 0.0
        return Intrinsics(size, size, focal, focal, centre + shift, centre - shift)

    def view_matrix(self) -> list[float]:
        """OpenGL's view matrix, column-major."""
        view = OPENGL_FROM_OPENCV @ np.linalg.inv(self.base_from_camera)
        return view.T.ravel().tolist()

    def projection_matrix(self) -> list[float]:
        """OpenGL's projection matrix, column-major."""
        scale = 1 / math.tan(math.radians(self.config.field_of_view) / 2)
        matrix = np.zeros((4, 4))
        matrix[0, 0] = matrix[1, 1] = scale
        matrix[2, 2] = (FAR + NEAR) / (NEAR - FAR)
        matrix[2, 3] = 2 * FAR * NEAR / (NEAR - FAR)
        matrix[3, 2] = -1
        return matrix.T.ravel().tolist()

    @staticmethod
    def metres(z_buffer: FloatArray) -> FloatArray:
        """Depth along the optical axis from OpenGL's z-buffer; NaN where nothing was hit."""
        depth = FAR * NEAR / (FAR - (FAR - NEAR) * z_buffer)
        return np.where(z_buffer >= 1.0, np.nan, depth)
