"""Depth images: cleaning, lifting pixels to 3-D, point clouds.

Nothing here averages depths of different surfaces: holes take the nearest measured value and a window is
summed up by a value that was measured in it, so no point is ever invented between an edge and its background.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from ..core.ranges import above, within
from .frame import BoolArray, DepthArray, FloatArray, Intrinsics, RgbdFrame

DepthFault = Literal["outside_image", "no_valid_depth"]


class DepthError(ValueError):
    """A pixel cannot be lifted to 3-D.

    Attributes:
        fault: why, for programs; the message says it for people, with the pixel and the window.
        pixel: the pixel (u, v) at fault.
    """

    def __init__(self, fault: DepthFault, pixel: tuple[float, float], detail: str) -> None:
        super().__init__(f"pixel ({pixel[0]:.1f}, {pixel[1]:.1f}): {detail}")
        self.fault: DepthFault = fault
        self.pixel = pixel


@dataclass(frozen=True)
class DepthCleaning:
    """What counts as a valid depth, and how far a hole may be repaired.

    Attributes:
        near: metres; nearer readings are invalid (below the sensor's range).
        far: metres; farther readings are invalid.
        edge_jump: metres; neighbouring pixels of one surface differ by less.
        least_support: of a pixel's 8 neighbours, how many must belong to its surface; pixels with fewer fly
            between an edge and its background (an object's own corner pixel has 3).
        hole_width: pixels, odd; parts of a hole into which no square of this side fits are filled, wider
            ones stay NaN. 1 fills nothing.
    """

    near: float = 0.1
    far: float = 3.0
    edge_jump: float = 0.02
    least_support: int = 3
    hole_width: int = 7

    def __post_init__(self) -> None:
        above(self, 0, "near", "far")
        if not self.near < self.far:
            raise ValueError(f"near={self.near} must be below far={self.far}")
        above(self, 0, "edge_jump")
        within(self, 0, 8, "least_support")
        if self.hole_width < 1 or self.hole_width % 2 == 0:
            raise ValueError(f"hole_width={self.hole_width} must be odd and positive")


def valid_depth(depth: DepthArray, near: float = 0.1, far: float = 3.0) -> BoolArray:
    """Mask (H, W) of finite readings in [near, far] metres."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(depth) & (depth >= near) & (depth <= far)


def clean_depth(depth: DepthArray, cleaning: DepthCleaning | None = None) -> DepthArray:
    """Make every reading of a depth image either trustworthy or NaN.

    In order: NaN, infinite, zero and out-of-range readings become NaN; flying pixels become NaN; narrow holes
    take the depth of the nearest valid pixel; wide holes stay NaN.

    Args:
        depth: float32 (H, W), metres.
        cleaning: limits; the defaults suit a table 0.3 to 2 m away.

    Returns:
        float32 (H, W), metres, NaN = invalid.
    """
    cleaning = cleaning or DepthCleaning()
    valid = valid_depth(depth, cleaning.near, cleaning.far)
    clean = np.where(valid, depth, np.nan).astype(np.float32)
    clean[_support(clean, cleaning.edge_jump) < cleaning.least_support] = np.nan
    return _fill_narrow_holes(clean, cleaning.hole_width)


def clean_frame(frame: RgbdFrame, cleaning: DepthCleaning | None = None) -> RgbdFrame:
    """The frame with cleaned depth."""
    return replace(frame, depth=clean_depth(frame.depth, cleaning))


def lift(
    frame: RgbdFrame, pixel: FloatArray, window: int = 5, cleaning: DepthCleaning | None = None
) -> FloatArray:
    """Lift one pixel to a point (3,) in the base frame, metres.

    The depth is the lower median of the valid readings in the window: always a reading of one surface, the
    nearer one in a tie, never a mean across an edge.

    Args:
        frame: the depth may be raw; invalid readings are left out.
        pixel: continuous (u, v).
        window: odd side length of the square window around the pixel, pixels.
        cleaning: gives the valid range (near, far).

    Raises:
        DepthError: the pixel lies outside the image, or its window holds no valid depth.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window must be odd and positive, got {window}")
    u, v = float(pixel[0]), float(pixel[1])
    height, width = frame.depth.shape
    # Written so that NaN is refused too.
    if not (-0.5 <= u < width - 0.5 and -0.5 <= v < height - 0.5):
        raise DepthError("outside_image", (u, v), f"outside the {width}x{height} image")
    depth = _window_median(frame.depth, (u, v), window, cleaning or DepthCleaning())
    return frame.to_base(frame.intrinsics.unproject(np.array([[u, v]]), np.array([depth])))[0]


def point_cloud(frame: RgbdFrame) -> FloatArray:
    """Every pixel's point (H, W, 3) in the base frame, metres; NaN where there is no valid depth."""
    height, width = frame.depth.shape
    rays = camera_rays(frame.intrinsics)
    depth = np.where(valid_depth(frame.depth), frame.depth, np.nan).astype(np.float64)
    points = (rays @ frame.base_from_camera[:3, :3].T) * depth.reshape(-1, 1) + frame.base_from_camera[:3, 3]
    return points.reshape(height, width, 3)


@lru_cache(maxsize=8)
def camera_rays(intrinsics: Intrinsics) -> FloatArray:
    """The undistorted ray (x/z, y/z, 1) of every pixel, row by row: (H * W, 3), read-only, camera frame."""
    grid = np.stack(np.meshgrid(np.arange(intrinsics.width), np.arange(intrinsics.height)), axis=-1)
    pixels = grid.reshape(-1, 2).astype(np.float64)
    rays = intrinsics.unproject(pixels, np.ones(len(pixels)))
    rays.setflags(write=False)
    return rays


def _support(depth: DepthArray, jump: float) -> np.ndarray:
    """How many of each pixel's 8 neighbours lie within `jump` metres of it, uint8 (H, W)."""
    height, width = depth.shape
    padded = np.pad(depth, 1, mode="constant", constant_values=np.nan)
    support = np.zeros(depth.shape, dtype=np.uint8)
    offsets = [(dy, dx) for dy in range(3) for dx in range(3) if (dy, dx) != (1, 1)]
    for dy, dx in offsets:
        neighbour = padded[dy : dy + height, dx : dx + width]
        support += np.abs(neighbour - depth) < jump
    return support


def _fill_narrow_holes(depth: DepthArray, width: int) -> DepthArray:
    """Give the parts of holes narrower than `width` pixels the depth of the nearest valid pixel."""
    invalid = np.isnan(depth)
    if width == 1 or not invalid.any() or invalid.all():
        return depth
    holes = invalid.astype(np.uint8)
    wide = cv2.morphologyEx(holes, cv2.MORPH_OPEN, np.ones((width, width), np.uint8))
    _, label_image = cv2.distanceTransformWithLabels(holes, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.asarray(label_image, dtype=np.int32)
    # Every valid pixel has a label of its own, and a hole's pixels carry that of the nearest valid pixel.
    by_label = np.zeros(int(nearest.max()) + 1, dtype=np.float32)
    by_label[nearest[~invalid]] = depth[~invalid]
    fill = invalid & (np.asarray(wide) == 0)
    filled = depth.copy()
    filled[fill] = by_label[nearest[fill]]
    return filled


def _window_median(
    depth: DepthArray, pixel: tuple[float, float], window: int, cleaning: DepthCleaning
) -> float:
    column, row, half = round(pixel[0]), round(pixel[1]), window // 2
    patch = depth[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1]
    readings = np.sort(patch[valid_depth(patch, cleaning.near, cleaning.far)])
    if not len(readings):
        detail = (
            f"none of the {patch.size} depth readings within {half} px is valid "
            f"(finite, {cleaning.near:g} to {cleaning.far:g} m)"
        )
        raise DepthError("no_valid_depth", pixel, detail)
    return float(readings[(len(readings) - 1) // 2])
