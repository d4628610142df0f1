"""Photographs with labels as a careful person would click them, and the floor that clicks at random."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..affordance.labels import LabelledImage, Provenance
from ..affordance.schema import Affordance, Keypoint, KeypointName
from ..affordance.units import from_pixel, to_pixel
from ..core.ranges import at_least
from ..perception.frame import FloatArray, RgbdFrame
from ..perception.segmentation import Segmenter, TabletopSegmenter
from .objects import Split
from .registry import Registry
from .staging import line_angle, stage
from .task import SceneVariation, Task
from .world import World


@dataclass(frozen=True)
class ClickNoise:
    """How exact an annotator is.

    Attributes:
        pixels: standard deviation of a click at an image side of 256, each axis.
        yaw: standard deviation of the grasp direction, radians.
    """

    pixels: float = 1.5
    yaw: float = 0.05

    def __post_init__(self) -> None:
        at_least(self, 0, "pixels", "yaw")


@dataclass(frozen=True)
class Photographer:
    """Makes labelled photos of a task.

    Attributes:
        world: where scenes are staged.
        task: what they show.
        split: whose families and look.
        registry: of families.
        noise: of the clicks.
        variation: of the look; the split's own when None.
        segmenter: finds the masks in colour and depth, as on a real robot; no simulator masks are used.
    """

    world: World
    task: Task
    split: Split = "train"
    registry: Registry = field(default_factory=Registry)
    noise: ClickNoise = field(default_factory=ClickNoise)
    variation: SceneVariation | None = None
    segmenter: Segmenter = field(default_factory=TabletopSegmenter)

    def photograph(
        self, count: int, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> list[LabelledImage]:
        """Photos number 0 .. count - 1 of a seed; the first n of a longer series are the same n photos.

        Args:
            count: how many.
            seed: of the series.
            progress: called with (done, count).

        Raises:
            StagingError: no scene can be staged.
        """
        photos = []
        for index in range(count):
            photos.append(self.photo(index, seed))
            if progress is not None:
                progress(index + 1, count)
        return photos

    def photo(self, index: int, seed: int) -> LabelledImage:
        """Photo number `index` of a seed; it depends on these two alone.

        Raises:
            StagingError: no scene can be staged.
        """
        rng = np.random.default_rng([seed, index])
        scene_seed = int(rng.integers(2**31))
        staged = stage(self.world, self.task, self.split, scene_seed, self.registry, self.variation)
        name = f"{self.task.name}_{self.split}_{seed}_{index:04d}"
        return LabelledImage(
            id=name,
            rgb=staged.frame.rgb,
            instruction=staged.scene.instruction,
            affordance=clicked(staged.affordance, staged.frame.rgb.shape[:2], self.noise, rng),
            provenance=Provenance("photo", name, scene_seed),
            masks=self.segmenter.segment(staged.frame).instance_map(),
            group="+".join(staged.families[category] for category in self.task.categories),
        )


def clicked(
    affordance: Affordance, shape: tuple[int, ...], noise: ClickNoise, rng: np.random.Generator
) -> Affordance:
    """An affordance with the noise of human clicks; points stay inside the image.

    Args:
        affordance: the truth.
        shape: (height, width) of the image.
        noise: how much.
        rng: source of all draws.
    """
    height, width = shape[0], shape[1]
    points: dict[KeypointName, Keypoint] = {}
    for name, point in affordance.keypoints():
        pixel = to_pixel(point, width, height) + noise.pixels * width / 256 * rng.standard_normal(2)
        points[name] = from_pixel(_inside(pixel, width, height), width, height)
    yaw = affordance.grasp_yaw
    if yaw is not None:
        yaw = line_angle(yaw + noise.yaw * float(rng.standard_normal()))
    return replace(affordance, **points, grasp_yaw=yaw)


def _inside(pixel: FloatArray, width: int, height: int) -> FloatArray:
    return np.clip(pixel, -0.5, np.array([width, height]) - 0.51)


def random_affordance(
    frame: RgbdFrame, template: Affordance, rng: np.random.Generator, segmenter: Segmenter | None = None
) -> Affordance:
    """The floor of every table: random points on random objects, everything else as the template has it.

    Grasp and function lie on one object, the target on another where there is one, the free points anywhere.

    Args:
        frame: the picture.
        template: says which keypoints are needed, and gives the scalars but the yaw.
        rng: source of all draws.
        segmenter: finds the objects.
    """
    found = (segmenter or TabletopSegmenter()).segment(frame)
    masks = [np.argwhere(instance.mask)[:, ::-1] for instance in found.instances]
    height, width = frame.depth.shape
    anywhere = np.argwhere(np.ones((height, width), bool))[:, ::-1]
    order = rng.permutation(len(masks))
    held = masks[order[0]] if masks else anywhere
    other = masks[order[-1]] if masks else anywhere
    areas: dict[KeypointName, NDArray[np.intp]] = {
        "grasp": held, "function": held, "target": other, "pre_contact": anywhere, "post_contact": anywhere
    }  # fmt: skip
    points: dict[KeypointName, Keypoint] = {}
    for name, _ in template.keypoints():
        pixel = areas[name][int(rng.integers(len(areas[name])))]
        points[name] = from_pixel(pixel.astype(np.float64), width, height)
    yaw = line_angle(float(rng.uniform(-math.pi / 2, math.pi / 2)))
    return replace(template, **points, grasp_yaw=None if template.grasp_yaw is None else yaw)
