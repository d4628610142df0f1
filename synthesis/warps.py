"""Smooth, invertible warps: the elastic, the tapering and the lobing factor of the map h.

All are diffeomorphisms by construction: the elastic displacement is a contraction (Lipschitz constant below
1), the taper keeps |width| and |stretch| below 1, the lobes move points along rays by a contraction, so that
the fixed point iterations of the inverses converge geometrically (Banach).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
INVERSE_TOLERANCE_PX = 1e-3
MAX_LIPSCHITZ = 0.6  # of the elastic displacement; keeps the Jacobian's singular values in [0.4, 1.6]
MAX_TAPER = 0.6
MAX_LOBES = 0.5  # of the depth; a lobe's slope is at most 9/8 of it


class TransformError(ValueError):
    """The parameters would not give an invertible map; the message names the part at fault."""


@dataclass(frozen=True)
class Elastic:
    """Smooth warp p -> p + sum_k a_k sin(w_k . p + phase_k).

    Attributes:
        amplitudes: (K, 2) px.
        frequencies: (K, 2) radians per px.
        phases: (K,) radians.
    """

    amplitudes: FloatArray
    frequencies: FloatArray
    phases: FloatArray

    def __post_init__(self) -> None:
        if self.lipschitz > MAX_LIPSCHITZ:
            raise TransformError(f"elastic: Lipschitz bound {self.lipschitz:.3f} exceeds {MAX_LIPSCHITZ}")

    @property
    def lipschitz(self) -> float:
        """Upper bound of the displacement's Lipschitz constant, sum_k |a_k| |w_k|."""
        norms = np.linalg.norm(self.amplitudes, axis=1) * np.linalg.norm(self.frequencies, axis=1)
        return float(norms.sum())

    def displacement(self, points: FloatArray) -> FloatArray:
        """(N, 2) px displacement at (N, 2) points."""
        return np.sin(points @ self.frequencies.T + self.phases) @ self.amplitudes

    def forward(self, points: FloatArray) -> FloatArray:
        """(N, 2) -> (N, 2)."""
        return points + self.displacement(points)

    def inverse(self, points: FloatArray) -> FloatArray:
        """Fixed point q <- p - d(q); the error shrinks by the Lipschitz constant each step."""
        reach = float(np.linalg.norm(self.amplitudes, axis=1).sum())
        guess = points
        for _ in range(_steps(reach, self.lipschitz)):
            guess = points - self.displacement(guess)
        return guess

    def jacobian(self, points: FloatArray) -> FloatArray:
        """(N, 2, 2) at (N, 2) points: I + sum_k cos(.) a_k w_k^T."""
        waves = np.cos(points @ self.frequencies.T + self.phases)
        return np.eye(2) + np.einsum("nk,ki,kj->nij", waves, self.amplitudes, self.frequencies)


