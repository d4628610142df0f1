"""Training that two processes share; `torchrun processes_job.py TRAINER FOLDER` does each of its jobs.

The main process leaves `results.json` and the jobs' run folders in FOLDER.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.tensor import DTensor

from kalie.rl.algorithms.archer import ArcherConfig
from kalie.rl.algorithms.cot_ppo import CoTPPOConfig
from kalie.rl.algorithms.ppo import PPOConfig
from kalie.rl.algorithms.sft import SFTConfig
from kalie.rl.critic import CriticConfig
from kalie.rl.envs.number_line import NumberLineConfig
from kalie.rl.executors import LocalExecutorConfig
from kalie.rl.generation import HFGeneratorConfig
from kalie.rl.learner import Learner, Loss, OptimizerConfig
from kalie.rl.models import TinyLMConfig
from kalie.rl.processes import gather
from kalie.rl.registry import AlgorithmConfig, Parts, build_training
from kalie.rl.rollout import RolloutConfig
from kalie.rl.trainer import TRAINERS, TrainerConfig
from kalie.rl.warm_start import WarmStartConfig, warm_start

WHOLE = TinyLMConfig(hidden=32, layers=1, heads=2, window=1)
ADAPTER = replace(WHOLE, lora_rank=2)
SMALL_STEPS = OptimizerConfig(learning_rate=1e-3)
ALGORITHMS: dict[str, AlgorithmConfig] = {
    # An odd number of episodes and of turns in a micro-batch: the parts are of different sizes.
    "ppo": PPOConfig(episodes=5, epochs=2, step_turns=17, micro_turns=9, optimizer=SMALL_STEPS),
    "archer": ArcherConfig(
        episodes=4,
        critic_steps=2,
        actor_steps=2,
        warmup=1,
        step_turns=9,
        micro_turns=8,
        critic=CriticConfig(hidden=16, layers=1, heads=2),
        optimizer=SMALL_STEPS,
    ),
}
DEMONSTRATED = WarmStartConfig(
    updates=1, sft=SFTConfig(episodes=4, steps=2, step_turns=9, micro_turns=8, optimizer=SMALL_STEPS)
)
COUNTING = CoTPPOConfig(turns=30, epochs=1, optimizer=SMALL_STEPS)


def parts_of(algorithm: AlgorithmConfig, trainer: TrainerConfig, folder: Path) -> Parts:
    """A small job on the number line; PPO begins warm, ArCHer trains an adapter."""
    generator = HFGeneratorConfig(slots=4, max_new_tokens=6)
    env = NumberLineConfig(rendering="text")
    model = ADAPTER if isinstance(algorithm, ArcherConfig) else WHOLE
    rollout, policy = RolloutConfig(), None
    if isinstance(algorithm, PPOConfig):
        policy = warm_start(
            DEMONSTRATED, env, model, HFGeneratorConfig(), rollout, trainer, 0, folder, lambda *_: None
        )
    return build_training(
        algorithm, env, model, generator, LocalExecutorConfig(), rollout, trainer, 0, folder, policy
    )


def train(
    algorithm: AlgorithmConfig, trainer: TrainerConfig, folder: Path, updates: int
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Train, or go on, to so many updates: weights and figures."""
    figures: list[dict[str, float]] = []
    chosen = replace(trainer, updates=updates, evaluate_every=2, evaluation_episodes=3, checkpoint_every=1)
    parts = parts_of(algorithm, chosen, folder)

    def note(metrics: Mapping[str, float], step: int) -> None:
        figures.append(dict(metrics))
        parts.policy.trained_arrays()  # as workers are sent them between updates

    parts.trainer.train(note)
    parts.close()
    return {name: weight.clone() for name, weight in parts.policy.trained().items()}, figures


def gradient(accelerator: Accelerator) -> list[float]:
    """Of a loss over micro-batches of which one is too small for two processes."""
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    data = torch.randn(12, 3)
    learner = Learner(module, OptimizerConfig(gradient_clip=1e9), accelerator)

    def loss(part: torch.Tensor) -> Loss:
        return Loss(learner.module(part).square().mean(), len(part), {})

    learner.step([data[:1], data[1:6], data[6:]], loss, lambda part: float(len(part)))
    (weight, *_) = learner.optimizer.param_groups[0]["params"]
    whole = weight.grad.full_tensor() if isinstance(weight.grad, DTensor) else weight.grad
    return whole.flatten().tolist()


def main(name: str, folder: Path) -> None:
    """All jobs, one after the other."""
    trainer = TRAINERS[name]()
    accelerator = trainer.accelerator()
    results: dict[str, Any] = {"gradient": gradient(accelerator)}
    for algorithm, config in ALGORITHMS.items():
        whole, figures = train(config, trainer, folder / algorithm, 3)
        train(config, trainer, folder / f"{algorithm}-parts", 2)
        resumed, _ = train(config, trainer, folder / f"{algorithm}-parts", 3)
        results[algorithm] = {
            "alike": alike(accelerator, whole),
            "resumed": all(torch.equal(weight, resumed[key]) for key, weight in whole.items()),
            "figures": figures,
        }
    counted, figures = train(COUNTING, trainer, folder / "counting", 2)
    results["counting"] = {"alike": alike(accelerator, counted), "figures": figures}
    if accelerator.is_main_process:
        (folder / "results.json").write_text(json.dumps(results))


def alike(accelerator: Accelerator, weights: dict[str, torch.Tensor]) -> bool:
    """Whether every process ended with the same weights, bit for bit."""
    own = {name: weight.tolist() for name, weight in weights.items()}
    return all(other == own for other in gather(accelerator, own))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
