"""The loop around an algorithm: collect, update, watch, evaluate, save; a kill at any instant costs little.

An update's draws all come from (seed, update), so between two updates there is no state but the weights, the
optimisers', the place in the stream of episodes, and what the algorithm remembers; a run that goes on from a
checkpoint ends bit for bit (on a CPU) as if it had never stopped.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor

from ..core.checkpoint import CheckpointStore, capture_rng, load_tensors, restore_rng
from ..core.config import ConfigError
from ..core.files import atomic_path
from ..core.ranges import at_least
from .algorithm import Algorithm
from .collect import Collected, Collector
from .policy import Policy
from .watch import CollapseWatch, WatchConfig

log = logging.getLogger(__name__)

WEIGHTS = "policy.safetensors"
"""The trained weights in a run's folders `model` (the last) and `best` (the best evaluated)."""


@dataclass(frozen=True, kw_only=True)
class SingleTrainerConfig:
    """One process.

    Attributes:
        updates: of the algorithm.
        turns: training ends once so many turns were taken; 0 leaves it to `updates`.
        evaluate_every: updates between two evaluations; 0 for none.
        evaluation_episodes: of one.
        evaluation_temperature: of its sampling; 0 for the most probable tokens.
        checkpoint_every: updates between two checkpoints.
        keep_trajectories: whether the training's episodes are stored, as the evaluations' are.
        precision: of the arithmetic; bf16 keeps the weights as they are.
        watch: over collapse.
    """

    updates: int = 50
    turns: int = 0
    evaluate_every: int = 10
    evaluation_episodes: int = 100
    evaluation_temperature: float = 0.0
    checkpoint_every: int = 5
    keep_trajectories: bool = False
    precision: Literal["no", "bf16"] = "no"
    watch: WatchConfig = field(default_factory=WatchConfig)

    def __post_init__(self) -> None:
        at_least(self, 1, "updates", "evaluation_episodes", "checkpoint_every")
        at_least(self, 0, "turns", "evaluate_every", "evaluation_temperature")

    def accelerator(self) -> Accelerator:
        """What prepares models and optimisers.

        Raises:
            ConfigError: the number of processes is not what the config means.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError("several processes were started, but trainer=single; use trainer=ddp or fsdp")
        return Accelerator(mixed_precision=self.precision, cpu=not torch.cuda.is_available())


@dataclass(frozen=True, kw_only=True)
class DDPTrainerConfig(SingleTrainerConfig):
    """Several processes: `torchrun --nproc-per-node=N -m kalie.cli.main train trainer=ddp …`.

    Each process has a copy of the model and collects its own episodes; an update averages over all.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.turns or self.watch.stop:
            raise ValueError("turns and watch.stop would end one process before another; use updates")

    def accelerator(self) -> Accelerator:
        """See there."""
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            raise ConfigError(
                "trainer=ddp needs several processes: torchrun --nproc-per-node=N -m kalie.cli.main train …"
            )
        return Accelerator(mixed_precision=self.precision, cpu=not torch.cuda.is_available())


TrainerConfig: TypeAlias = SingleTrainerConfig | DDPTrainerConfig
TRAINERS: dict[str, type] = {"single": SingleTrainerConfig, "ddp": DDPTrainerConfig}
"""The choices of the config group `trainer`."""

