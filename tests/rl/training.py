"""Training jobs on the tabular environment, put together without the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from kalie.core.checkpoint import save_tensors
from kalie.rl.algorithm import Tools
from kalie.rl.base_policy import BasePolicy, load_weights
from kalie.rl.collect import Collector
from kalie.rl.demonstrations import demonstrate
from kalie.rl.envs.base import AgentEnv, EnvConfig
from kalie.rl.envs.number_line import NumberLineConfig
from kalie.rl.executors import LocalExecutor, RolloutJob
from kalie.rl.generation import HFGeneratorConfig
from kalie.rl.models import ModelConfig, TinyLMConfig
from kalie.rl.policies import load_policy
from kalie.rl.policy import Policy
from kalie.rl.registry import algorithm_class
from kalie.rl.rollout import RolloutConfig, episodes
from kalie.rl.samples import make_samples
from kalie.rl.trainer import SingleTrainerConfig, Trainer

from .letters import LETTERS, LettersEnv

MODEL = TinyLMConfig(hidden=32, layers=1, heads=2, window=1)


@dataclass
class Job:
    """A job's parts."""

    trainer: Trainer
    policy: BasePolicy
    tools: Tools
    algorithm: Any

    def train(self) -> list[dict[str, float]]:
        """Train to the end; the figures of every update."""
        figures: list[dict[str, float]] = []
        self.trainer.train(lambda metrics, step: figures.append(dict(metrics)))
        return figures

    def weights(self) -> dict[str, torch.Tensor]:
        """The policy's weights now."""
        return {name: weight.clone() for name, weight in self.policy.trained().items()}


def job(
    config: Any,  # noqa: ANN401  anything
    folder: Path,
    *,
    make_env: Callable[[], AgentEnv] = LettersEnv,
    model: ModelConfig = MODEL,
    weights: Path | None = None,
    seed: int = 0,
    slots: int = 16,
    max_new_tokens: int = 3,
    played: EnvConfig | None = None,
    **trainer: Any,  # noqa: ANN401  anything
) -> Job:
    """A job of an algorithm's config; `played` is what scripted players play."""
    settings = {"evaluate_every": 0, "checkpoint_every": 1, **trainer}
    policy = load_policy(model, seed)
    if weights is not None:
        load_weights(policy, weights)
    generator = HFGeneratorConfig(slots=slots, max_new_tokens=max_new_tokens)
    rollout = RolloutJob(model, seed, generator, RolloutConfig(step_seconds=0), make_env, "letters")
    executor = LocalExecutor(rollout, policy)
    collector = Collector(executor, seed)
    trainer_config = SingleTrainerConfig(**settings)
    tools = Tools(
        policy,
        collector,
        Accelerator(cpu=True),
        rollout,
        played or NumberLineConfig(),
        seed,
        trainer_config.updates,
    )
    algorithm = algorithm_class(config)(config, tools)
    evaluator = Collector(LocalExecutor(rollout, policy), seed, "evaluation")

    def evaluate(update: int) -> Any:  # noqa: ANN401  anything
        evaluator.next_index = 0
        return evaluator.collect("evaluation", trainer_config.evaluation_episodes)

    run = Trainer(
        trainer_config, algorithm, policy, collector, evaluate if settings["evaluate_every"] else None, folder
    )
    return Job(run, policy, tools, algorithm)


def speaks(folder: Path, seed: int = 0, steps: int = 60, rate: float = 1e-2, share: float = 0.35) -> Path:
    """Weights of a policy that says a letter and ends.

    Args:
        folder: that they are written to.
        seed: of the policy and its demonstrations.
        steps: few teach the form alone, 300 at 3e-3 to read what is asked for, too.
        rate: of the learning.
        share: of the demonstrated answers that are right; the others are any letter.
    """
    policy = Policy.load(MODEL, seed)

    def partly_right(env: AgentEnv, rng: np.random.Generator) -> str:
        asked = env.unwrapped
        assert isinstance(asked, LettersEnv)
        return LETTERS[asked.letter if rng.random() < share else int(rng.integers(len(LETTERS)))]

    played = demonstrate(LettersEnv(), partly_right, policy, episodes(seed, "warm", 0, 60), "letters")
    rows = [sample.row for item in played for sample in make_samples(item.trajectory, 1)]
    optimizer = torch.optim.Adam(policy.parameters(), rate)
    batch = policy.batch(rows)
    for _ in range(steps):
        optimizer.zero_grad()
        (-policy(batch).log_probs.mean()).backward()
        optimizer.step()
    path = folder / "warm.safetensors"
    save_tensors(path, policy.trained())
    return path
