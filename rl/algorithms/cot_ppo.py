"""RL4VLM: PPO on whole turns whose thoughts weigh less than their action (Zhai et al. 2024, NeurIPS).

log pi(a_t | s_t) = lambda sum_{k < m} l_k + sum_{k >= m} l_k,   m: where the action's key begins in the text
L = L_clip + c_v L_value - c_e entropy + c_kl KL(pi || pi_warm_start)

Prompts are those that were sampled with, so the ratio is 1 before the first step whatever they show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...core.ranges import above, at_least, within
from ..advantages import estimate
from ..algorithm import Tools
from ..batches import TokenBatch
from ..critic import ActorCritic, Judged
from ..generation import Capability
from ..learner import Learner, Loss, OptimizerConfig, mean_metrics
from ..losses import clipped_policy_loss, clipped_value_loss, kl_to_reference
from ..markers import ACTION_MARKER, action_start, token_weights
from ..samples import Numbers, Sample, batch_samples, make_samples, step_batches, turns_of, with_reference
from ..types import Trajectory
from ..values import StateValuer

# ------------------------------------------------------------------ config


@dataclass(frozen=True)
class CoTPPOConfig:
    """PPO on turns with thoughts; `experiment=rl4vlm/*` has the published settings.

    Attributes:
        turns: taken for an update (episodes that were begun are played to their end).
        episodes: collected for an update, in the place of `turns`; 0 for none.
        thought_weight: lambda: weight of the log-probabilities before the action's key.
        marker: the text that the action follows; without it every token is thought.
        skip_tokens: how many tokens at a response's beginning have no weight (published: 2).
        gamma: discount per turn.
        gae_lambda: of generalised advantage estimation.
        clip: of the ratio.
        value_clip: of the value (published: that of the ratio); 0 for none.
        drop_unclipped_above: see `losses.clipped_policy_loss` (published: 10); 0 never.
        value_coefficient: of the value loss.
        entropy_coefficient: of the entropy bonus (published: 0).
        kl_coefficient: of the divergence from the policy at the start (published: 0).
        epochs: passes over the turns of an update.
        step_turns: of an optimiser step.
        micro_turns: of a forward pass.
        value_rate: learning rate of the value head, in multiples of the optimiser's.
        value_hidden: widths of the value head's hidden layers (published: 1024, 512).
        value_moves_policy: whether the value's gradient goes on into the policy (published: yes). In a small
            model the state that values a prompt also chooses the answer's first token: to fit the one spoils
            the other.
        optimizer: how weights are moved.
    """

    turns: int = 512
    episodes: int = 0
    thought_weight: float = 0.5
    marker: str = ACTION_MARKER
    skip_tokens: int = 0
    gamma: float = 0.9
    gae_lambda: float = 0.95
    clip: float = 0.1
    value_clip: float = 0.1
    drop_unclipped_above: float = 0.0
    value_coefficient: float = 0.5
    entropy_coefficient: float = 0.0
    kl_coefficient: float = 0.1
    epochs: int = 4
    step_turns: int = 128
    micro_turns: int = 128
    value_rate: float = 1.0
    value_hidden: tuple[int, ...] = (64,)
    value_moves_policy: bool = False
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=3e-4, epsilon=1e-7, gradient_clip=1.0)
    )

    def __post_init__(self) -> None:
        at_least(self, 1, "epochs", "step_turns", "micro_turns")
        at_least(self, 0, "turns", "episodes", "skip_tokens", "thought_weight", "drop_unclipped_above")
        at_least(self, 0, "value_clip", "value_coefficient", "entropy_coefficient", "kl_coefficient")
        within(self, 0, 1, "gamma", "gae_lambda")
        above(self, 0, "clip", "value_rate")
        if bool(self.turns) == bool(self.episodes):
            raise ValueError(f"turns={self.turns} and episodes={self.episodes}: one of them must be 0")
        if not self.marker or any(width < 1 for width in self.value_hidden):
            raise ValueError("marker must not be empty, and value_hidden must be positive")


# ------------------------------------------------------------------ losses


class CoTPPOLoss(NamedTuple):
    """The loss and its parts."""

    loss: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    clipped: Tensor
    drift: Tensor
    kl: Tensor


def turn_log_probs(log_probs: Tensor, weights: Tensor, batch: TokenBatch) -> Tensor:
    """Sum of weight times log-probability over each turn's tokens, (N,) -> (U,) (section 4.3)."""
    return batch.per_turn(weights * log_probs)


