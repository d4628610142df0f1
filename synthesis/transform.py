"""The map h: one object that moves pixels, masks, edges and keypoints together.

h = affine o lobes o taper o elastic, in pixels with centres at integers. Points go forward through h, images
are sampled through its inverse, so a label and its pixel can never drift apart. Every factor is invertible by
construction: the linear part has positive determinant, the taper keeps |width|, |stretch| < 1, and the
elastic and lobing displacements are contractions (Lipschitz constant < 1), hence h is a diffeomorphism and
the fixed point iterations of the inverse converge geometrically (Banach).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.ranges import above, rising, within
from .warps import (
    MAX_LIPSCHITZ,
    MAX_LOBES,
    MAX_TAPER,
    Elastic,
    FloatArray,
    Lobes,
    Taper,
    TransformError,
)

# Objects whose extents along and across differ by more than this factor are long, not compact.
COMPACT = 1.6


@dataclass(frozen=True)
class TransformConfig:
    """Ranges of the random map h.

    Attributes:
        scale: lowest and highest scale of a compact object, drawn for its two axes independently.
        scale_slender: the same of a long one: thrice as thick for its length, a bar is a bar no more.
        rotation_deg: largest rotation either way.
        shift: largest shift either way, as a fraction of the image's width and height.
        elastic: largest Lipschitz constant of the smooth random warp; 0 switches it off.
        taper_width: largest relative change of width between the two ends along the object's long axis.
        taper_stretch: the same for length (one end longer, the other shorter).
        taper_probability: share of objects that are tapered.
        lobes: largest relative change of the radius by which a compact object gets or loses corners.
        lobes_probability: share of compact objects that are lobed.
    """

    scale: tuple[float, float] = (0.55, 1.5)
    scale_slender: tuple[float, float] = (0.8, 1.2)
    rotation_deg: float = 30.0
    shift: float = 0.35
    elastic: float = 0.2
    taper_width: float = 0.45
    taper_stretch: float = 0.35
    taper_probability: float = 0.6
    lobes: float = 0.15
    lobes_probability: float = 0.6

    def __post_init__(self) -> None:
        above(self, 0, "scale", "scale_slender")
        rising(self, "scale", "scale_slender")
        within(self, 0, MAX_LIPSCHITZ, "elastic")
        within(self, 0, MAX_TAPER, "taper_width", "taper_stretch")
        within(self, 0, MAX_LOBES, "lobes")
        within(self, 0, 180, "rotation_deg")
        within(self, 0, 1, "shift", "taper_probability", "lobes_probability")

    def calmed(self, factor: float) -> TransformConfig:
        """The same ranges shrunk toward the identity; factor 1 keeps them, 0 gives the identity."""
        scale, slender = (
            (1 + (low - 1) * factor, 1 + (high - 1) * factor)
            for low, high in (self.scale, self.scale_slender)
        )
        return TransformConfig(
            scale=scale,
            scale_slender=slender,
            rotation_deg=self.rotation_deg * factor,
            shift=self.shift * factor,
            elastic=self.elastic * factor,
            taper_width=self.taper_width * factor,
            taper_stretch=self.taper_stretch * factor,
            taper_probability=self.taper_probability,
            lobes=self.lobes * factor,
            lobes_probability=self.lobes_probability,
        )


@dataclass(frozen=True)
class Transform:
    """h(p) = pivot + shift + linear (lobes(taper(elastic(p))) - pivot).

    Attributes:
        linear: (2, 2), rotation times anisotropic scale, positive determinant.
        shift: (2,) px.
        pivot: (2,) px.
        elastic: the smooth warp, or None.
        taper: the piecewise anisotropic scaling, or None.
        lobes: the change between round and cornered, or None.
    """

    linear: FloatArray
    shift: FloatArray
    pivot: FloatArray
    elastic: Elastic | None = None
    taper: Taper | None = None
    lobes: Lobes | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.linear).all() and np.isfinite(self.shift).all()):
            raise TransformError("linear, shift: not finite")
        if np.linalg.det(self.linear) <= 1e-3:
            raise TransformError(f"linear: determinant {np.linalg.det(self.linear):.4f} is not positive")

    @classmethod
    def identity(cls) -> Transform:
        """The map that leaves everything where it is."""
        return cls(np.eye(2), np.zeros(2), np.zeros(2))

    @property
    def is_identity(self) -> bool:
        """Whether it moves nothing."""
        affine = np.array_equal(self.linear, np.eye(2)) and not self.shift.any()
        return affine and not self._warps()

    def points(self, points: FloatArray) -> FloatArray:
        """Forward map of (N, 2) pixel points (u, v)."""
        moved = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        for part in self._warps():
            moved = part.forward(moved)
        return self.pivot + self.shift + (moved - self.pivot) @ self.linear.T

    def inverse_points(self, points: FloatArray) -> FloatArray:
        """Where (N, 2) pixel points come from; `points` undone to within 1e-2 px."""
        moved = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        moved = self.pivot + (moved - self.pivot - self.shift) @ np.linalg.inv(self.linear).T
        for part in reversed(self._warps()):
            moved = part.inverse(moved)
        return moved

    def jacobian(self, points: FloatArray) -> FloatArray:
        """(N, 2, 2) local linear map of h at (N, 2) points, by the chain rule."""
        moved = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        total = np.broadcast_to(np.eye(2), (len(moved), 2, 2))
        for part in self._warps():
            total = part.jacobian(moved) @ total
            moved = part.forward(moved)
        return self.linear @ total

    def yaw(self, point: FloatArray, yaw: float) -> float:
        """Moves a jaw-closing direction at `point` (2,).

        Jaws close along the normal of the part they hold, and normals go through the inverse transpose of
        the Jacobian; for rotations this is plain addition of the angle.

        Returns:
            Radians in (-pi/2, pi/2].
        """
        normal = np.linalg.inv(self.jacobian(point)[0]).T @ np.array([math.cos(yaw), math.sin(yaw)])
        moved = math.atan2(normal[1], normal[0])
        return math.pi / 2 - (math.pi / 2 - moved) % math.pi

    def turned(self, point: FloatArray, offset: FloatArray) -> FloatArray:
        """An offset (2,) px from `point` (2,), turned as h turns that line but of the same length.

        The direction is the secant's over the offset's own length about `point`, so that one ripple of the
        warp does not decide it.
        """
        length = float(np.linalg.norm(offset))
        if length == 0:
            return offset
        ends = self.points(np.stack([point + offset / 2, point - offset / 2]))
        line = ends[0] - ends[1]
        return line * (length / float(np.linalg.norm(line)))

    def sample(self, images: Sequence[NDArray], box: Box) -> list[NDArray]:
        """The pixels of h(image) inside `box`, for images (H, W) or (H, W, C); zero from outside."""
        grid = np.stack(np.meshgrid(np.arange(box.x0, box.x1), np.arange(box.y0, box.y1)), axis=-1)
        source = self.inverse_points(grid.reshape(-1, 2).astype(np.float64)).astype(np.float32)
        x, y = (source[:, axis].reshape(grid.shape[:2]) for axis in (0, 1))
        return [cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) for image in images]

    def image(self, image: NDArray) -> NDArray:
        """h(image), whole: (H, W) or (H, W, C) of any dtype that OpenCV resamples."""
        return self.sample([image], Box(0, 0, image.shape[1], image.shape[0]))[0]

    def moved_box(self, box: Box, width: int, height: int) -> Box:
        """A box (clipped to the image) that holds h of everything inside `box`."""
        xs = np.linspace(box.x0 - 1, box.x1, 24)
        ys = np.linspace(box.y0 - 1, box.y1, 24)
        corners = self.points(np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2))
        low, high = corners.min(axis=0) - 3, corners.max(axis=0) + 4
        return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])).clipped(width, height)

    def to_json(self) -> dict[str, object]:
        """A JSON object that `from_json` reads back exactly."""
        out: dict[str, object] = {
            "linear": self.linear.tolist(),
            "shift": self.shift.tolist(),
            "pivot": self.pivot.tolist(),
        }
        if self.elastic is not None:
            parts = ("amplitudes", "frequencies", "phases")
            out["elastic"] = {name: vars(self.elastic)[name].tolist() for name in parts}
        if self.taper is not None:
            out["taper"] = {**vars(self.taper), "centre": self.taper.centre.tolist()}
        if self.lobes is not None:
            out["lobes"] = {**vars(self.lobes), "centre": self.lobes.centre.tolist()}
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Transform:
        """Read what `to_json` wrote. Raises TransformError when it is not an invertible map."""
        elastic, taper, lobes = data.get("elastic"), data.get("taper"), data.get("lobes")
        arrays = {name: np.asarray(data[name], dtype=np.float64) for name in ("linear", "shift", "pivot")}
        return cls(
            **arrays,
            elastic=Elastic(**{k: np.asarray(v, dtype=np.float64) for k, v in elastic.items()})
            if isinstance(elastic, Mapping)
            else None,
            taper=Taper(**{**taper, "centre": np.asarray(taper["centre"], dtype=np.float64)})
            if isinstance(taper, Mapping)
            else None,
            lobes=Lobes(**{**lobes, "centre": np.asarray(lobes["centre"], dtype=np.float64)})
            if isinstance(lobes, Mapping)
            else None,
        )

    def _warps(self) -> Sequence[Elastic | Taper | Lobes]:
        return [part for part in (self.elastic, self.taper, self.lobes) if part is not None]


@dataclass(frozen=True)
class Box:
    """Pixels with x0 <= x < x1 and y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def around(cls, mask: NDArray, margin: int = 0) -> Box:
        """The bounding box of the non-zero pixels of an (H, W) mask, clipped to it."""
        x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
        box = cls(x - margin, y - margin, x + w + margin, y + h + margin)
        return box.clipped(mask.shape[1], mask.shape[0])

    def clipped(self, width: int, height: int) -> Box:
        """The part inside an image; at least one pixel."""
        x0, y0 = min(max(self.x0, 0), width - 1), min(max(self.y0, 0), height - 1)
        return Box(x0, y0, max(min(self.x1, width), x0 + 1), max(min(self.y1, height), y0 + 1))

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


