"""Parts that an object did not have: a plate under a rack, a base that sticks out beside a host.

The maps h stretch an object and cuts take from it; a graft adds to it. It lies under the object and reaches
out beside it, so that no keypoint is hidden and none has another meaning than before. It teaches that what
hangs together is one thing, whatever its parts look like. Loose tools get none: their ends mean something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.ranges import above, at_least, rising, within
from .distractors import BoolArray, Drawn, draw_pieces, random_outline
from .transform import principal_axes

_TRIES = 8


@dataclass(frozen=True)
class GraftConfig:
    """How parts are added.

    Attributes:
        share: share of objects that get one.
        size: smallest and largest half extent along and across, as a share of the object's length.
        gap_px: px kept free to other objects.
    """

    share: float = 0.0
    size: tuple[float, float] = (0.12, 0.5)
    gap_px: int = 6

    def __post_init__(self) -> None:
        within(self, 0, 1, "share")
        above(self, 0, "size")
        rising(self, "size")
        at_least(self, 0, "gap_px")


TASK_GRAFTS: Mapping[str, GraftConfig] = {"towel": GraftConfig(share=0.6)}
"""Tasks whose objects may be built in many ways, by the task's name."""


def random_graft(
    config: GraftConfig, host: BoolArray, taken: BoolArray, rng: np.random.Generator
) -> Drawn | None:
    """A part under the host, as drawn beside it; None where none is wanted or none fits.

    Args:
        config: ranges.
        host: (H, W), where the object is.
        taken: (H, W), where something else is, or nothing may lie.
        rng: of the draws.
    """
    if rng.random() >= config.share or not host.any():
        return None
    points = np.argwhere(host)[:, ::-1].astype(np.float64)
    axes = principal_axes(points)
    length = float(np.ptp(points @ axes[0]))
    kernel = np.ones((2 * config.gap_px + 1, 2 * config.gap_px + 1), np.uint8)
    blocked = cv2.dilate(taken.astype(np.uint8), kernel) > 0
    for _ in range(_TRIES):
        extents = rng.uniform(*config.size, size=2) * length
        shape = _part(host.shape, points[int(rng.integers(len(points)))], axes, extents, rng)
        if not blocked[shape.cover > 0].any():
            return Drawn(np.where(host, np.float32(0), shape.cover), shape.relief)
    return None


def _part(
    shape: tuple[int, ...],
    centre: NDArray[np.float64],
    axes: NDArray[np.float64],
    extents: NDArray[np.float64],
    rng: np.random.Generator,
) -> Drawn:
    """A plate with square ends along the object's axes, or any outline."""
    if rng.random() < 0.7:
        corners: Sequence[tuple[int, int]] = ((1, 1), (1, -1), (-1, -1), (-1, 1))
        outline = np.array(corners) * extents @ axes
    else:
        outline = random_outline(float(extents.max()), (0.4, 1.0), rng)
    height = rng.uniform(-0.1, 0.1, 2) * float(extents.min())
    return draw_pieces(shape, centre, [outline], height, rng)