@dataclass(frozen=True)
class Taper:
    """Widens one end of an object and lengthens or shortens it, smoothly along an axis.

    In coordinates (t along the axis, s across) about the centre, with z = (t - middle) / softness:
    s -> s (1 + width tanh z) and t -> t + stretch * softness * (log cosh z - log cosh(-middle / softness)).

    Attributes:
        centre: (2,) px, which stays where it is.
        angle: radians of the axis from +x toward +y.
        middle: px along the axis where the change is steepest.
        softness: px over which it happens.
        width: in (-1, 1).
        stretch: in (-1, 1).
    """

    centre: FloatArray
    angle: float
    middle: float
    softness: float
    width: float
    stretch: float

    def __post_init__(self) -> None:
        if max(abs(self.width), abs(self.stretch)) > MAX_TAPER:
            raise TransformError(f"taper: width {self.width}, stretch {self.stretch} exceed {MAX_TAPER}")
        if self.softness <= 0:
            raise TransformError(f"taper: softness must be positive, got {self.softness}")

    def forward(self, points: FloatArray) -> FloatArray:
        """(N, 2) -> (N, 2)."""
        along, across = self._split(points)
        widened = across * (1 + self.width * np.tanh((along - self.middle) / self.softness))
        return self._join(along + self._gain(along), widened)

    def inverse(self, points: FloatArray) -> FloatArray:
        """Exact across the axis, fixed point along it (|stretch| < 1 is the contraction factor)."""
        target, widened = self._split(points)
        along = target
        reach = float(np.abs(self._gain(target)).max(initial=0.0)) + 1.0
        for _ in range(_steps(reach, abs(self.stretch))):
            along = target - self._gain(along)
        across = widened / (1 + self.width * np.tanh((along - self.middle) / self.softness))
        return self._join(along, across)

    def jacobian(self, points: FloatArray) -> FloatArray:
        """(N, 2, 2) at (N, 2) points."""
        along, across = self._split(points)
        bend = np.tanh((along - self.middle) / self.softness)
        local = np.zeros((len(points), 2, 2))
        local[:, 0, 0] = 1 + self.stretch * bend
        local[:, 1, 0] = across * self.width * (1 - bend**2) / self.softness
        local[:, 1, 1] = 1 + self.width * bend
        axes = self._axes()
        return axes.T @ local @ axes

    def _axes(self) -> FloatArray:
        """Rows: the axis and its normal."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        return np.array([[c, s], [-s, c]])

    def _split(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        local = (points - self.centre) @ self._axes().T
        return local[:, 0], local[:, 1]

    def _join(self, along: FloatArray, across: FloatArray) -> FloatArray:
        return self.centre + np.stack([along, across], axis=1) @ self._axes()

    def _gain(self, along: FloatArray) -> FloatArray:
        z = (along - self.middle) / self.softness
        at_centre = _log_cosh(np.array(-self.middle / self.softness))
        return self.stretch * self.softness * (_log_cosh(z) - at_centre)


@dataclass(frozen=True)
class Lobes:
    """Gives a round thing corners, or rounds a cornered one, by moving points along rays from its centre.

    r -> r (1 + depth b(r) cos(count (phi - phase))) with b(r) = r^2 / (r^2 + radius^2), which fades the
    change out toward the centre, where directions mean nothing.

    Attributes:
        centre: (2,) px, which stays where it is.
        radius: px from the centre at which b is one half.
        count: of lobes; four make a circle a square.
        phase: radians from +x toward +y, of the first lobe.
        depth: in (-1, 1), relative change of the radius far out.
    """

    centre: FloatArray
    radius: float
    count: int
    phase: float
    depth: float

    def __post_init__(self) -> None:
        if abs(self.depth) > MAX_LOBES:
            raise TransformError(f"lobes: depth {self.depth} exceeds {MAX_LOBES}")
        if self.radius <= 0:
            raise TransformError(f"lobes: radius must be positive, got {self.radius}")

    def forward(self, points: FloatArray) -> FloatArray:
        """(N, 2) -> (N, 2)."""
        radii, waves, _ = self._polar(points)
        return self._along_rays(points, radii, radii + self._gain(radii, waves))

    def inverse(self, points: FloatArray) -> FloatArray:
        """Fixed point r <- r' - gain(r) along every ray."""
        target, waves, _ = self._polar(points)
        radii = target
        for _ in range(_steps(abs(self.depth) * float(target.max(initial=0.0)), 9 / 8 * abs(self.depth))):
            radii = target - self._gain(radii, waves)
        return self._along_rays(points, target, radii)

    def jacobian(self, points: FloatArray) -> FloatArray:
        """(N, 2, 2) at (N, 2) points."""
        radii, waves, slopes = self._polar(points)
        squares, inner = radii**2, self.radius**2
        fade = squares / (squares + inner)
        local = np.zeros((len(points), 2, 2))  # along the ray and across it
        local[:, 0, 0] = 1 + self.depth * waves * fade * (squares + 3 * inner) / (squares + inner)
        local[:, 0, 1] = self.depth * fade * slopes
        local[:, 1, 1] = 1 + self.depth * fade * waves
        x, y = (points - self.centre).T / np.maximum(radii, 1e-12)
        rays = np.stack([np.stack([x, y], axis=1), np.stack([-y, x], axis=1)], axis=1)
        rays[radii == 0] = np.eye(2)
        return rays.transpose(0, 2, 1) @ local @ rays

    def _polar(self, points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Radii, and the wave cos(count (phi - phase)) with its slope over phi, each (N,)."""
        x, y = (points - self.centre).T
        turn = self.count * (np.arctan2(y, x) - self.phase)
        return np.hypot(x, y), np.cos(turn), -self.count * np.sin(turn)

    def _gain(self, radii: FloatArray, waves: FloatArray) -> FloatArray:
        return self.depth * waves * radii**3 / (radii**2 + self.radius**2)

    def _along_rays(self, points: FloatArray, old: FloatArray, new: FloatArray) -> FloatArray:
        return self.centre + (points - self.centre) * (new / np.maximum(old, 1e-12))[:, None]


def _log_cosh(z: FloatArray) -> FloatArray:
    return np.logaddexp(z, -z) - math.log(2)


def _steps(reach: float, factor: float) -> int:
    """Fixed-point steps after which a start error of `reach` px is below the tolerance."""
    if reach <= INVERSE_TOLERANCE_PX or factor == 0:
        return 1
    return max(1, math.ceil(math.log(INVERSE_TOLERANCE_PX / reach) / math.log(factor)))
