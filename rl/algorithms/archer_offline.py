"""Offline ArCHer: the same critic by expectile regression, the actor by advantage-weighted regression.

V_k  L = mean |tau_e - 1[u < 0]| u^2,   u = Qbar_k(s,a) - V_k(s)          (Kostrikov et al. 2022, eq. 5)
Q_k  L = mean (Q_k(s,a) - r - gamma (1 - d) Vbar_k(s'))^2
pi   L = -mean exp(beta A) sum_j log pi(a_j | ...),   A = min_k Q_k - min_k V_k   (Peng et al. 2019)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ...core.ranges import above, at_least, within
from ..algorithm import Tools
from ..batches import TokenBatch
from ..critic import CriticConfig, UtteranceValues, make_critic, polyak, target_of
from ..generation import Capability
from ..learner import Learner, Loss, OptimizerConfig, mean_metrics
from ..policy import Scores
from ..replay import ReplayBuffer, Transition
from ..store import TrajectoryStore
from ..transitions import experience, response_row, shown_prompt
from ..values import UtteranceValuer
from .archer import td_targets

# ------------------------------------------------------------------ config


@dataclass(frozen=True)
class OfflineArcherConfig:
    """Offline ArCHer (IQL and AWR).

    Attributes:
        data: folder of trajectories to learn from.
        steps: optimiser steps, of critic and actor each, in an update.
        warmup: updates in which only the critic learns.
        step_turns: transitions of an optimiser step.
        micro_turns: of a forward pass.
        gamma: discount per turn.
        tau: how far the target critic moves towards the critic after each of its steps.
        expectile: tau_e; 0.5 is the mean.
        beta: how sharply better utterances are preferred.
        weight_limit: largest exp(beta A); 0 for none, as published.
        cap_is_terminal: whether values are not bootstrapped past a limit on turns.
        critic: its encoder.
        critic_optimizer: how its weights are moved.
        optimizer: how the actor's are.
    """

    data: Path
    steps: int = 50
    warmup: int = 0
    step_turns: int = 128
    micro_turns: int = 64
    gamma: float = 0.99
    tau: float = 0.05
    expectile: float = 0.9
    beta: float = 1.0
    weight_limit: float = 0.0
    cap_is_terminal: bool = False
    critic: CriticConfig = field(default_factory=CriticConfig)
    critic_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-3))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=3e-4))

    def __post_init__(self) -> None:
        at_least(self, 1, "steps", "step_turns", "micro_turns")
        at_least(self, 0, "warmup", "weight_limit")
        within(self, 0, 1, "gamma", "tau", "expectile")
        above(self, 0, "beta")


# ------------------------------------------------------------------ losses


class OfflineCriticLoss(NamedTuple):
    """The critic's loss and its two parts."""

    loss: Tensor
    q_loss: Tensor
    v_loss: Tensor


def expectile_loss(error: Tensor, expectile: float) -> Tensor:
    """Mean |tau_e - 1[u < 0]| u^2 over the last dimension, summed over the first."""
    weight = torch.where(error < 0, 1 - expectile, expectile)
    return (weight * error.square()).mean(dim=-1).sum()


def offline_critic_loss(
    values: UtteranceValues, q_targets: Tensor, target_q: Tensor, expectile: float
) -> OfflineCriticLoss:
    """Both heads' losses.

    Args:
        values: of the critic that is trained, (2, B) each.
        q_targets: (2, B) from `td_targets`.
        target_q: (2, B) of the target critic on the stored utterances.
        expectile: tau_e.
    """
    q_loss = (values.q - q_targets).square().mean(dim=1).sum()
    v_loss = expectile_loss(target_q - values.v, expectile)
    return OfflineCriticLoss(q_loss + v_loss, q_loss, v_loss)


def weighted_cloning_loss(
    log_probs: Tensor, batch: TokenBatch, advantages: Tensor, beta: float, limit: float
) -> Tensor:
    """-mean over turns of exp(beta A) sum_j log pi_j; the weight at most `limit` where that is not 0."""
    weights = (beta * advantages).exp()
    weights = weights.clamp(max=limit) if limit else weights
    return -(weights * batch.per_turn(log_probs)).mean()


# ------------------------------------------------------------------ algorithm


