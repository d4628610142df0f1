"""Filtered behaviour cloning: imitate the best share of all episodes so far (ArCHer's online baseline)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ...core.ranges import at_least, within
from ..algorithm import Tools
from ..generation import Capability
from ..learner import Learner, OptimizerConfig, mean_metrics
from ..replay import ReplayBuffer
from ..rollout import Finished
from ..samples import make_samples, step_batches
from .sft import clone

# ------------------------------------------------------------------ config


@dataclass(frozen=True)
class FilteredBCConfig:
    """Online filtered behaviour cloning.

    Attributes:
        episodes: collected for an update.
        capacity: turns that are remembered; the oldest episodes go first.
        share: of the remembered episodes, by return, that is imitated (ties with the last are too).
        only_wins: whether an episode must also be a success.
        step_turns: of an optimiser step.
        micro_turns: of a forward pass.
        steps: optimiser steps of an update.
        optimizer: how weights are moved.
    """

    episodes: int = 128
    capacity: int = 100_000
    share: float = 0.1
    only_wins: bool = False
    step_turns: int = 256
    micro_turns: int = 64
    steps: int = 3
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-3))

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "capacity", "step_turns", "micro_turns", "steps")
        within(self, 0, 1, "share")


# ------------------------------------------------------------------ selection


def best_episodes(finished: tuple[Finished, ...], share: float, only_wins: bool) -> list[Finished]:
    """The episodes whose return reaches the (1 - share) quantile of all."""
    if not finished:
        return []
    returns = [item.trajectory.episode_return for item in finished]
    bar = float(np.quantile(returns, 1 - share))
    best = [item for item, value in zip(finished, returns, strict=True) if value >= bar]
    return [item for item in best if item.trajectory.success or not only_wins]


# ------------------------------------------------------------------ algorithm


class FilteredBC:
    """Imitates its own best episodes."""

    needs: ClassVar[tuple[Capability, ...]] = ("token_ids", "own_weights")
    counts_turns = False
    valuer = None

    def __init__(self, config: FilteredBCConfig, tools: Tools) -> None:
        self._config = config
        self._tools = tools
        self._learner = Learner(tools.policy, config.optimizer, tools.accelerator)
        self._buffer = ReplayBuffer(config.capacity)

    def collect(self, update: int) -> dict[str, float]:
        """Add episodes to what is remembered."""
        collected = self._tools.collector.collect(f"train-{update:06d}", self._config.episodes)
        self._buffer.add(collected.finished)
        return collected.metrics

    def update(self, update: int) -> dict[str, float]:
        """Some optimiser steps on turns of the best episodes."""
        config, tools = self._config, self._tools
        rate = self._learner.set_rate(update, tools.updates)
        best = best_episodes(self._buffer.episodes, config.share, config.only_wins)
        samples = [s for item in best for s in make_samples(item.trajectory, tools.window)]
        figures = {"learning_rate": rate, "bc/kept_episodes": float(len(best))}
        rng = tools.rng("filtered_bc", update)
        batches = step_batches(samples, config.step_turns, config.micro_turns, rng, epochs=None)
        parts = clone(self._learner, tools.policy, itertools.islice(batches, config.steps))
        return figures | mean_metrics(parts, "bc/")

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, remembered episodes, place in the stream."""
        return {
            "policy": self._tools.policy.trained(),
            "learner": self._learner.state_dict(),
            "buffer": self._buffer.state_dict(),
            "collector": self._tools.collector.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        self._tools.policy.load_trained(state["policy"])
        self._learner.load_state_dict(state["learner"])
        self._buffer.load_state_dict(state["buffer"])
        self._tools.collector.load_state_dict(state["collector"])
