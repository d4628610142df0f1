"""Leaving out a part of an object that no keypoint needs: a chest with fewer drawers, a narrower front.

The maps h stretch an object but keep its parts; a cut takes parts away. It runs along the way of the motion
and takes what lies beside it, so that where the motion comes from and goes to looks as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..affordance.directions import names_middle
from ..affordance.schema import KeypointName
from ..affordance.units import to_pixel
from ..core.ranges import within
from .scene import Instance, Scene

FloatArray = NDArray[np.float64]
# The ends of the motion's way about the target, in the order in which they are looked for.
_WAYS: tuple[tuple[KeypointName, KeypointName], ...] = (
    ("pre_contact", "target"),
    ("target", "post_contact"),
)


@dataclass(frozen=True)
class CutConfig:
    """How objects are cut.

    Attributes:
        share: share of images in which the object that holds the target is cut.
        margin: least distance from the target to a cut, as a share of the object's extent across the way.
        least: a cut that would take less than this share of the extent is left out.
    """

    share: float = 0.0
    margin: float = 0.18
    least: float = 0.08

    def __post_init__(self) -> None:
        within(self, 0, 1, "share", "margin", "least")


TASK_CUTS: Mapping[str, CutConfig] = {"drawer": CutConfig(share=0.5), "towel": CutConfig(share=0.4)}
"""Tasks whose target is one of several like parts of an object, or needs not all of them, by name."""


def cut(scene: Scene, config: CutConfig, rng: np.random.Generator) -> Scene:
    """The scene without what lies beyond a random line beside the motion's way, or as it is.

    Instructions that mean the middle one of several parts forbid it: of two parts none is in the middle.

    Args:
        scene: the analysed photo.
        config: how far and how often.
        rng: of the draws.
    """
    if config.share == 0 or rng.random() >= config.share or names_middle(scene.parent.instruction):
        return scene
    way = _way(scene)
    if way is None:
        return scene
    group, target, along = way
    across = np.array([-along[1], along[0]]) * rng.choice((-1.0, 1.0))
    ys, xs = np.nonzero(scene.groups[group])
    beside = (np.stack([xs, ys], axis=1) - target) @ across
    extent, most = float(np.ptp(beside)), float(beside.max())
    nearest, farthest = config.margin * extent, most - config.least * extent
    if nearest >= farthest:
        return scene
    line = rng.uniform(nearest, farthest)
    y, x = np.mgrid[: scene.plate.shape[0], : scene.plate.shape[1]]
    kept = (x - target[0]) * across[0] + (y - target[1]) * across[1] <= line
    groups = tuple(mask & kept if k == group else mask for k, mask in enumerate(scene.groups))
    instances = (_cut(item, kept) if item.group == group else item for item in scene.instances)
    return replace(scene, groups=groups, instances=tuple(item for item in instances if item.mask.any()))


def _way(scene: Scene) -> tuple[int, FloatArray, FloatArray] | None:
    """The group that holds the target, the target (2,) px, and the motion's unit direction (2,) there."""
    height, width = scene.plate.shape[:2]
    points = {name: to_pixel(point, width, height) for name, point in scene.parent.affordance.keypoints()}
    anchor = scene.anchors.get("target")
    if anchor is None or anchor.group is None or anchor.pivot is not None:
        return None
    for tail, head in _WAYS:
        if tail in points and head in points:
            way = points[head] - points[tail]
            length = float(np.linalg.norm(way))
            if length > 0:
                return anchor.group, points["target"], way / length
    return None


def _cut(instance: Instance, kept: NDArray[np.bool_]) -> Instance:
    mask = instance.mask & kept
    return replace(instance, mask=mask, edges=np.where(kept, instance.edges, np.float32(0)))
