"""What an algorithm is to the trainer, and what the trainer gives it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from accelerate import Accelerator

from .base_policy import BasePolicy
from .collect import Collector
from .envs.base import EnvConfig
from .executors import RolloutJob
from .generation import Capability
from .policy import Policy, language_of
from .values import Valuer


@dataclass(frozen=True)
class Tools:
    """What an algorithm works with.

    Attributes:
        policy: that is trained.
        collector: runs the training's episodes.
        accelerator: for `Learner`s.
        job: the environment, the model and the sampling.
        env: the environment's config.
        seed: of the job.
        updates: planned in all.
    """

    policy: BasePolicy
    collector: Collector
    accelerator: Accelerator
    job: RolloutJob
    env: EnvConfig
    seed: int
    updates: int

    @property
    def language(self) -> Policy:
        """The policy, of an algorithm that needs a language model."""
        return language_of(self.policy)

    @property
    def temperature(self) -> float:
        """Of the sampling."""
        return self.job.generator.temperature

    @property
    def window(self) -> int:
        """Of the prompts."""
        return self.job.model.window

    def rng(self, purpose: str, update: int) -> np.random.Generator:
        """The generator of all draws for a purpose in an update: there is no random state to save."""
        words = (self.seed, zlib.crc32(purpose.encode()), update)
        return np.random.default_rng(np.random.SeedSequence(words))


class Algorithm(Protocol):
    """Improves a policy; `collect` and `update` are called in turn."""

    needs: ClassVar[tuple[Capability, ...]]
    """What its generator must give."""

    counts_turns: bool
    """Whether its collections end with a number of turns."""

    valuer: Valuer | None
    """Its critic, which is saved and whose values are stored with evaluations; None without one."""

    def collect(self, update: int) -> dict[str, float]:
        """Run episodes for an update; figures about them."""
        ...

    def update(self, update: int) -> dict[str, float]:
        """Change weights; figures about that."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that later calls depend on, between two updates."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        ...
