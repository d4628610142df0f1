"""Things that are not the task: drawn shapes, placed clear of objects and keypoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.ranges import above, at_least, rising, within

BoolArray = NDArray[np.bool_]
_SUBPIXEL = 4  # OpenCV's fixed-point bits for anti-aliased drawing


@dataclass(frozen=True)
class DistractorConfig:
    """How many distractors and how large.

    Attributes:
        share: share of images with any.
        most: most in one image.
        size: smallest and largest radius, as a fraction of the image's shorter side.
        clearance: px kept free around objects, keypoints and the way between them.
    """

    share: float = 0.85
    most: int = 4
    size: tuple[float, float] = (0.012, 0.06)
    clearance: float = 8.0

    def __post_init__(self) -> None:
        within(self, 0, 1, "share", "size")
        above(self, 0, "size")
        rising(self, "size")
        at_least(self, 0, "most", "clearance")


TASK_DISTRACTORS: Mapping[str, DistractorConfig] = {
    # Trash is known by its size alone when only one piece was photographed: other things must be larger.
    "sweep": DistractorConfig(size=(0.04, 0.075), clearance=5.0),
}
"""Where a task's distractors differ from the default ones, by the task's name."""


class Drawn(NamedTuple):
    """A distractor: float32 (H, W) coverage in [0, 1] and uint8 (H, W) brightness."""

    cover: NDArray[np.float32]
    relief: NDArray[np.uint8]


def random_distractors(
    config: DistractorConfig, taken: BoolArray, path: Sequence[NDArray[np.float64]], rng: np.random.Generator
) -> list[Drawn]:
    """Each distractor as drawn; none touches `taken` (H, W), another one, or the path.

    Args:
        config: ranges.
        taken: where objects are, and where nothing may lie.
        path: keypoints (2,) px in the order in which the motion visits them.
        rng: of the draws.
    """
    if rng.random() >= config.share or config.most == 0:
        return []
    room = _room(taken, path, config.clearance)
    shapes: list[Drawn] = []
    for _ in range(int(rng.integers(1, config.most + 1))):
        radius = rng.uniform(*config.size) * min(taken.shape)
        spots = np.argwhere(room > 1.6 * radius)
        if len(spots) == 0:
            continue
        y, x = spots[int(rng.integers(len(spots)))]
        shape = _draw(taken.shape, (float(x), float(y)), radius, rng)
        shapes.append(shape)
        blocked = (
            cv2.distanceTransform((shape.cover < 0.05).astype(np.uint8), cv2.DIST_L2, 3) - config.clearance
        )
        room = np.minimum(room, blocked)
    return shapes


def _room(taken: BoolArray, path: Sequence[NDArray[np.float64]], clearance: float) -> NDArray[np.float32]:
    """(H, W) px that a shape centred there may reach out."""
    free = (~taken).astype(np.uint8)
    if path:
        line = np.round(np.stack(path)).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(free, [line], False, 0, 1)
    return cv2.distanceTransform(free, cv2.DIST_L2, 5).astype(np.float32) - np.float32(clearance)


def _draw(
    shape: tuple[int, ...], centre: tuple[float, float], radius: float, rng: np.random.Generator
) -> Drawn:
    pieces = (_joinery if rng.random() < 0.5 else _blob)(radius, rng)
    drawn = draw_pieces(shape, np.array(centre), pieces, rng.uniform(-0.25, 0.25, 2) * radius, rng)
    if len(pieces) > 1 or rng.random() >= 0.15:
        return drawn
    hole = np.zeros(shape[:2], np.uint8)
    _fill(hole, np.array(centre) + rng.uniform(0.4, 0.7) * pieces[0], 255)
    cover = drawn.cover * (1 - (hole / 255).astype(np.float32))
    return Drawn(cover, np.where(cover > 0, drawn.relief, np.uint8(0)))


def draw_pieces(
    shape: tuple[int, ...],
    centre: NDArray[np.float64],
    pieces: Sequence[NDArray[np.float64]],
    height: NDArray[np.float64],
    rng: np.random.Generator,
) -> Drawn:
    """Pieces drawn one over another, each a top and the darker sides that it stands on.

    Args:
        shape: (H, W) of the image.
        centre: (2,) px.
        pieces: outlines (N, 2) about the centre, px.
        height: (2,) px by which tops are seen beside their feet.
        rng: of the brightness.
    """
    cover, relief = np.zeros(shape[:2], np.uint8), np.zeros(shape[:2], np.uint8)
    for piece in pieces:
        foot = centre + piece
        dark = rng.uniform(60, 150)
        for outline, light in (
            (_hull(foot, foot + height), dark),
            (foot + height, dark * rng.uniform(1.1, 1.6)),
        ):
            _fill(cover, outline, 255)
            _fill(relief, outline, int(light))
    return Drawn((cover / 255).astype(np.float32), relief)


def _joinery(radius: float, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """A bar with one to three shorter ones along it or across it, as of a hammer, a key or a toy."""
    angle = rng.uniform(0, 2 * np.pi)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    pieces = [_bar(radius * along, radius * rng.uniform(0.12, 0.3) * across)]
    for _ in range(int(rng.integers(1, 4))):
        place = rng.uniform(-0.9, 0.9)
        reach = radius * np.sqrt(1 - place**2)
        length, width = reach * rng.uniform(0.3, 1.0), radius * rng.uniform(0.1, 0.3)
        middle = radius * place * along + (reach - length) * rng.uniform(-1, 1) * across
        pieces.append(middle + _bar(width * along, length * across))
    return pieces


def _bar(half: NDArray[np.float64], width: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners (4, 2) about the origin."""
    return np.stack([half + width, half - width, -half - width, -half + width])


def _blob(radius: float, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """One to three outlines through each other."""
    count = int(rng.choice([1, 1, 2, 3]))
    pieces = []
    for index in range(count):
        # Pieces after the first sit off the middle, but inside the radius.
        size = radius * (1.0 if index == 0 else float(rng.uniform(0.4, 0.8)))
        angle, off = rng.uniform(0, 2 * np.pi), radius - size
        middle = off * np.array([np.cos(angle), np.sin(angle)])
        pieces.append(middle + random_outline(size, (0.3, 1.0) if count == 1 else (0.2, 0.5), rng))
    return pieces


def random_outline(
    radius: float, widths: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """A closed outline (N, 2) about the origin: 3 to 24 corners with uneven radii, stretched one way."""
    corners = int(rng.choice([3, 4, 5, 6, 24]))
    unevenness = 0.0 if rng.random() < 0.4 else rng.uniform(0.1, 0.5)
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 2 * np.pi)
    radii = radius * (1 - unevenness * rng.random(corners))
    flat = np.stack([radii * np.cos(angles), radii * np.sin(angles) * rng.uniform(*widths)], axis=1)
    turn = rng.uniform(0, np.pi)
    c, s = np.cos(turn), np.sin(turn)
    return flat @ np.array([[c, s], [-s, c]])


def _hull(*outlines: NDArray[np.float64]) -> NDArray[np.float64]:
    """The convex outline around several."""
    return cv2.convexHull(np.concatenate(outlines).astype(np.float32))[:, 0].astype(np.float64)


def _fill(image: NDArray[np.uint8], outline: NDArray[np.float64], value: int) -> None:
    points = np.round(outline * 2**_SUBPIXEL).astype(np.int32)
    cv2.fillPoly(image, [points], value, cv2.LINE_AA, _SUBPIXEL)
