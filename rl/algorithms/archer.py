"""ArCHer: a critic of whole utterances above, token-level policy gradient below (Zhou et al. 2024, ICML).

critic   L = sum_k (Q_k(s,a) - y_k)^2 + (V_k(s) - Qbar_k(s,a~))^2,   y_k = r + gamma (1 - d) Vbar_k(s')
actor    L = -mean A(s,a~) sum_j log pi(a~_j | ...),   A = min_k Q_k(s,a~) - min_k V_k(s)

With `kl_coefficient` c, A is less c log (pi / pi_0)(a~ | s), which the paper has not.

s, a, s' are of the replay buffer, a~ is a fresh utterance of the actor in s. d is true where the
episode terminated; one that a limit truncated is bootstrapped unless `cap_is_terminal`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...core.ranges import at_least, within
from ..algorithm import Tools
from ..batches import TokenBatch
from ..critic import CriticConfig, UtteranceValues, make_critic, mlp, polyak, target_of
from ..generation import Capability, make_generator, respond_all
from ..learner import Learner, Loss, OptimizerConfig, mean_metrics
from ..policy import Policy, Scores
from ..prompts import Ids, Prompt
from ..replay import ReplayBuffer, Transition
from ..transitions import experience, response_row, shown_prompt
from ..values import UtteranceValuer

# ------------------------------------------------------------------ config


@dataclass(frozen=True)
class ArcherConfig:
    """ArCHer; `experiment=archer/*` has the published settings.

    Attributes:
        episodes: collected for an update.
        capacity: turns of the replay buffer.
        critic_steps: optimiser steps of the critic in an update (published: `epochs`).
        reuse: how many of them use the same transitions and fresh utterances, taking turns with others
            (published: 1).
        actor_steps: of the actor (published: `actor_epochs`).
        warmup: updates in which only the critic learns.
        step_turns: transitions of an optimiser step.
        micro_turns: of a forward pass.
        gamma: discount per turn.
        tau: how far the target critic moves towards the critic after each of its steps.
        cap_is_terminal: whether values are not bootstrapped past a limit on turns either (published: true).
        utterances: fresh ones of a state in an actor step (published: 1). Of several, the mean of the others'
            Q takes the place of V, whose own error would be taken for the actor's merit.
        kl_coefficient: of the divergence from the policy at the start, per utterance (published: 0). The
            critic has seen what that policy says, and errs about the rest.
        token_baseline: whether a head on the actor's hidden states predicts the advantage, and is taken off.
        critic: its encoder.
        critic_optimizer: how its weights are moved.
        optimizer: how the actor's are.
    """

    episodes: int = 32
    capacity: int = 100_000
    critic_steps: int = 50
    reuse: int = 1
    actor_steps: int = 3
    warmup: int = 5
    step_turns: int = 64
    micro_turns: int = 64
    gamma: float = 0.95
    tau: float = 0.1
    cap_is_terminal: bool = False
    utterances: int = 1
    kl_coefficient: float = 0.0
    token_baseline: bool = False
    critic: CriticConfig = field(default_factory=CriticConfig)
    critic_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-3))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=3e-4))

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "capacity", "critic_steps", "reuse", "step_turns", "micro_turns")
        at_least(self, 1, "utterances")
        at_least(self, 0, "actor_steps", "warmup", "kl_coefficient")
        within(self, 0, 1, "gamma", "tau")
        if self.step_turns % self.utterances or self.micro_turns % self.utterances:
            raise ValueError(f"step_turns and micro_turns must be multiples of utterances={self.utterances}")


# ------------------------------------------------------------------ losses


class CriticLoss(NamedTuple):
    """The critic's loss and its two parts."""

    loss: Tensor
    q_loss: Tensor
    v_loss: Tensor


def td_targets(rewards: Tensor, done: Tensor, next_v: Tensor, gamma: float) -> Tensor:
    """y_k = r + gamma (1 - d) Vbar_k(s'), (B,), (B,), (2, B) -> (2, B) (eq. 3)."""
    return rewards + gamma * (1 - done) * next_v


def critic_loss(values: UtteranceValues, q_targets: Tensor, v_targets: Tensor) -> CriticLoss:
    """Squared errors, mean over the batch and summed over both heads (eq. 2 and 3).

    Args:
        values: of the critic that is trained, (2, B) each.
        q_targets: (2, B) from `td_targets`.
        v_targets: (2, B) of the target critic's Q on fresh utterances.
    """
    q_loss = (values.q - q_targets).square().mean(dim=1).sum()
    v_loss = (values.v - v_targets).square().mean(dim=1).sum()
    return CriticLoss(q_loss + v_loss, q_loss, v_loss)


def utterance_advantages(values: UtteranceValues, each: int) -> Tensor:
    """A of B utterances, (B,): min_k Q_k - min_k V_k; or of several in each state, Q less the others' mean.

    Args:
        values: (2, B), the utterances of a state side by side.
        each: how many there are of a state.
    """
    return values.advantages if each == 1 else less_others(values.q.min(dim=0).values, each)


