"""Scenes ready to be photographed and acted on: objects, clutter, look, camera, ground truth in the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from ..affordance.schema import Affordance
from ..affordance.units import from_pixel
from ..perception.frame import FloatArray, RgbdFrame
from .appearance import VARIATIONS, dress
from .clutter import scatter
from .objects import Category, ObjectFamily, Split
from .registry import Registry
from .task import GroundTruth, Scene, SceneVariation, Task
from .world import World

SETTLE_SECONDS = 0.5
# Scenes drawn before giving up on one whose keypoints are all in view.
ATTEMPTS = 20


class StagingError(ValueError):
    """No usable scene could be drawn; the message says for which task and families."""


@dataclass(frozen=True)
class StagedScene:
    """One scene as an arm finds it.

    Attributes:
        task: that built it.
        split: whose families and look it has.
        seed: it was drawn from.
        scene: its objects and instruction.
        frame: what the camera sees.
        truth: keypoints in the base frame.
        affordance: the same in the image: what an oracle answers.
        families: names by category.
    """

    task: Task
    split: Split
    seed: int
    scene: Scene
    frame: RgbdFrame
    truth: GroundTruth
    affordance: Affordance
    families: Mapping[Category, str]


@dataclass(frozen=True)
class Arrangement:
    """A scene in the world, not drawn yet.

    Attributes:
        scene: its objects and instruction.
        families: names by category.
    """

    scene: Scene
    families: Mapping[Category, str]


def stage(
    world: World,
    task: Task,
    split: Split,
    seed: int,
    registry: Registry | None = None,
    variation: SceneVariation | None = None,
) -> StagedScene:
    """Reset the world, build one scene and draw it; the same arguments give the same scene, bit for bit.

    Args:
        world: is reset.
        task: what to build.
        split: which families and textures.
        seed: of this scene.
        registry: of families; the project's own by default.
        variation: of the look; the split's own by default.

    Raises:
        StagingError: no scene with all keypoints in view was found.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        try:
            arranged = arrange(world, task, split, seed, registry, variation, attempt)
            frame, truth = world.render(), task.ground_truth(world, arranged.scene)
            seen = in_image(truth, frame)
        except ValueError as error:  # no room for the objects, or a keypoint out of view
            reason = str(error)
            continue
        return StagedScene(task, split, seed, arranged.scene, frame, truth, seen, arranged.families)
    raise StagingError(f"{task.name}, split {split}, seed {seed}: no usable scene: {reason}")


def arrange(
    world: World,
    task: Task,
    split: Split,
    seed: int,
    registry: Registry | None = None,
    variation: SceneVariation | None = None,
    attempt: int = 0,
) -> Arrangement:
    """Reset the world and build one scene, settled and dressed, without drawing it.

    Args:
        world: is reset.
        task: what to build.
        split: which families and textures.
        seed: of this scene.
        registry: of families; the project's own by default.
        variation: of the look; the split's own by default.
        attempt: another scene of the same seed.

    Raises:
        ValueError: the drawn objects find no place.
    """
    registry = registry or Registry()
    variation = variation or VARIATIONS[split]
    rng = np.random.default_rng([seed, crc32(f"{task.name}/{split}".encode()), attempt])
    families: dict[Category, ObjectFamily] = {
        category: _choose(registry, category, split, rng) for category in task.categories
    }
    world.reset()
    scene = task.build(world, families, rng)
    world.settle(SETTLE_SECONDS)
    scene = _with_clutter(world, task, scene, registry, split, variation, rng)
    dress(world, variation, split, rng)
    return Arrangement(scene, {category: family.name for category, family in families.items()})


def arrange_first(
    world: World, task: Task, split: Split, seed: int, registry: Registry | None = None
) -> Arrangement:
    """The first arrangement of a seed whose objects find a place.

    Raises:
        StagingError: none does.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        try:
            return arrange(world, task, split, seed, registry, attempt=attempt)
        except ValueError as error:  # no room for the objects
            reason = str(error)
    raise StagingError(f"{task.name}, split {split}, seed {seed}: no usable scene: {reason}")


def _choose(registry: Registry, category: Category, split: Split, rng: np.random.Generator) -> ObjectFamily:
    families = registry.families(category, split)
    return families[int(rng.integers(len(families)))]


def _with_clutter(
    world: World,
    task: Task,
    scene: Scene,
    registry: Registry,
    split: Split,
    variation: SceneVariation,
    rng: np.random.Generator,
) -> Scene:
    least, most = variation.clutter
    count = int(rng.integers(least, most + 1))
    if count == 0:
        return scene
    families = registry.families("clutter", split)
    placed = scatter(world, task.ground_truth(world, scene), families, task.clutter_radius, count, rng)
    world.settle(SETTLE_SECONDS)
    clutter = {f"distractor_{index}": thing for index, thing in enumerate(placed)}
    return replace(scene, objects={**scene.objects, **clutter})


def in_image(truth: GroundTruth, frame: RgbdFrame) -> Affordance:
    """Ground truth as keypoints of a frame.

    Raises:
        InvalidKeypoints: a keypoint is out of view.
    """
    height, width = frame.depth.shape
    names = list(truth.points)
    pixels = frame.project(np.array([truth.points[name] for name in names]))
    points = {name: from_pixel(pixel, width, height) for name, pixel in zip(names, pixels, strict=True)}
    yaw = truth.scalars.grasp_yaw
    if truth.closing_axis is not None and "grasp" in truth.points:
        yaw = image_yaw(frame, truth.points["grasp"], truth.closing_axis)
    return replace(truth.scalars, **points, grasp_yaw=yaw)


def image_yaw(frame: RgbdFrame, point: FloatArray, axis: FloatArray) -> float:
    """The image direction of a line through a point (3,) along an axis (3,), radians in (-pi/2, pi/2]."""
    ends = frame.project(np.array([point - 0.01 * axis, point + 0.01 * axis]))
    du, dv = ends[1] - ends[0]
    return line_angle(math.atan2(dv, du))


def line_angle(angle: float) -> float:
    """An angle modulo pi, in (-pi/2, pi/2]."""
    folded = math.remainder(angle, math.pi)
    return math.pi / 2 if folded <= -math.pi / 2 else folded
