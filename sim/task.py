"""What a benchmark task is: it builds a scene, words an instruction, knows the true keypoints, and judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from ..affordance.schema import Affordance, KeypointName
from ..control.plan import Primitive
from ..perception.frame import FloatArray
from .objects import Category, ObjectFamily, PlacedObject
from .world import World

TaskName = Literal["sweep", "drawer", "towel", "pour", "unplug"]


@dataclass(frozen=True)
class Scene:
    """One built scene of one task.

    Attributes:
        objects: by role, e.g. "tool", "target", "distractor_0".
        instruction: free-form text; it decides which of several possible goals is meant.
        goal: the task's own record of what the instruction asks, for ground truth and judgement.
    """

    objects: Mapping[str, PlacedObject]
    instruction: str
    goal: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class GroundTruth:
    """True keypoints in the base frame (metres), and the affordance scalars.

    `closing_axis` (3,) is the jaws' closing direction in the base frame; the camera turns it into the
    image-plane `grasp_yaw`.
    """

    points: Mapping[KeypointName, FloatArray]
    scalars: Affordance
    closing_axis: FloatArray | None = None


@dataclass(frozen=True)
class Judgement:
    """Success read from simulator state only, with the measured quantities behind it."""

    success: bool
    measures: Mapping[str, float]


@dataclass(frozen=True)
class SceneVariation:
    """How much a scene varies: one split's appearance and camera, drawn by the episode's generator.

    Attributes:
        textures: whether the table and objects get random procedural textures (else the lab's fixed look).
        lights: whether light direction and strength vary.
        camera_jitter: (metres, radians) standard deviation of the camera pose.
        clutter: (least, most) number of distractor objects.
    """

    textures: bool
    lights: bool
    camera_jitter: tuple[float, float]
    clutter: tuple[int, int]


# Distractors of most tasks are smaller than anything that the instruction can mean.
SMALL_CLUTTER = (0.015, 0.032)


class Task(Protocol):
    """One of the five benchmark tasks."""

    @property
    def name(self) -> TaskName:
        """The task's name."""
        ...

    @property
    def primitive(self) -> Primitive:
        """The motion primitive that carries it out."""
        ...

    @property
    def categories(self) -> tuple[Category, ...]:
        """Of the objects that a scene needs one family each of."""
        ...

    @property
    def clutter_radius(self) -> tuple[float, float]:
        """How far distractors reach from their middle, metres: unlike what the task is about."""
        ...

    def build(
        self, world: World, families: Mapping[Category, ObjectFamily], rng: np.random.Generator
    ) -> Scene:
        """Place the task's objects on the table; every true keypoint is in the camera's view."""
        ...

    def ground_truth(self, world: World, scene: Scene) -> GroundTruth:
        """True keypoints of the scene as it is now."""
        ...

    def judge(self, world: World, scene: Scene) -> Judgement:
        """Whether the task's goal holds in the present simulator state."""
        ...
