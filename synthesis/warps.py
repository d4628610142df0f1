"""Smooth, invertible warps: the elastic and the tapering factor of the map h.

Both are diffeomorphisms by construction: the elastic displacement is a contraction (Lipschitz constant below
1), the taper keeps |width| and |stretch| below 1, so that the fixed point iterations of the inverses converge
geometrically (Banach).
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


def _log_cosh(z: FloatArray) -> FloatArray:
    return np.logaddexp(z, -z) - math.log(2)


def _steps(reach: float, factor: float) -> int:
    """Fixed-point steps after which a start error of `reach` px is below the tolerance."""
    if reach <= INVERSE_TOLERANCE_PX or factor == 0:
        return 1
    return max(1, math.ceil(math.log(INVERSE_TOLERANCE_PX / reach) / math.log(factor)))
