"""The config of `kalie/Manipulation-v0`, apart from the simulator, so that choosing it costs no import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ...core.ranges import at_least
from .base import EnvConfig

TaskName = Literal["sweep", "drawer", "towel", "pour", "unplug"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class ManipulationConfig(EnvConfig):
    """A task of the arm as turns.

    Attributes:
        task: which of the five.
        split: whose object families, textures and look.
        variation: another split whose range of lights, camera poses and clutter goes with them; null for the
            split's own.
        tries: how often the agent may act before the episode is truncated.
        step_cost: taken from the reward of every turn.
        image_size: side of the picture the agent sees, pixels; the arm itself uses the camera's own.
        thoughts: whether the answer is asked for thoughts before its keypoints.
        instructions: whether observations explain the answer's form.
    """

    env_id: ClassVar[str] = "kalie/Manipulation-v0"
    task: TaskName = "sweep"
    split: Split = "train"
    variation: Split | None = None
    tries: int = 3
    step_cost: float = 0.0
    image_size: int = 256
    thoughts: bool = True
    instructions: bool = True

    def __post_init__(self) -> None:
        at_least(self, 1, "tries")
        at_least(self, 0, "step_cost")
        at_least(self, 16, "image_size")

    @property
    def shows_images(self) -> bool:
        """The camera's."""
        return True