def less_others(numbers: Tensor, each: int) -> Tensor:
    """Of `each` numbers side by side, every one less the mean of the others, (B,) -> (B,)."""
    groups = numbers.view(-1, each)
    return ((groups - groups.mean(dim=1, keepdim=True)) * each / (each - 1)).flatten()


class ActorLoss(NamedTuple):
    """The actor's loss, and that of its token baseline."""

    loss: Tensor
    baseline_loss: Tensor


def actor_loss(
    log_probs: Tensor, batch: TokenBatch, advantages: Tensor, baseline: Tensor | None = None
) -> ActorLoss:
    """-mean over turns of sum_j (A - v_j) log pi_j, and of mean_j (A - v_j)^2 (eq. 5 and its baseline).

    Args:
        log_probs: (N,) of the fresh utterances' tokens.
        batch: that they belong to.
        advantages: (U,), of the whole utterances.
        baseline: (N,) v_j; None for none.
    """
    each = advantages[batch.turns]
    if baseline is None:
        return ActorLoss(-batch.per_turn(each * log_probs).mean(), log_probs.new_zeros(()))
    error = each - baseline
    followed = -batch.per_turn(error.detach() * log_probs).mean()
    return ActorLoss(followed, batch.mean_of_turns(error.square()))


# ------------------------------------------------------------------ actor


class Actor(nn.Module):
    """A policy with a token baseline on its hidden states."""

    def __init__(self, policy: Policy, seed: int) -> None:
        super().__init__()
        self.policy = policy
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.baseline = mlp([policy.hidden_size, policy.hidden_size, 1]).to(policy.device)

    def forward(self, batch: TokenBatch, temperature: float) -> tuple[Scores, Tensor]:
        """Scores, and v_j (N,); the baseline's gradient stays in its head."""
        scores: Scores = self.policy(batch, temperature, entropy=True)
        return scores, self.baseline(scores.states.detach().float()).squeeze(-1)


# ------------------------------------------------------------------ algorithm


@dataclass(eq=False)
class Drawn:
    """A transition of the replay buffer, and fresh utterances in its state.

    Attributes:
        transition: which.
        rngs: that the utterances are drawn with.
        utterances: once they were drawn.
    """

    transition: Transition
    rngs: Sequence[np.random.Generator]
    utterances: list[Ids] = field(default_factory=list)


def _count(part: Sequence[Drawn]) -> float:
    return float(len(part))