def cot_ppo_loss(
    judged: Judged,
    batch: TokenBatch,
    values: Mapping[str, Tensor],
    config: CoTPPOConfig,
) -> CoTPPOLoss:
    """The loss of a batch of U turns with N tokens.

    Args:
        judged: scores and values of the policy that is trained.
        batch: the turns.
        values: per token `weight`, `old_log_prob` and, for a divergence, `reference_log_prob`; per turn
            `advantage`, `return`, `old_value`.
        config: coefficients.
    """
    scores = judged.scores
    new = turn_log_probs(scores.log_probs, values["weight"], batch)
    old = turn_log_probs(values["old_log_prob"], values["weight"], batch)
    policy = clipped_policy_loss(new, old, values["advantage"], config.clip, config.drop_unclipped_above)
    value = clipped_value_loss(judged.values, values["old_value"], values["return"], config.value_clip)
    zero = policy.loss.new_zeros(())
    entropy = batch.mean_of_turns(scores.entropy) if scores.entropy is not None else zero
    kl = zero
    if config.kl_coefficient:
        kl = batch.mean_of_turns(kl_to_reference(scores.log_probs, values["reference_log_prob"]))
    loss = policy.loss + config.value_coefficient * value + config.kl_coefficient * kl
    if config.entropy_coefficient:
        loss = loss - config.entropy_coefficient * entropy
    return CoTPPOLoss(loss, policy.loss, value, entropy, policy.clipped, policy.drift, kl)


# ------------------------------------------------------------------ algorithm


class CoTPPO:
    """PPO over turns."""

    needs: ClassVar[tuple[Capability, ...]] = ("token_ids", "log_probs", "own_weights")

    def __init__(self, config: CoTPPOConfig, tools: Tools) -> None:
        self._config = config
        self._tools = tools
        self.counts_turns = bool(config.turns)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(tools.seed)
            self._actor_critic = ActorCritic(
                tools.policy, config.value_hidden, per="turn", moves_policy=config.value_moves_policy
            )
        self.valuer = StateValuer(self._actor_critic, config.micro_turns)
        if config.kl_coefficient:
            tools.policy.keep_reference()
        self._learner = Learner(
            self._actor_critic, config.optimizer, tools.accelerator, "value", config.value_rate
        )
        self._samples: list[Sample] = []

    # -------------------------------------------------------------- collect

    def collect(self, update: int) -> dict[str, float]:
        """Run episodes; value their turns; whiten the advantages of all."""
        config, tools = self._config, self._tools
        name = f"train-{update:06d}"
        collected = tools.collector.collect(name, config.episodes, config.turns, self.valuer)
        trajectories = [item.trajectory for item in collected.finished]
        rewards = [np.array([turn.reward for turn in one.turns]) for one in trajectories]
        ended = [one.turns[-1].terminated for one in trajectories]
        estimates = estimate(rewards, collected.values, ended, config.gamma, config.gae_lambda)
        self._samples = [
            sample
            for one, numbers in zip(trajectories, estimates.episodes, strict=True)
            for sample in make_samples(one, tools.window, numbers, self._per_token(one))
        ]
        if config.kl_coefficient:
            self._samples = with_reference(tools.policy, self._samples, config.micro_turns, tools.temperature)
        return {**collected.metrics, "value/explained_variance": estimates.explained_variance}

    def _per_token(self, trajectory: Trajectory) -> dict[str, Sequence[Numbers]]:
        config, policy = self._config, self._tools.policy
        weights: list[Numbers] = []
        for turn in trajectory.turns:
            start = action_start(turn.response_ids.tolist(), policy.text, config.marker)
            weights.append(
                token_weights(len(turn.response_ids), start, config.thought_weight, config.skip_tokens)
            )
        return {"weight": weights, "old_log_prob": [turn.log_probs for turn in trajectory.turns]}

    # --------------------------------------------------------------- update

    def update(self, update: int) -> dict[str, float]:
        """Some passes over the turns."""
        config, tools = self._config, self._tools
        rate = self._learner.set_rate(update, tools.updates)
        rng = tools.rng("cot_ppo", update)
        batches = step_batches(self._samples, config.step_turns, config.micro_turns, rng, config.epochs)
        parts = self._learner.run(batches, self._loss, turns_of)
        first = parts[0].get("drift", 0.0)
        return {"learning_rate": rate, "policy/first_drift": first, **mean_metrics(parts, "policy/")}

    def _loss(self, samples: list[Sample]) -> Loss:
        policy, temperature = self._tools.policy, self._tools.temperature
        batch = batch_samples(policy, samples)
        judged: Judged = self._learner.module(batch.tokens, temperature, entropy=True)
        out = cot_ppo_loss(judged, batch.tokens, batch.values, self._config)
        metrics = {name: value for name, value in out._asdict().items() if name != "loss"}
        return Loss(out.loss, turns_of(samples), metrics)

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Weights, value head, optimiser, place in the stream."""
        return {
            "policy": self._tools.policy.trained(),
            "value": self._actor_critic.value.state_dict(),
            "learner": self._learner.state_dict(),
            "collector": self._tools.collector.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        self._tools.policy.load_trained(state["policy"])
        self._actor_critic.value.load_state_dict(state["value"])
        self._learner.load_state_dict(state["learner"])
        self._tools.collector.load_state_dict(state["collector"])