def random_transform(config: TransformConfig, mask: NDArray, rng: np.random.Generator) -> Transform:
    """Draw h for the object under an (H, W) boolean mask.

    The pivot is the mask's centroid, and the two scales apply along and across the object's own long axis, so
    that its right angles stay right.
    """
    height, width = mask.shape
    points = np.argwhere(mask)[:, ::-1].astype(np.float64)
    pivot = points.mean(axis=0)
    angle = math.radians(rng.uniform(-config.rotation_deg, config.rotation_deg))
    axes = principal_axes(points)
    local = (points - pivot) @ axes.T
    slender = float(local[:, 0].std()) / max(float(local[:, 1].std()), 1e-6)
    scale = config.scale if slender < COMPACT else config.scale_slender
    c, s = math.cos(angle), math.sin(angle)
    linear = np.array([[c, -s], [s, c]]) @ axes.T @ np.diag(rng.uniform(*scale, size=2)) @ axes
    shift = rng.uniform(-config.shift, config.shift, size=2) * (width, height)
    size = max(float(np.ptp(points, axis=0).max()), 8.0)
    elastic = _random_elastic(config.elastic, size, rng)
    taper = _random_taper(config, local, slender, axes[0], pivot, rng)
    lobes = _random_lobes(config, local, slender, pivot, rng)
    return Transform(linear, shift, pivot, elastic, taper, lobes)


