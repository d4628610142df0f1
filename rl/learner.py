"""One optimiser with `accelerate` behind it: accumulation, clipping, no step on a loss that is not finite.

A step over many micro-batches gives the gradient of one large batch: each loss is a mean with a weight (how
many samples or tokens it is over), and the weights add up across micro-batches and processes. Every process
is given the same micro-batches and computes its part of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ..core.ranges import above, at_least
from .processes import DivisibleT, add_up, own_part
from .sharding import ShardingAccelerator, Shards, divided_state, trained_weights, whole_state


class NotFiniteError(RuntimeError):
    """A loss or gradient is NaN or infinite; the message names it. No weight was changed."""


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights are moved.

    Attributes:
        learning_rate: at the start.
        final_rate: at the end of the schedule, which then holds.
        schedule: how it gets there.
        schedule_updates: calls of `Algorithm.update` until then; 0 for all of the training.
        betas: of Adam.
        epsilon: of Adam.
        weight_decay: of AdamW.
        gradient_clip: largest norm of a gradient.
    """

    learning_rate: float = 1e-3
    final_rate: float = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    schedule_updates: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    gradient_clip: float = 1.0

    def __post_init__(self) -> None:
        above(self, 0, "learning_rate", "epsilon", "gradient_clip")
        at_least(self, 0, "final_rate", "weight_decay", "schedule_updates", "betas")

    def rate(self, update: int, updates: int) -> float:
        """The learning rate of an update; past the end of the schedule it stays at `final_rate`."""
        if self.schedule == "constant":
            return self.learning_rate
        share = min(1.0, update / max(1, self.schedule_updates or updates))
        left = 1 - share if self.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * share))
        return self.final_rate + (self.learning_rate - self.final_rate) * left


class Loss(NamedTuple):
    """A loss over part of a batch.

    Attributes:
        mean: scalar, over `weight` samples.
        weight: how many.
        metrics: scalars to be averaged with the same weights.
    """

    mean: Tensor
    weight: float
    metrics: Mapping[str, Tensor]


class Learner:
    """Moves the trained weights of one module.

    Args:
        module: whose forward computes what losses need; of several processes each has a copy.
        config: of the optimiser.
        accelerator: shared by all learners of a job.
        part: name of a part of the module that has a learning rate of its own; or empty.
        part_rate: that one, in multiples of `config`'s.
    """

    def __init__(
        self,
        module: nn.Module,
        config: OptimizerConfig,
        accelerator: Accelerator,
        part: str = "",
        part_rate: float = 1.0,
    ) -> None:
        self.config = config
        self.module: Any = module  # torch does not type calls
        self.steps = 0
        self._accelerator = accelerator
        sharding = isinstance(accelerator, ShardingAccelerator) and accelerator.num_processes > 1
        self._shards = Shards(module, accelerator) if sharding else None
        self._trained = self._shards.parts if self._shards else trained_weights(module)
        # By name and in order: the parts of a divided module are other objects.
        names = [name for name, weight in module.named_parameters() if weight.requires_grad]
        factors = [part_rate if part and name.startswith(f"{part}.") else 1.0 for name in names]
        weights = list(zip(self._trained, factors, strict=True))
        groups = [
            {"params": [weight for weight, own in weights if own == factor], "factor": factor}
            for factor in dict.fromkeys(factors)
        ]
        # Fused: one pass over the weights instead of a dozen small ones for each, on CPUs too.
        self.optimizer = torch.optim.AdamW(
            groups, config.learning_rate, config.betas, config.epsilon, config.weight_decay, fused=True
        )
        self._set(config.learning_rate)

    def set_rate(self, update: int, updates: int) -> float:
        """Set the learning rate of an update."""
        rate = self.config.rate(update, updates)
        self._set(rate)
        return rate

    def _set(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]

    def run(
        self,
        batches: Iterable[Sequence[DivisibleT]],
        loss: Callable[[DivisibleT], Loss],
        weight: Callable[[DivisibleT], float],
    ) -> list[dict[str, float]]:
        """An optimiser step for each batch of micro-batches. See `step`."""
        return [self.step(items, loss, weight) for items in batches]

    def step(
        self,
        items: Sequence[DivisibleT],
        loss: Callable[[DivisibleT], Loss],
        weight: Callable[[DivisibleT], float],
    ) -> dict[str, float]:
        """One optimiser step over micro-batches; the metrics, averaged by weight.

        Args:
            items: the micro-batches, the same in every process.
            loss: of one, or of a part of one.
            weight: of one, known before its loss is computed.

        Raises:
            NotFiniteError: see there.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = sum(weight(item) for item in items) or 1.0
        metrics: dict[str, float] = {}
        for item in items:
            part = own_part(self._accelerator, item)
            # A micro-batch too small for all: this process takes part, as all must, without any weight.
            idle = not len(part)
            with self._accelerator.autocast():
                out = loss(item[:1] if idle else part)
            if not bool(torch.isfinite(out.mean)):
                self._refuse(f"the loss is {out.mean.item()}")
            share = 0.0 if idle else out.weight / total
            (out.mean * share).backward()
            for name, value in {"loss": out.mean, **out.metrics}.items():
                metrics[name] = metrics.get(name, 0.0) + float(value.detach()) * share
        norm = self._clip()
        if not math.isfinite(norm):
            self._refuse(f"the gradient's norm is {norm}")
        self.optimizer.step()
        if self._shards is not None:
            self._shards.unite()
        self.steps += 1
        return {**add_up(self._accelerator, metrics), "gradient_norm": norm}

    def _clip(self) -> float:
        """Add up the gradients of all processes, and shorten them; their norm before."""
        if self._shards is None and self._accelerator.num_processes > 1:
            for weight in self._trained:
                gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
                weight.grad = self._accelerator.reduce(gradient, "sum")  # pyright: ignore[reportAttributeAccessIssue]
        norm = nn.utils.clip_grad_norm_(self._trained, self.config.gradient_clip)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def _refuse(self, what: str) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        raise NotFiniteError(f"step {self.steps}: {what}; no weight was changed")

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's state, whole; the weights are their owner's. Every process must ask for it."""
        state = self.optimizer.state_dict()
        return {"optimizer": state if self._shards is None else whole_state(state), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`, after the module's weights were loaded."""
        moments = state["optimizer"]
        if self._shards is not None:
            self._shards.take()
            moments = divided_state(moments, self._trained)
        self.optimizer.load_state_dict(moments)
        self.steps = state["steps"]


def mean_metrics(parts: Iterable[Mapping[str, float]], prefix: str = "") -> dict[str, float]:
    """The mean of each metric over some steps, `prefix` before its name."""
    sums: dict[str, list[float]] = {}
    for part in parts:
        for name, value in part.items():
            sums.setdefault(name, []).append(value)
    return {prefix + name: sum(values) / len(values) for name, values in sums.items()}
