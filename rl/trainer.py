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

from ..core.checkpoint import CheckpointError, CheckpointStore, capture_rng, restore_rng, save_tensors
from ..core.config import ConfigError
from ..core.ranges import at_least
from .algorithm import Algorithm
from .base_policy import BasePolicy
from .collect import Collected, Collector
from .processes import gather
from .sharding import ShardingAccelerator
from .watch import CollapseWatch, WatchConfig

log = logging.getLogger(__name__)

CRITIC = "critic.safetensors"
"""What the algorithm's critic has learnt, if it has one, beside the policy in a run's folders."""


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

    def processes_to_start(self) -> int:
        """How many processes must be started for this job, in the place of this one; 0 where all are there.

        Raises:
            ConfigError: others were started than the config means.
        """
        if launched() > 1:
            raise ConfigError("several processes were started, but trainer=single; use trainer=ddp or fsdp")
        return 0

    def accelerator(self) -> Accelerator:
        """What the job's processes work together through."""
        return Accelerator(mixed_precision=self.precision, cpu=not torch.cuda.is_available())


@dataclass(frozen=True, kw_only=True)
class DDPTrainerConfig(SingleTrainerConfig):
    """Several processes, which the command starts itself, or torchrun.

    Each has a copy of the model, runs its part of the episodes and computes its part of every micro-batch;
    gradients are added up. What is trained is what one process would train.

    Attributes:
        processes: on this machine; 0 for one on each GPU. Under torchrun it counts.
    """

    processes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "processes")

    def processes_to_start(self) -> int:
        """See there."""
        wanted = self.processes or torch.cuda.device_count()
        if launched():
            return 0
        if not wanted:
            raise ConfigError("trainer.processes: say how many, since this machine has no GPU to count")
        return wanted if wanted > 1 else 0


@dataclass(frozen=True, kw_only=True)
class FSDPTrainerConfig(DDPTrainerConfig):
    """As ddp, and each process keeps only its part of gradients, optimiser states and trained weights.

    The weights are whole in every process while it samples and computes losses.
    """

    def accelerator(self) -> Accelerator:
        """See there."""
        return ShardingAccelerator(mixed_precision=self.precision, cpu=not torch.cuda.is_available())


def launched() -> int:
    """How many processes a launcher such as torchrun has started; 0 without one."""
    return int(os.environ.get("WORLD_SIZE", "0"))


TrainerConfig: TypeAlias = SingleTrainerConfig | DDPTrainerConfig | FSDPTrainerConfig
TRAINERS: dict[str, type] = {
    "single": SingleTrainerConfig,
    "ddp": DDPTrainerConfig,
    "fsdp": FSDPTrainerConfig,
}
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
        folder: of the run: gets `checkpoints`, `model` and `best`, which the main process writes.
        accelerator: of the job's processes, if it may have several.
    """

    def __init__(
        self,
        config: TrainerConfig,
        algorithm: Algorithm,
        policy: BasePolicy,
        collector: Collector,
        evaluate: Callable[[int], Collected] | None,
        folder: Path,
        accelerator: Accelerator | None = None,
    ) -> None:
        self._config = config
        self._algorithm = algorithm
        self._policy = policy
        self._collector = collector
        self._evaluate = evaluate
        self._folder = folder
        self._accelerator = accelerator
        self._main = accelerator is None or accelerator.is_main_process
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
            CheckpointError: there are checkpoints, but none is whole, or not every process sees them.
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
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()  # whoever goes on finds every file written
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
        success = metrics.get("rollout/success", math.nan)
        if self._main:
            log.info("update %d: evaluation return %.3f, success %.3f", self._update, value, success)
        if value > self._best_return:
            self._best_return, self._best_update = value, self._update
            self._write("best")
        return {f"evaluation/{k.removeprefix('rollout/')}": v for k, v in metrics.items()}

    def _write(self, name: str) -> None:
        if not self._main:
            return
        self._policy.save(self._folder / name)
        if self._algorithm.valuer is not None:
            save_tensors(self._folder / name / CRITIC, self._algorithm.valuer.module.state_dict())

    def _save(self) -> None:
        state = self.state_dict()  # to which every process may have a part
        if self._main:
            self._store.save(self._update, state)

    def _resume(self) -> None:
        newest = self._store.load_newest()
        step = -1 if newest is None else newest.step
        if self._accelerator is not None and set(gather(self._accelerator, step)) != {step}:
            raise CheckpointError(f"{self._folder}: every process must see its checkpoints; share the folder")
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
