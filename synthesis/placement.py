"""Drawing the maps h of one scene so that the objects will most likely stand free of each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .binding import tool_group
from .checks import CheckConfig, middle, turn_between
from .scene import Scene, told_apart
from .transform import FloatArray, Transform, TransformConfig, random_transform

_STRIDE = 3  # px between the points by which an object's new place is judged
_TRIES = 12
_OFF = 0.015  # share of the sampled points that may lie where they should not


@dataclass(frozen=True)
class Ranges:
    """Ranges of h for a loose tool, and for everything else."""

    tool: TransformConfig
    others: TransformConfig


def draw_transforms(
    scene: Scene, ranges: Ranges, checks: CheckConfig, rng: np.random.Generator
) -> list[Transform]:
    """One random h per group; groups that the image border cuts stay.

    Large groups are placed first, each tried a few times until sampled points of it lie in the image, on the
    surface it lay on, off the groups placed before, and on the sides of them that the instruction needs. This
    only saves whole draws: the filters judge the outcome exactly.

    Args:
        scene: the analysed photo.
        ranges: of the random maps.
        checks: thresholds of the filters.
        rng: of the draws.
    """
    transforms = [Transform.identity() for _ in scene.groups]
    tool = tool_group(scene.anchors)
    occupied = np.zeros(scene.plate.shape[:2], np.bool_)
    sides = told_apart(scene)
    middles = np.array([middle(group) for group in scene.groups])
    placed: dict[int, FloatArray] = {}
    order = sorted(range(len(scene.groups)), key=lambda k: (not scene.fixed[k], -int(scene.groups[k].sum())))
    for index in order:
        group = scene.groups[index]
        points = _sampled(group)
        chosen = ranges.tool if index == tool else ranges.others
        told = [pair for pair in sides if index in pair and (pair[0] in placed or pair[1] in placed)]

        def keeps_sides(h: Transform, index: int = index, told: Sequence[tuple[int, int]] = told) -> bool:
            here = placed | {index: h.points(middles[index])[0]}
            return all(
                turn_between(middles[a] - middles[b], here[a] - here[b]) < checks.turn_deg for a, b in told
            )

        if not scene.fixed[index]:
            transforms[index] = _fitting(scene, group, points, chosen, occupied, keeps_sides, rng)
        placed[index] = transforms[index].points(middles[index])[0]
        occupied |= _covered(transforms[index].points(points), occupied.shape, checks.gap_px)
    return transforms


def _fitting(
    scene: Scene,
    group: NDArray[np.bool_],
    points: FloatArray,
    ranges: TransformConfig,
    occupied: NDArray[np.bool_],
    accept: Callable[[Transform], bool],
    rng: np.random.Generator,
) -> Transform:
    """The first draw that fits, else the last one."""
    labels = scene.surfaces.labels
    under = np.bincount(labels[group])
    elsewhere = labels != under.argmax()
    high = labels.shape[1] - 1, labels.shape[0] - 1
    hanging = 1 - float(under.max() / under.sum())  # what lay on another surface on the photo already
    transform = random_transform(ranges, group, rng)
    for _ in range(_TRIES):
        x, y = np.round(transform.points(points)).astype(np.intp).T
        inside = min(x.min(), y.min()) >= 1 and x.max() < high[0] and y.max() < high[1]
        free = inside and occupied[y, x].mean() < _OFF and elsewhere[y, x].mean() < hanging + _OFF
        if free and accept(transform):
            break
        transform = random_transform(ranges, group, rng)
    return transform


def _sampled(group: NDArray[np.bool_]) -> FloatArray:
    """Every third pixel of a mask both ways, as (N, 2) points; all of a small one."""
    ys, xs = np.nonzero(group)
    grid = (xs % _STRIDE == 0) & (ys % _STRIDE == 0)
    if grid.sum() < 8:
        grid = np.ones_like(grid)
    return np.stack([xs[grid], ys[grid]], axis=1).astype(np.float64)


def _covered(points: FloatArray, shape: tuple[int, ...], gap_px: int) -> NDArray[np.bool_]:
    """Pixels within reach of the points (N, 2): the object's new place with a gap around it."""
    x, y = np.round(points).astype(np.intp).T
    visible = (x >= 0) & (y >= 0) & (x < shape[1]) & (y < shape[0])
    out = np.zeros(shape, np.uint8)
    out[y[visible], x[visible]] = 1
    reach = _STRIDE + gap_px
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(out, kernel) > 0
