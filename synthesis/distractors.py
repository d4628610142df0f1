"""Things that are not the task: drawn shapes, placed clear of objects and keypoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

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


TASK_DISTRACTORS: Mapping[str, DistractorConfig] = {
    # Trash is known by its size alone when only one piece was photographed: other things must be larger.
    "sweep": DistractorConfig(size=(0.04, 0.075), clearance=5.0),
}
"""Where a task's distractors differ from the default ones, by the task's name."""


def random_distractors(
    config: DistractorConfig, taken: BoolArray, path: Sequence[NDArray[np.float64]], rng: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Coverage (H, W) in [0, 1] of each distractor; none touches `taken` (H, W), another one, or the path.

    Args:
        config: ranges.
        taken: where objects are, and where nothing may lie.
        path: keypoints (2,) px in the order in which the motion visits them.
        rng: of the draws.
    """
    if rng.random() >= config.share or config.most == 0:
        return []
    room = _room(taken, path, config.clearance)
    shapes: list[NDArray[np.float32]] = []
    for _ in range(int(rng.integers(1, config.most + 1))):
        radius = rng.uniform(*config.size) * min(taken.shape)
        spots = np.argwhere(room > 1.5 * radius)
        if len(spots) == 0:
            continue
        y, x = spots[int(rng.integers(len(spots)))]
        shape = _draw(taken.shape, (float(x), float(y)), radius, rng)
        shapes.append(shape)
        blocked = cv2.distanceTransform((shape < 0.05).astype(np.uint8), cv2.DIST_L2, 3) - config.clearance
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
) -> NDArray[np.float32]:
    """A shape's coverage (H, W) in [0, 1]."""
    drawn = _joinery if rng.random() < 0.5 else _blob
    return (drawn(shape, np.array(centre), radius, rng) / 255).astype(np.float32)


def _joinery(
    shape: tuple[int, ...], centre: NDArray[np.float64], radius: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A bar with one to three shorter ones along it or across it, as of a hammer, a key or a toy."""
    out = np.zeros(shape[:2], np.uint8)
    angle = rng.uniform(0, 2 * np.pi)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    _fill(out, centre + _bar(radius * along, radius * rng.uniform(0.12, 0.3) * across), 255)
    for _ in range(int(rng.integers(1, 4))):
        place = rng.uniform(-0.9, 0.9)
        reach = radius * np.sqrt(1 - place**2)
        length, width = reach * rng.uniform(0.3, 1.0), radius * rng.uniform(0.1, 0.3)
        middle = centre + radius * place * along + (reach - length) * rng.uniform(-1, 1) * across
        _fill(out, middle + _bar(width * along, length * across), 255)
    return out


def _bar(half: NDArray[np.float64], width: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners (4, 2) about the origin."""
    return np.stack([half + width, half - width, -half - width, -half + width])


def _blob(
    shape: tuple[int, ...], centre: NDArray[np.float64], radius: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One to three outlines through each other, as of a toy or a tool; a single one is sometimes a ring."""
    pieces = int(rng.choice([1, 1, 2, 3]))
    out = np.zeros(shape[:2], np.uint8)
    for index in range(pieces):
        # Pieces after the first sit off the middle, but inside the radius.
        size = radius * (1.0 if index == 0 else float(rng.uniform(0.4, 0.8)))
        angle, off = rng.uniform(0, 2 * np.pi), radius - size
        middle = centre + off * np.array([np.cos(angle), np.sin(angle)])
        widest = 1.0 if pieces == 1 else 0.5
        outline = _outline(size, (0.3 if pieces == 1 else 0.2, widest), rng)
        hole = rng.uniform(0.4, 0.7) if pieces == 1 and rng.random() < 0.15 else 0.0
        _fill(out, middle + outline, 255)
        if hole:
            _fill(out, middle + hole * outline, 0)
    return out


def _outline(radius: float, widths: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float64]:
    """A closed outline (N, 2) about the origin: 3 to 24 corners with uneven radii, stretched one way."""
    corners = int(rng.choice([3, 4, 5, 6, 24]))
    unevenness = 0.0 if rng.random() < 0.4 else rng.uniform(0.1, 0.5)
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 2 * np.pi)
    radii = radius * (1 - unevenness * rng.random(corners))
    flat = np.stack([radii * np.cos(angles), radii * np.sin(angles) * rng.uniform(*widths)], axis=1)
    turn = rng.uniform(0, np.pi)
    c, s = np.cos(turn), np.sin(turn)
    return flat @ np.array([[c, s], [-s, c]])


def _fill(image: NDArray[np.uint8], outline: NDArray[np.float64], value: int) -> None:
    points = np.round(outline * 2**_SUBPIXEL).astype(np.int32)
    cv2.fillPoly(image, [points], value, cv2.LINE_AA, _SUBPIXEL)