class OfflineArcher:
    """Learns from stored episodes alone."""

    needs: ClassVar[tuple[Capability, ...]] = ()
    counts_turns = False

    def __init__(self, config: OfflineArcherConfig, tools: Tools) -> None:
        self._config = config
        self._tools = tools
        policy = tools.language
        self.critic = make_critic(config.critic, policy, tools.seed)
        self.target = target_of(self.critic)
        self.valuer = UtteranceValuer(self.target, policy, config.micro_turns)
        self._critic_learner = Learner(
            self.critic, config.critic_optimizer, tools.accelerator, "encoder", config.critic.encoder_rate
        )
        self._learner = Learner(policy, config.optimizer, tools.accelerator)
        self._data: ReplayBuffer | None = None

    def collect(self, update: int) -> dict[str, float]:
        """Read the stored episodes, once."""
        if self._data is None:
            finished = list(TrajectoryStore(self._config.data).read())
            self._data = ReplayBuffer(sum(len(item.trajectory.turns) for item in finished))
            self._data.add(finished)
        return {}

    def update(self, update: int) -> dict[str, float]:
        """Critic and actor steps on the same transitions."""
        config, tools = self._config, self._tools
        self._critic_learner.set_rate(update, tools.updates)
        rate = self._learner.set_rate(update, tools.updates)
        rng = tools.rng("archer_offline", update)
        assert self._data is not None  # noqa: S101  collect comes first
        critic_parts, actor_parts = [], []
        for _ in range(config.steps):
            batch = self._data.draw(config.step_turns, config.micro_turns, rng)
            critic_parts.append(self._critic_learner.step(batch, self._critic_loss, _count))
            polyak(self.target, self.critic, config.tau)
            if update >= config.warmup:
                actor_parts.append(self._learner.step(batch, self._actor_loss, _count))
        figures = mean_metrics(critic_parts, "critic/") | mean_metrics(actor_parts, "policy/")
        return {"learning_rate": rate, **figures}

    def _critic_loss(self, part: Sequence[Transition]) -> Loss:
        config, policy = self._config, self._tools.policy
        data = experience(policy, part, config.cap_is_terminal)
        states = [prompt.ids for prompt in data.prompts]
        with torch.no_grad():
            next_v = self.target([prompt.ids for prompt in data.following], None).v
            target_q = self.target(states, data.utterances).q
            device = policy.device
            q_targets = td_targets(data.rewards.to(device), data.done.to(device), next_v, config.gamma)
        values: UtteranceValues = self._critic_learner.module(states, data.utterances)
        out = offline_critic_loss(values, q_targets, target_q, config.expectile)
        return Loss(out.loss, _count(part), {"q_loss": out.q_loss, "v_loss": out.v_loss})

    def _actor_loss(self, part: Sequence[Transition]) -> Loss:
        config, policy = self._config, self._tools.policy
        window = policy.window
        prompts = [shown_prompt(one.trajectory, one.index, window) for one in part]
        utterances = [one.turn.response_ids for one in part]
        with torch.no_grad():
            values: UtteranceValues = self.critic([prompt.ids for prompt in prompts], utterances)
        advantages = values.advantages
        rows = [response_row(prompt, ids) for prompt, ids in zip(prompts, utterances, strict=True)]
        batch = policy.batch(rows)
        scores: Scores = self._learner.module(batch)
        loss = weighted_cloning_loss(scores.log_probs, batch, advantages, config.beta, config.weight_limit)
        return Loss(loss, _count(part), {"advantage": advantages.mean()})

    def state_dict(self) -> dict[str, Any]:
        """Weights, target, optimisers; the data are read again."""
        return {
            "policy": self._tools.policy.trained(),
            "critic": self.critic.state_dict(),
            "target": self.target.state_dict(),
            "learner": self._learner.state_dict(),
            "critic_learner": self._critic_learner.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        self._tools.policy.load_trained(state["policy"])
        self.critic.load_state_dict(state["critic"])
        self.target.load_state_dict(state["target"])
        self._learner.load_state_dict(state["learner"])
        self._critic_learner.load_state_dict(state["critic_learner"])


def _count(part: Sequence[Transition]) -> float:
    return float(len(part))