def principal_axes(points: FloatArray) -> FloatArray:
    """Rows: unit vectors along the longest and the shortest extent of (N, 2) points."""
    if len(points) < 3:
        return np.eye(2)
    _, vectors = np.linalg.eigh(np.cov(points.T))
    return vectors[:, ::-1].T


def _random_elastic(lipschitz: float, size: float, rng: np.random.Generator) -> Elastic | None:
    if lipschitz == 0:
        return None
    waves = 4
    directions = rng.uniform(0, 2 * np.pi, size=(2, waves))
    frequency = 2 * np.pi / (size * rng.uniform(0.6, 2.5, size=waves))
    # Share the Lipschitz budget among the waves, so that slow waves may be large and quick ones stay small.
    share = rng.dirichlet(np.ones(waves)) * lipschitz * rng.uniform(0.2, 1.0)
    return Elastic(
        amplitudes=_unit(directions[0]) * (share / frequency)[:, None],
        frequencies=_unit(directions[1]) * frequency[:, None],
        phases=rng.uniform(0, 2 * np.pi, size=waves),
    )


def _random_taper(
    config: TransformConfig,
    local: FloatArray,
    slender: float,
    axis: FloatArray,
    pivot: FloatArray,
    rng: np.random.Generator,
) -> Taper | None:
    """`local` (N, 2): the object's pixels along and across its axis; `slender`: their spreads' ratio."""
    draw = rng.uniform(-1, 1, size=4)
    if rng.random() >= config.taper_probability or (config.taper_width, config.taper_stretch) == (0, 0):
        return None
    length = float(np.ptp(local[:, 0])) + 1.0
    strength = float(np.clip((slender - 1) / 1.5, 0.2, 1.0))  # boxes keep their shape
    return Taper(
        centre=pivot,
        angle=math.atan2(axis[1], axis[0]),
        middle=0.3 * length * float(draw[0]),
        softness=length * (0.2 + 0.15 * float(draw[1])),
        width=strength * config.taper_width * float(draw[2]),
        stretch=strength * config.taper_stretch * float(draw[3]),
    )


def _random_lobes(
    config: TransformConfig, local: FloatArray, slender: float, pivot: FloatArray, rng: np.random.Generator
) -> Lobes | None:
    """See `_random_taper`. Long things keep their ends."""
    if slender >= COMPACT or config.lobes == 0 or rng.random() >= config.lobes_probability:
        return None
    return Lobes(
        centre=pivot,
        radius=max(0.5 * float(np.hypot(*local.T).mean()), 1.0),
        count=int(rng.integers(3, 7)),
        phase=rng.uniform(0, 2 * np.pi),
        depth=config.lobes * rng.uniform(0.3, 1.0),
    )


def _unit(angles: FloatArray) -> FloatArray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)
