"""The one place where keypoints become pixels or thousandths and back.

A keypoint is a fraction of the image measured from its corner; a pixel coordinate has pixel centres at
integers (see `perception.frame`), hence the half.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .schema import InvalidKeypoints, Keypoint


def to_pixel(point: Keypoint, width: int, height: int) -> NDArray[np.float64]:
    """Keypoint -> continuous pixel (u, v)."""
    return np.array([point.x * width - 0.5, point.y * height - 0.5])


def from_pixel(pixel: NDArray[np.floating], width: int, height: int) -> Keypoint:
    """Continuous pixel (u, v) -> keypoint. Raises InvalidKeypoints outside the image."""
    return Keypoint((float(pixel[0]) + 0.5) / width, (float(pixel[1]) + 0.5) / height)


def inside(pixel: NDArray[np.floating], width: int, height: int) -> bool:
    """Whether a continuous pixel lies in the image."""
    return bool(-0.5 <= pixel[0] < width - 0.5 and -0.5 <= pixel[1] < height - 0.5)


def to_thousandths(point: Keypoint) -> tuple[int, int]:
    """Keypoint -> integer grid 0..999, as written in text answers (a cell, so the floor)."""
    return math.floor(point.x * 1000), math.floor(point.y * 1000)


def from_thousandths(x: object, y: object) -> Keypoint:
    """Integer grid 0..999 -> the centre of that cell. Anything else is refused, never clamped."""
    return Keypoint((_cell("x", x) + 0.5) / 1000, (_cell("y", y) + 0.5) / 1000)


def _cell(axis: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidKeypoints(f"{axis}: expected an integer 0..999, got {value!r}")
    if not 0 <= value <= 999:
        raise InvalidKeypoints(f"{axis}: {value} is outside 0..999")
    return value
