"""REINFORCE with Monte-Carlo returns of whole turns, and the batch's mean return as baseline.

L = -mean over turns of A_t sum_j log pi(token_j | ...)
A_t = (R_t - mean) / std,   R_t = r_t + gamma R_{t+1}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ...core.ranges import at_least, within
from ..advantages import discounted_sums, whiten
from ..algorithm import Tools
from ..batches import TokenBatch
from ..generation import Capability
from ..learner import Learner, Loss, OptimizerConfig, mean_metrics
from ..losses import kl_to_reference
from ..policy import Scores
from ..samples import Sample, batch_samples, make_samples, step_batches, turns_of

# ------------------------------------------------------------------ config


@dataclass(frozen=True)
class ReinforceConfig:
    """REINFORCE with Monte-Carlo returns.

    Attributes:
        episodes: collected for an update.
        turns: taken for an update, in the place of `episodes`; 0 for none.
        gamma: discount per turn.
        whiten: whether advantages are also divided by their standard deviation.
        entropy_coefficient: of the entropy bonus.
        kl_coefficient: of the divergence from the policy at the start.
        step_turns: of an optimiser step.
        micro_turns: of a forward pass.
        optimizer: how weights are moved.
    """

    episodes: int = 64
    turns: int = 0
    gamma: float = 0.95
    whiten: bool = True
    entropy_coefficient: float = 0.0
    kl_coefficient: float = 0.0
    step_turns: int = 256
    micro_turns: int = 64
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-3))

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "step_turns", "micro_turns")
        at_least(self, 0, "turns", "entropy_coefficient", "kl_coefficient")
        within(self, 0, 1, "gamma")


# ------------------------------------------------------------------ losses


def reinforce_loss(log_probs: Tensor, batch: TokenBatch, advantages: Tensor) -> Tensor:
    """-mean over U turns of A times the log-probability of the whole response (Williams 1992).

    Args:
        log_probs: (N,) of the response tokens.
        batch: that they belong to.
        advantages: (U,).
    """
    return -(batch.per_turn(log_probs) * advantages).mean()


# ------------------------------------------------------------------ algorithm


class Reinforce:
    """Policy gradient without a critic."""

    needs: ClassVar[tuple[Capability, ...]] = ("token_ids", "own_weights")
    valuer = None

    def __init__(self, config: ReinforceConfig, tools: Tools) -> None:
        self._config = config
        self._tools = tools
        self.counts_turns = bool(config.turns)
        self._learner = Learner(tools.policy, config.optimizer, tools.accelerator)
        self._samples: list[Sample] = []
        if config.kl_coefficient:
            tools.policy.keep_reference()

    def collect(self, update: int) -> dict[str, float]:
        """Run episodes and weigh their turns."""
        config, tools = self._config, self._tools
        collected = tools.collector.collect(f"train-{update:06d}", config.episodes, config.turns)
        trajectories = [item.trajectory for item in collected.finished]
        returns = [discounted_sums([t.reward for t in one.turns], config.gamma) for one in trajectories]
        whole = np.concatenate(returns)
        advantages = whiten(whole) if config.whiten else whole - whole.mean()
        parts = np.split(advantages, np.cumsum([len(one) for one in returns])[:-1])
        self._samples = [
            sample
            for trajectory, part in zip(trajectories, parts, strict=True)
            for sample in make_samples(trajectory, tools.window, {"advantage": part})
        ]
        return collected.metrics

    def update(self, update: int) -> dict[str, float]:
        """One pass over the turns."""
        config, tools = self._config, self._tools
        rate = self._learner.set_rate(update, tools.updates)
        batches = step_batches(
            self._samples, config.step_turns, config.micro_turns, tools.rng("reinforce", update)
        )
        parts = self._learner.run(batches, self._loss, turns_of)
        return {"learning_rate": rate, **mean_metrics(parts, "policy/")}

    def _loss(self, samples: list[Sample]) -> Loss:
        config, policy = self._config, self._tools.policy
        batch = batch_samples(policy, samples)
        scores: Scores = self._learner.module(batch.tokens, self._tools.temperature, entropy=True)
        assert scores.entropy is not None  # noqa: S101  asked for
        entropy = batch.tokens.mean_of_turns(scores.entropy)
        loss = reinforce_loss(scores.log_probs, batch.tokens, batch.values["advantage"])
        if config.entropy_coefficient:
            loss = loss - config.entropy_coefficient * entropy
        metrics = {"entropy": entropy}
        if config.kl_coefficient:
            wanted = policy.reference_scores(batch.tokens, self._tools.temperature).log_probs
            metrics["kl"] = batch.tokens.mean_of_turns(kl_to_reference(scores.log_probs, wanted))
            loss = loss + config.kl_coefficient * metrics["kl"]
        return Loss(loss, turns_of(samples), metrics)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, place in the stream."""
        return {
            "policy": self._tools.policy.trained(),
            "learner": self._learner.state_dict(),
            "collector": self._tools.collector.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        self._tools.policy.load_trained(state["policy"])
        self._learner.load_state_dict(state["learner"])
        self._tools.collector.load_state_dict(state["collector"])