Log: TypeAlias = Callable[[Mapping[str, float], int], None]
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    Attributes:
        updates: made in all, before a resume included.
        stopped: why it ended early; empty if it did not.
        best_return: mean return of the best evaluation; -inf without any.
        best_update: when that was.
    """

    updates: int
    stopped: str
    best_return: float
    best_update: int


class Trainer:
    """Runs an algorithm to the end.

    Args:
        config: how long and how often.
        algorithm: that improves the policy.
        policy: that it improves.
        collector: of the training's episodes.
        evaluate: runs evaluation episodes with the present policy; None for none.
        folder: of the run: gets `checkpoints`, `model` and `best`.
        main: whether this process writes.
    """

    def __init__(
        self,
        config: TrainerConfig,
        algorithm: Algorithm,
        policy: Policy,
        collector: Collector,
        evaluate: Callable[[int], Collected] | None,
        folder: Path,
        main: bool = True,
    ) -> None:
        self._config = config
        self._algorithm = algorithm
        self._policy = policy
        self._collector = collector
        self._evaluate = evaluate
        self._folder = folder
        self._main = main
        self._store = CheckpointStore(folder / "checkpoints")
        self._watch = CollapseWatch(config.watch)
        self._update = 0
        self._stopped = ""
        self._best_return, self._best_update = -math.inf, -1

    def train(self, log_metrics: Log, progress: Progress | None = None) -> Outcome:
        """Train to the end, from the newest checkpoint if there is one.

        Args:
            log_metrics: gets each update's figures.
            progress: called with (updates done, updates in all).

        Raises:
            NotFiniteError: a loss or gradient is not finite.
            RolloutError: an environment broke its contract, or failed too often.
        """
        self._resume()
        if self._update == 0 and self._evaluate is not None:
            log_metrics(self._look(), 0)
        while not self._finished():
            metrics = self._algorithm.collect(self._update)
            metrics |= self._algorithm.update(self._update)
            self._update += 1
            self._note_collapse(metrics)
            last = self._finished()
            every = self._config.evaluate_every
            if self._evaluate is not None and (last or self._update % every == 0):
                metrics |= self._look()
            if last or self._update % self._config.checkpoint_every == 0:
                self._save()
            log_metrics(metrics, self._update)
            if progress is not None:
                progress(self._update, self._config.updates)
        self._write("model")
        return Outcome(self._update, self._stopped, self._best_return, self._best_update)

    def _finished(self) -> bool:
        enough = bool(self._config.turns) and self._collector.turns >= self._config.turns
        return self._update >= self._config.updates or enough or bool(self._stopped)

    def _note_collapse(self, metrics: Mapping[str, float]) -> None:
        found = self._watch.look(metrics)
        if found and self._config.watch.stop:
            self._stopped = "; ".join(found)
            log.warning("training stops after update %d: %s", self._update, self._stopped)

    def _look(self) -> dict[str, float]:
        """Evaluate, and keep the weights if they are the best so far."""
        assert self._evaluate is not None  # noqa: S101  the callers have seen to it
        metrics = self._evaluate(self._update).metrics
        value = metrics.get("rollout/return", -math.inf)
        if value > self._best_return:
            self._best_return, self._best_update = value, self._update
            self._write("best")
        return {f"evaluation/{k.removeprefix('rollout/')}": v for k, v in metrics.items()}

    def _write(self, name: str) -> None:
        if self._main:
            save_weights(self._policy.trained(), self._folder / name / WEIGHTS)

    def _save(self) -> None:
        if self._main:
            self._store.save(self._update, self.state_dict())

    def _resume(self) -> None:
        newest = self._store.load_newest()
        if newest is not None:
            self.load_state_dict(newest.state)

    def state_dict(self) -> dict[str, Any]:
        """Everything as a tree for a checkpoint."""
        return {
            "algorithm": self._algorithm.state_dict(),
            "watch": self._watch.state_dict(),
            "update": self._update,
            "stopped": self._stopped,
            "best": [self._best_return, self._best_update],
            "rng": capture_rng(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        self._algorithm.load_state_dict(state["algorithm"])
        self._watch.load_state_dict(state["watch"])
        self._update, self._stopped = state["update"], state["stopped"]
        self._best_return, self._best_update = state["best"]
        restore_rng(state["rng"])


def save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write trained weights as safetensors, whole or not at all."""
    with atomic_path(path) as temporary:
        save_file({name: weight.cpu().contiguous() for name, weight in weights.items()}, temporary)


def load_weights(policy: Policy, path: Path) -> None:
    """Take over weights that `save_weights` wrote.

    Raises:
        CheckpointError: the file is damaged, or no safetensors file.
        ValueError: the weights are of another model.
    """
    policy.load_trained(load_tensors(path))
