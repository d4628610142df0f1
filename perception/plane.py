"""The support plane of a scene: a robust fit to the points of a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .frame import BoolArray, FloatArray


class PlaneError(ValueError):
    """No support plane was found; the message says what was missing."""


@dataclass(frozen=True)
class Plane:
    """The plane `normal . p = offset` in the base frame; the normal is a unit vector that points up (+z)."""

    normal: tuple[float, float, float]
    offset: float

    def height(self, points: FloatArray) -> FloatArray:
        """Signed distance (...,) in metres of points (..., 3), positive above; NaN stays NaN."""
        return points @ np.array(self.normal) - self.offset


def fit_plane(
    points: FloatArray, tolerance: float, max_tilt: float, rng: np.random.Generator, trials: int = 100
) -> tuple[Plane, float]:
    """Fit the dominant near-horizontal plane.

    MSAC (Torr and Zisserman, 2000) over random triples finds it, then least squares over inliers, whose
    tolerance shrinks with the measured noise, refines it: a cloth a few millimetres thick is then no inlier.

    Args:
        points: (N, 3) in the base frame, metres, finite.
        tolerance: metres; a point nearer than this may belong to the plane.
        max_tilt: radians between the plane's normal and +z.
        rng: draws the triples.
        trials: number of triples.

    Returns:
        The plane, and the robust standard deviation (metres) of its inliers about it.

    Raises:
        PlaneError: too few points, or no triple within the tilt.
    """
    if len(points) < 50:
        raise PlaneError(f"no support plane: {len(points)} points with valid depth, expected at least 50")
    sample = points[rng.integers(len(points), size=1000)]
    normals, offsets = _candidates(points[rng.integers(len(points), size=(trials, 3))], max_tilt)
    residuals = np.abs(sample @ normals.T - offsets)
    best = int(np.argmin(np.square(np.minimum(residuals / tolerance, 1.0)).sum(axis=0)))
    plane, noise = Plane(_triple(normals[best]), float(offsets[best])), tolerance / 3
    for _ in range(3):
        inliers = points[np.abs(plane.height(points)) < max(3 * noise, 1e-4)]
        if len(inliers) < 3:
            break
        plane = _least_squares(inliers)
        noise = min(robust_deviation(plane.height(inliers)), tolerance / 3)
    return plane, noise


def robust_deviation(values: FloatArray) -> float:
    """Standard deviation of a normal distribution with the same median absolute value (about zero)."""
    return float(1.4826 * np.median(np.abs(values)))


def in_box(
    points: FloatArray, low: tuple[float, float, float], high: tuple[float, float, float]
) -> BoolArray:
    """Mask (...,) of points (..., 3) inside an axis-aligned box; NaN is outside."""
    inside = np.ones(points.shape[:-1], dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        for axis in range(3):  # Much faster than reducing over an axis of three.
            inside &= (points[..., axis] >= low[axis]) & (points[..., axis] <= high[axis])
    return inside


def _candidates(triples: FloatArray, max_tilt: float) -> tuple[FloatArray, FloatArray]:
    """Upward unit normals (M, 3) and offsets (M,) of the planes through triples (N, 3, 3)."""
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    # Triples on a line define no plane: 1e-8 m^2 is a triangle of a tenth of a millimetre.
    flat = lengths > 1e-8
    normals = normals[flat] / lengths[flat, None]
    normals *= np.where(normals[:, 2:] < 0, -1.0, 1.0)
    level = normals[:, 2] >= np.cos(max_tilt)
    if not level.any():
        raise PlaneError(f"no support plane: none within {np.degrees(max_tilt):.0f} degrees of level")
    normals = normals[level]
    return normals, np.einsum("ij,ij->i", normals, triples[flat][level, 0])


def _least_squares(points: FloatArray) -> Plane:
    centre = points.mean(axis=0)
    _, vectors = np.linalg.eigh((points - centre).T @ (points - centre))
    normal = vectors[:, 0] * (-1.0 if vectors[2, 0] < 0 else 1.0)
    return Plane(_triple(normal), float(normal @ centre))


def _triple(vector: FloatArray) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])
