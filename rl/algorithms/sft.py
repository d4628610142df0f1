"""Supervised fine-tuning on demonstrations: the warm start of reinforcement learning.

L = -mean over tokens of log pi(token | what came before it)

The tokens are those of the responses, or of whole conversations after their first prompt: what the
environment answers is then learnt as well, as language models learn text before they become agents.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ...core.config import ConfigError
from ...core.ranges import at_least, within
from ..algorithm import Tools
from ..base_policy import BasePolicy, Scores
from ..batches import Row
from ..collect import rollout_metrics
from ..demonstrations import demonstrate
from ..envs.cast import cast
from ..executors import Usage
from ..generation import Capability
from ..learner import Learner, Loss, OptimizerConfig, mean_metrics
from ..rollout import Finished, episodes
from ..samples import Sample, batch_samples, final_prompt, make_samples, step_batches, tokens_of
from ..store import TrajectoryStore
from ..types import Trajectory

# ------------------------------------------------------------------ config

Learnt = Literal["responses", "conversations"]


@dataclass(frozen=True)
class SFTConfig:
    """Supervised fine-tuning.

    Attributes:
        data: folder of trajectories to learn from; null lets the environment's demonstrator play.
        episodes: how many it plays.
        misread: share of its answers that read something wrong.
        misjudge: share of its answers that decide wrong.
        learn: the responses alone, or whole conversations (where prompts keep every turn, model.window=0, and
            show no images).
        step_turns: of an optimiser step.
        micro_turns: of a forward pass.
        steps: optimiser steps of an update.
        optimizer: how weights are moved.
    """

    data: Path | None = None
    episodes: int = 500
    misread: float = 0.0
    misjudge: float = 0.0
    learn: Learnt = "responses"
    step_turns: int = 64
    micro_turns: int = 64
    steps: int = 20
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=3e-3, schedule="cosine")
    )

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "step_turns", "micro_turns", "steps")
        within(self, 0, 1, "misread", "misjudge")


# ------------------------------------------------------------------ losses


class CloningLoss(NamedTuple):
    """Mean negative log-likelihood of the tokens, and the share that the policy finds most probable."""

    loss: Tensor
    perplexity: Tensor


def cloning_loss(log_probs: Tensor) -> CloningLoss:
    """-mean log pi over N tokens.

    Args:
        log_probs: (N,).
    """
    loss = -log_probs.mean()
    return CloningLoss(loss, loss.detach().exp())


def clone(
    learner: Learner, policy: BasePolicy, batches: Iterable[Sequence[list[Sample]]]
) -> list[dict[str, float]]:
    """An optimiser step of `cloning_loss` for each batch of micro-batches; their metrics."""

    def loss(samples: list[Sample]) -> Loss:
        batch = batch_samples(policy, samples)
        scores: Scores = learner.module(batch.tokens)
        out = cloning_loss(scores.log_probs)
        return Loss(out.loss, tokens_of(samples), {"perplexity": out.perplexity})

    return learner.run(batches, loss, tokens_of)


# ------------------------------------------------------------------ algorithm


def conversation_sample(policy: BasePolicy, trajectory: Trajectory) -> Sample:
    """An episode as one row, whose spans are the responses with the observations that follow them.

    Args:
        policy: whose prompts keep every turn.
        trajectory: the episode; its final observation is the last.
    """
    prompt = final_prompt(policy, trajectory)
    bounds = [*(len(turn.prompt_ids) for turn in trajectory.turns), len(prompt.ids)]
    return Sample(Row(prompt.ids, prompt.images, tuple(itertools.pairwise(bounds))), {})


def check_lengths(finished: Sequence[Finished], limit: int) -> None:
    """Refuse demonstrations of what the policy could never say.

    Args:
        finished: the demonstrations.
        limit: on the tokens of a response.

    Raises:
        ConfigError: a response is longer.
    """
    turns = (turn for item in finished for turn in item.trajectory.turns)
    longest = max((len(turn.response_ids) for turn in turns), default=0)
    if longest > limit:
        raise ConfigError(
            f"generator.max_new_tokens={limit}: a demonstrated response has {longest} tokens, so the policy "
            "would be cut off before it ends one"
        )


class SFT:
    """Clones demonstrations."""

    needs: ClassVar[tuple[Capability, ...]] = ()
    counts_turns = False
    valuer = None

    def __init__(self, config: SFTConfig, tools: Tools) -> None:
        if config.learn == "conversations" and (tools.window or tools.env.shows_images):
            raise ConfigError(
                "learn=conversations needs model.window=0, or prompts do not go on from turn to turn, and an "
                "environment that shows no images"
            )
        self._config = config
        self._tools = tools
        self._learner = Learner(tools.policy, config.optimizer, tools.accelerator)
        self._samples: list[Sample] = []

    def collect(self, update: int) -> dict[str, float]:
        """Play the demonstrations, or read them, once."""
        if self._samples:
            return {}
        finished = self._demonstrations()
        check_lengths(finished, self._tools.job.generator.max_new_tokens)
        for item in finished:
            if self._config.learn == "conversations":
                self._samples.append(conversation_sample(self._tools.policy, item.trajectory))
            else:
                self._samples += make_samples(item.trajectory, self._tools.window)
        metrics = rollout_metrics(finished, Usage(), 1.0)
        names = ("return", "success", "turns", "invalid", "response_tokens")
        return {f"demonstrations/{n}": metrics[f"rollout/{n}"] for n in names}

    def _demonstrations(self) -> list[Finished]:
        config, tools = self._config, self._tools
        if config.data is not None:
            return list(TrajectoryStore(config.data).read())
        player = cast(tools.env).demonstrator(config.misread, config.misjudge)
        env = tools.job.make_env()
        wanted = episodes(tools.seed, "demonstrations", 0, config.episodes)
        played = list(demonstrate(env, player, tools.language, wanted, tools.job.env))
        env.close()
        return played

    def update(self, update: int) -> dict[str, float]:
        """Some optimiser steps over random turns."""
        config, tools = self._config, self._tools
        rate = self._learner.set_rate(update, tools.updates)
        rng = tools.rng("sft", update)
        batches = step_batches(self._samples, config.step_turns, config.micro_turns, rng, epochs=None)
        tools.policy.train()
        parts = clone(self._learner, tools.policy, itertools.islice(batches, config.steps))
        tools.policy.eval()
        return {"learning_rate": rate, **mean_metrics(parts, "sft/")}

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimiser; demonstrations come from the seed again."""
        return {"policy": self._tools.policy.trained(), "learner": self._learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        with torch.no_grad():
            self._tools.policy.load_trained(state["policy"])
        self._learner.load_state_dict(state["learner"])
