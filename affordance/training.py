"""The training loop that pre-training and fine-tuning share.

Every random draw of step n comes from a generator seeded with (seed, n), so a run has no random state to
save: a run that resumes at step n goes on bit for bit as if it had never stopped (on a CPU).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Generator, Tensor

from ..core.checkpoint import CheckpointStore
from ..core.ranges import above, at_least, within
from .encoding import Batch
from .heatmap import HeatmapKeypointModel
from .loss import Loss, affordance_loss


class NotFiniteLoss(RuntimeError):
    """The loss is NaN or infinite; the message names the step. The weights are those of the step before."""


@dataclass(frozen=True)
class TrainingConfig:
    """How the network is trained.

    Attributes:
        steps: optimiser steps.
        batch_size: images per step and process.
        learning_rate: at its peak, after the warm-up; it then falls along a cosine to zero.
        backbone_rate: the learning rate of the backbone's trained layers, as a share of the others'.
        warmup: steps.
        weight_decay: of matrices and kernels.
        gradient_clip: largest gradient norm.
        average: decay of the running mean of the weights, which is the result.
        evaluate_every: steps between two looks at the validation set.
        patience: looks without progress after which training stops.
        precision: of the network's arithmetic; "bf16" keeps the weights in float32.
        checkpoint_every: steps between two checkpoints, where there is a store for them.
        seed: of every random draw.
    """

    steps: int = 650
    batch_size: int = 8
    learning_rate: float = 2e-3
    backbone_rate: float = 0.2
    warmup: int = 20
    weight_decay: float = 0.02
    gradient_clip: float = 1.0
    average: float = 0.95
    evaluate_every: int = 100
    patience: int = 4
    precision: Literal["no", "bf16"] = "no"
    checkpoint_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "steps", "batch_size", "evaluate_every", "patience", "checkpoint_every")
        at_least(self, 0, "backbone_rate", "warmup", "weight_decay", "seed")
        above(self, 0, "learning_rate", "gradient_clip")
        within(self, 0, 1, "average")


class Schedule(Protocol):
    """What the loop needs to know of a training config; see `TrainingConfig`."""

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        ...

    @property
    def learning_rate(self) -> float:
        """At its peak."""
        ...

    @property
    def warmup(self) -> int:
        """Steps."""
        ...

    @property
    def evaluate_every(self) -> int:
        """Steps between two looks at the validation set."""
        ...

    @property
    def patience(self) -> int:
        """Looks without progress after which training stops."""
        ...

    @property
    def checkpoint_every(self) -> int:
        """Steps between two checkpoints."""
        ...


class Resumable(Protocol):
    """The state of a training run that `run_steps` advances."""

    step: int
    looks_since_best: int

    def state_dict(self) -> dict[str, Any]:
        """Everything as a tree for a checkpoint."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        ...


class BatchSource(Protocol):
    """Where the images of a step come from."""

    def __call__(self, count: int, generator: Generator) -> Batch:
        """`count` images, drawn and augmented by the generator alone."""
        ...


Progress = Callable[[int, int], None]
Log = Callable[[int, Mapping[str, float]], None]
# The error to bring down, measured on the averaged model.
Evaluate = Callable[[HeatmapKeypointModel], float]


@dataclass
class TrainingState:
    """All that a step reads and changes.

    Attributes:
        model: the network that gradients move.
        average: the running mean of its weights.
        best: the averaged weights at the best look at the validation set.
        best_error: of that look.
        looks_since_best: looks at the validation set since then.
        step: steps done.
    """

    model: HeatmapKeypointModel
    average: HeatmapKeypointModel
    optimizer: torch.optim.Optimizer
    best: dict[str, Tensor] = field(default_factory=dict)
    best_error: float = math.inf
    looks_since_best: int = 0
    step: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Everything as a tree for a checkpoint."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "best_error": self.best_error,
            "looks_since_best": self.looks_since_best,
            "step": self.step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = dict(state["best"])
        self.best_error = state["best_error"]
        self.looks_since_best = state["looks_since_best"]
        self.step = state["step"]


def start(model: HeatmapKeypointModel, config: TrainingConfig) -> TrainingState:
    """A fresh state; `model` itself stays as it is."""
    model, average = (
        deepcopy(model).train().requires_grad_(True),
        deepcopy(model).eval().requires_grad_(False),
    )
    model.backbone.freeze()
    return TrainingState(model, average, torch.optim.AdamW(_groups(model, config)))


