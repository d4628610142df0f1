"""Token-level PPO: every response token is an action, the turn's reward comes with its last token.

L = L_clip + c_v L_value - c_e entropy;   r_token = -c_kl (log pi - log pi_ref) + [last of turn] r_turn
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
from ..critic import ActorCritic, Judged
from ..generation import Capability
from ..learner import Learner, Loss, OptimizerConfig, mean_metrics
from ..losses import clipped_policy_loss, clipped_value_loss
from ..samples import Numbers, Sample, batch_samples, make_samples, step_batches, tokens_of
from ..types import Trajectory
from ..values import StateValuer

# ------------------------------------------------------------------ config


@dataclass(frozen=True)
class PPOConfig:
    """Token-level PPO.

    Attributes:
        episodes: collected for an update.
        turns: taken for an update, in the place of `episodes`; 0 for none.
        gamma: discount per token.
        gae_lambda: of generalised advantage estimation, per token.
        clip: of the ratio.
        value_clip: of the value; 0 for none.
        value_coefficient: of the value loss.
        entropy_coefficient: of the entropy bonus.
        kl_coefficient: of the penalty, in every token's reward, for leaving the policy at the start.
        epochs: passes over the tokens of an update.
        step_turns: of an optimiser step.
        micro_turns: of a forward pass.
        value_rate: learning rate of the value head, in multiples of the optimiser's.
        value_hidden: widths of the value head's hidden layers.
        value_moves_policy: whether the value's gradient goes on into the policy (published: yes). In a small
            model the state that values a prompt also chooses the answer's first token: to fit the one spoils
            the other.
        optimizer: how weights are moved.
    """

    episodes: int = 64
    turns: int = 0
    gamma: float = 1.0
    gae_lambda: float = 0.95
    clip: float = 0.2
    value_clip: float = 0.2
    value_coefficient: float = 1.0
    entropy_coefficient: float = 0.0
    kl_coefficient: float = 0.0
    epochs: int = 4
    step_turns: int = 64
    micro_turns: int = 64
    value_rate: float = 1.0
    value_hidden: tuple[int, ...] = (64,)
    value_moves_policy: bool = False
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-3))

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "epochs", "step_turns", "micro_turns")
        at_least(self, 0, "turns", "value_clip", "value_coefficient", "entropy_coefficient", "kl_coefficient")
        within(self, 0, 1, "gamma", "gae_lambda")
        above(self, 0, "clip", "value_rate")
        if any(width < 1 for width in self.value_hidden):
            raise ValueError(f"value_hidden={list(self.value_hidden)} must be positive")


# ------------------------------------------------------------------ losses


class PPOLoss(NamedTuple):
    """The loss and its parts."""

    loss: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    clipped: Tensor
    drift: Tensor


def ppo_loss(judged: Judged, values: Mapping[str, Tensor], config: PPOConfig) -> PPOLoss:
    """The loss of N tokens (Schulman et al. 2017, eq. 9).

    Args:
        judged: scores and values (N,) of the policy that is trained.
        values: per token `old_log_prob`, `advantage`, `return`, `old_value`.
        config: coefficients.
    """
    scores = judged.scores
    policy = clipped_policy_loss(scores.log_probs, values["old_log_prob"], values["advantage"], config.clip)
    value = clipped_value_loss(judged.values, values["old_value"], values["return"], config.value_clip)
    entropy = scores.entropy.mean() if scores.entropy is not None else policy.loss.new_zeros(())
    loss = policy.loss + config.value_coefficient * value
    if config.entropy_coefficient:
        loss = loss - config.entropy_coefficient * entropy
    return PPOLoss(loss, policy.loss, value, entropy, policy.clipped, policy.drift)


def token_rewards(trajectory: Trajectory, penalties: Numbers | None = None) -> Numbers:
    """Each turn's reward on its last token, less the penalties; float64, one per response token."""
    parts = [np.zeros(len(turn.response_ids)) for turn in trajectory.turns]
    for part, turn in zip(parts, trajectory.turns, strict=True):
        part[-1] = turn.reward
    rewards = np.concatenate(parts)
    return rewards if penalties is None else rewards - penalties


# ------------------------------------------------------------------ algorithm


class PPO:
    """PPO over tokens."""

    needs: ClassVar[tuple[Capability, ...]] = ("token_ids", "log_probs", "own_weights")

    def __init__(self, config: PPOConfig, tools: Tools) -> None:
        self._config = config
        self._tools = tools
        self.counts_turns = bool(config.turns)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(tools.seed)
            self._actor_critic = ActorCritic(
                tools.policy, config.value_hidden, per="token", moves_policy=config.value_moves_policy
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
        """Run episodes; value their tokens; whiten the advantages of all."""
        config, tools = self._config, self._tools
        name = f"train-{update:06d}"
        collected = tools.collector.collect(name, config.episodes, config.turns, self.valuer)
        trajectories = [item.trajectory for item in collected.finished]
        rewards = [token_rewards(one, self._penalties(one)) for one in trajectories]
        ended = [one.turns[-1].terminated for one in trajectories]
        estimates = estimate(rewards, collected.values, ended, config.gamma, config.gae_lambda)
        self._samples = [
            sample
            for one, numbers in zip(trajectories, estimates.episodes, strict=True)
            for sample in make_samples(one, tools.window, per_token=by_turn(one, numbers))
        ]
        return {**collected.metrics, "value/explained_variance": estimates.explained_variance}

    def _penalties(self, trajectory: Trajectory) -> Numbers | None:
        """c_kl (log pi - log pi_ref) of each response token."""
        if not self._config.kl_coefficient:
            return None
        policy = self._tools.policy
        rows = [sample.row for sample in make_samples(trajectory, self._tools.window)]
        scores = policy.reference_scores(policy.batch(rows), self._tools.temperature)
        wanted = scores.log_probs.double().cpu().numpy()
        own = np.concatenate([turn.log_probs for turn in trajectory.turns])
        return self._config.kl_coefficient * (own - wanted)

    # --------------------------------------------------------------- update

    def update(self, update: int) -> dict[str, float]:
        """Some passes over the tokens."""
        config, tools = self._config, self._tools
        rate = self._learner.set_rate(update, tools.updates)
        rng = tools.rng("ppo", update)
        batches = step_batches(self._samples, config.step_turns, config.micro_turns, rng, config.epochs)
        parts = self._learner.run(batches, self._loss, tokens_of)
        first = parts[0].get("drift", 0.0)
        return {"learning_rate": rate, "policy/first_drift": first, **mean_metrics(parts, "policy/")}

    def _loss(self, samples: list[Sample]) -> Loss:
        batch = batch_samples(self._tools.policy, samples)
        judged: Judged = self._learner.module(batch.tokens, self._tools.temperature, entropy=True)
        out = ppo_loss(judged, batch.values, self._config)
        metrics = {name: value for name, value in out._asdict().items() if name != "loss"}
        return Loss(out.loss, tokens_of(samples), metrics)

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


def by_turn(trajectory: Trajectory, values: Mapping[str, Numbers]) -> dict[str, Sequence[Numbers]]:
    """Numbers of an episode's tokens divided by turns, with the log-probabilities that were sampled with."""
    ends = np.cumsum([len(turn.response_ids) for turn in trajectory.turns])[:-1]
    divided: dict[str, Sequence[Numbers]] = {name: np.split(all_, ends) for name, all_ in values.items()}
    divided["old_log_prob"] = [turn.log_probs for turn in trajectory.turns]
    return divided