class Archer:
    """A critic of utterances and a token-level actor."""

    needs: ClassVar[tuple[Capability, ...]] = ("token_ids", "log_probs", "own_weights")
    counts_turns = False

    def __init__(self, config: ArcherConfig, tools: Tools) -> None:
        self._config = config
        self._tools = tools
        policy = tools.language
        self.critic = make_critic(config.critic, policy, tools.seed)
        self.target = target_of(self.critic)
        self.valuer = UtteranceValuer(self.target, policy, config.micro_turns)
        self._critic_learner = Learner(
            self.critic, config.critic_optimizer, tools.accelerator, "encoder", config.critic.encoder_rate
        )
        self._actor = Actor(policy, tools.seed)
        self._learner = Learner(self._actor, config.optimizer, tools.accelerator)
        if config.kl_coefficient:
            policy.keep_reference()
        self.buffer = ReplayBuffer(config.capacity)
        self._generator = make_generator(tools.job.generator, policy)

    def collect(self, update: int) -> dict[str, float]:
        """Add episodes to the replay buffer."""
        self.critic.forget()  # here and after each update, so that nothing depends on where a job was stopped
        collected = self._tools.collector.collect(f"train-{update:06d}", self._config.episodes)
        self.buffer.add(collected.finished)
        return collected.metrics

    # --------------------------------------------------------------- update

    def update(self, update: int) -> dict[str, float]:
        """Critic steps, then, after the warm-up, actor steps."""
        config, tools = self._config, self._tools
        self._critic_learner.set_rate(update, tools.updates)
        rate = self._learner.set_rate(update, tools.updates)
        rng = tools.rng("archer", update)
        figures = self._critic_steps(rng)
        if update >= config.warmup:
            parts = [self._actor_step(rng) for _ in range(config.actor_steps)]
            figures |= mean_metrics(parts, "policy/")
        self.critic.forget()
        return {"learning_rate": rate, "replay/turns": float(len(self.buffer)), **figures}

    def _draw(self, rng: np.random.Generator, each: int = 1) -> list[list[Drawn]]:
        """Micro-batches of transitions, with so many utterances each that they are `step_turns` in all."""
        config = self._config
        drawn = self.buffer.sample(config.step_turns // each, rng)
        items = [Drawn(one, rng.spawn(each)) for one in drawn]
        size = config.micro_turns // each
        return [items[first : first + size] for first in range(0, len(items), size)]

    def _fresh(self, prompts: Sequence[Prompt], part: Sequence[Drawn]) -> list[Ids]:
        """Utterances in each state, side by side, of the actor as it was when they were first asked for."""
        new = [(prompt, one) for prompt, one in zip(prompts, part, strict=True) if not one.utterances]
        asked = [(prompt, one, rng) for prompt, one in new for rng in one.rngs]
        said = self._respond([prompt for prompt, _, _ in asked], [rng for _, _, rng in asked])
        for (_, one, _), ids in zip(asked, said, strict=True):
            one.utterances.append(ids)
        return [ids for one in part for ids in one.utterances]

    def _respond(self, prompts: Sequence[Prompt], rngs: Sequence[np.random.Generator]) -> list[Ids]:
        """An utterance of the present actor in each state."""
        return [response.ids for response in respond_all(self._generator, prompts, rngs)]

    def _critic_steps(self, rng: np.random.Generator) -> dict[str, float]:
        config = self._config
        self._generator.restart()
        parts: list[dict[str, float]] = []
        drawn = [self._draw(rng) for _ in range(math.ceil(config.critic_steps / config.reuse))]
        for batch in itertools.islice(itertools.cycle(drawn), config.critic_steps):
            parts.append(self._critic_learner.step(batch, self._critic_loss, _count))
            polyak(self.target, self.critic, config.tau)
        return mean_metrics(parts, "critic/")

    def _critic_loss(self, part: Sequence[Drawn]) -> Loss:
        config, policy = self._config, self._tools.policy
        data = experience(policy, [one.transition for one in part], config.cap_is_terminal)
        states = [prompt.ids for prompt in data.prompts]
        fresh = self._fresh(data.prompts, part)
        device = policy.device
        with torch.no_grad():
            next_v = self.target([prompt.ids for prompt in data.following], None).v
            v_targets = self.target(states, fresh).q
            q_targets = td_targets(data.rewards.to(device), data.done.to(device), next_v, config.gamma)
        values: UtteranceValues = self._critic_learner.module(states, data.utterances)
        out = critic_loss(values, q_targets, v_targets)
        metrics = {"q_loss": out.q_loss, "v_loss": out.v_loss, "v": values.v.mean(), "q": values.q.mean()}
        return Loss(out.loss, _count(part), metrics)

    def _actor_step(self, rng: np.random.Generator) -> dict[str, float]:
        self._generator.restart()  # the step before has changed the weights
        batch = self._draw(rng, self._config.utterances)
        return self._learner.step(batch, self._actor_loss, _count)

    def _actor_loss(self, part: Sequence[Drawn]) -> Loss:
        config, tools = self._config, self._tools
        window = tools.policy.window
        transitions = [one.transition for one in part]
        states = [shown_prompt(one.trajectory, one.index, window) for one in transitions]
        fresh = self._fresh(states, part)
        prompts = [prompt for prompt in states for _ in range(config.utterances)]
        advantages = self.advantages(prompts, fresh)
        batch = tools.policy.batch([response_row(p, ids) for p, ids in zip(prompts, fresh, strict=True)])
        scores, baseline = self._learner.module(batch, tools.temperature)
        followed, kl = self._held(advantages, batch, scores.log_probs.detach())
        out = actor_loss(scores.log_probs, batch, followed, baseline if config.token_baseline else None)
        metrics = {
            **kl,
            "entropy": batch.mean_of_turns(scores.entropy),
            "advantage": advantages.mean(),
            "advantage_spread": advantages.std(correction=0),
        }
        # Without the baseline its head still takes part, with no effect, so that every weight has a gradient.
        return Loss(out.loss + out.baseline_loss + 0.0 * baseline.sum(), _count(part), metrics)

    def _held(
        self, advantages: Tensor, batch: TokenBatch, log_probs: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The advantages less what utterances cost that the policy at the start would rarely have said."""
        config, tools = self._config, self._tools
        if not config.kl_coefficient:
            return advantages, {}
        reference = tools.policy.reference_scores(batch, tools.temperature).log_probs
        ratios = batch.per_turn(log_probs - reference)
        costs = ratios if config.utterances == 1 else less_others(ratios, config.utterances)
        return advantages - config.kl_coefficient * costs, {"kl": ratios.mean()}

    @torch.no_grad()
    def advantages(self, prompts: Sequence[Prompt], utterances: Sequence[Ids]) -> Tensor:
        """A(s, a) under the critic, (B,); see `utterance_advantages`."""
        values: UtteranceValues = self.critic([prompt.ids for prompt in prompts], utterances)
        return utterance_advantages(values, self._config.utterances)

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Weights, target, optimisers, replay buffer, place in the stream."""
        return {
            "policy": self._tools.policy.trained(),
            "baseline": self._actor.baseline.state_dict(),
            "critic": self.critic.state_dict(),
            "target": self.target.state_dict(),
            "learner": self._learner.state_dict(),
            "critic_learner": self._critic_learner.state_dict(),
            "buffer": self.buffer.state_dict(),
            "collector": self._tools.collector.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        self._tools.policy.load_trained(state["policy"])
        self._actor.baseline.load_state_dict(state["baseline"])
        self.critic.load_state_dict(state["critic"])
        self.target.load_state_dict(state["target"])
        self._learner.load_state_dict(state["learner"])
        self._critic_learner.load_state_dict(state["critic_learner"])
        self.buffer.load_state_dict(state["buffer"])
        self._tools.collector.load_state_dict(state["collector"])