def _groups(model: HeatmapKeypointModel, config: TrainingConfig) -> list[dict[str, Any]]:
    """Parameters by what they need: vectors no decay, the backbone a lower rate."""
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith("backbone."), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if matrix else 0.0,
            "rate": config.backbone_rate if backbone else 1.0,
        }
        for (backbone, matrix), parameters in groups.items()
    ]


def learning_rate(step: int, config: Schedule) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def train(
    state: TrainingState,
    source: BatchSource,
    config: TrainingConfig,
    evaluate: Evaluate | None = None,
    store: CheckpointStore | None = None,
    progress: Progress | None = None,
    log: Log | None = None,
) -> HeatmapKeypointModel:
    """Train to the end and return the averaged (with `evaluate`: the best averaged) model.

    Args:
        state: from `start`.
        source: the images of a step.
        config: how.
        evaluate: the validation error of a model; None trains all steps.
        store: gets checkpoints; where it holds one, training goes on from there.
        progress: called with (steps done, steps in all).
        log: called with the step and its figures.

    Raises:
        NotFiniteLoss: see there.
    """
    resume(state, store)
    accelerator = Accelerator(mixed_precision=config.precision)
    model, optimizer = accelerator.prepare(state.model, state.optimizer)
    state.average.to(accelerator.device)
    run_steps(
        state,
        lambda: _step(state, model, optimizer, source, config, accelerator),
        lambda: _look(state, evaluate),
        config,
        store,
        progress,
        log,
    )
    if state.best:
        state.average.load_state_dict(state.best)
    return state.average


def resume(state: Resumable, store: CheckpointStore | None) -> None:
    """Go on from the newest checkpoint, if there is one."""
    newest = store.load_newest() if store is not None else None
    if newest is not None:
        state.load_state_dict(newest.state)


def run_steps(
    state: Resumable,
    step: Callable[[], dict[str, float]],
    look: Callable[[], dict[str, float]],
    config: Schedule,
    store: CheckpointStore | None = None,
    progress: Progress | None = None,
    log: Log | None = None,
) -> None:
    """Step until the last step, or until the validation set has shown no progress for long enough.

    Args:
        state: counts the steps; checkpoints hold it.
        step: makes one optimiser step and returns its figures.
        look: measures on the validation set and returns its figures.
        config: when to look, save and stop.
        store: gets checkpoints.
        progress: called with (steps done, steps in all).
        log: called with the step and its figures.
    """
    while state.step < config.steps and state.looks_since_best < config.patience:
        figures = step()
        state.step += 1
        if state.step % config.evaluate_every == 0 or state.step == config.steps:
            figures |= look()
        if store is not None and state.step % config.checkpoint_every == 0:
            store.save(state.step, state.state_dict())
        if log is not None:
            log(state.step, figures)
        if progress is not None:
            progress(state.step, config.steps)


def _step(
    state: TrainingState,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    source: BatchSource,
    config: TrainingConfig,
    accelerator: Accelerator,
) -> dict[str, float]:
    """One optimiser step; returns its figures."""
    rate = learning_rate(state.step, config)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]
    batch = source(config.batch_size, step_generator(config.seed, state.step, accelerator.process_index))
    batch = batch.to(accelerator.device)
    ids = state.model.token_ids(batch.instructions).to(accelerator.device)
    loss: Loss = affordance_loss(model(batch.images, ids), batch)
    if not bool(torch.isfinite(loss.total)):
        raise NotFiniteLoss(f"step {state.step}: the loss is {loss.total.item()}")
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss.total)
    accelerator.clip_grad_norm_(model.parameters(), config.gradient_clip)
    optimizer.step()
    _follow(state.average, state.model, min(config.average, (1 + state.step) / (10 + state.step)))
    figures = {name: float(value.detach()) for name, value in loss._asdict().items()}
    return {"learning_rate": rate, **figures}


def step_generator(seed: int, step: int, process: int = 0) -> Generator:
    """The generator of all random draws of one step in one process."""
    words = np.random.SeedSequence((seed, step, process)).generate_state(2, np.uint32)
    return Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


@torch.no_grad()
def _follow(average: HeatmapKeypointModel, model: HeatmapKeypointModel, decay: float) -> None:
    """Move the running mean of the weights."""
    for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(parameter, 1 - decay)


def _look(state: TrainingState, evaluate: Evaluate | None) -> dict[str, float]:
    """Measure the averaged model on the validation set and keep it if it is the best so far."""
    if evaluate is None:
        return {}
    error = evaluate(state.average)
    state.looks_since_best += 1
    if error < state.best_error:
        state.best = {name: tensor.clone() for name, tensor in state.average.state_dict().items()}
        state.best_error, state.looks_since_best = error, 0
    return {"validation_error": error}
