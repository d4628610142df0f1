"""The warm start of reinforcement learning: demonstrations that a model learns before the algorithm begins.

An untrained model answers nothing that an environment could reward, so there is nothing to reinforce.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..core.config import ConfigError
from ..core.ranges import at_least
from .algorithms.sft import SFTConfig
from .base_policy import BasePolicy
from .envs.base import EnvConfig
from .envs.cast import cast
from .executors import LocalExecutorConfig
from .generation import GeneratorConfig, HFGeneratorConfig
from .keypoint_config import KeypointPolicyConfig
from .models import ModelConfig, TinyLMConfig
from .policies import load_policy
from .registry import AlgorithmConfig, algorithm_class, build_training
from .rollout import RolloutConfig
from .sharding import is_divided
from .trainer import Log, Progress, TrainerConfig

FOLDER = "warm_start"
"""Where its checkpoints and weights lie in a run's folder."""


@dataclass(frozen=True)
class WarmStartConfig:
    """Demonstrations that the model learns before the algorithm begins.

    Attributes:
        when: untrained (a tiny model without model.weights), always, or never; algorithms that learn from
            stored data alone begin without.
        updates: of the supervised fine-tuning.
        sft: how it is done, and how much its demonstrations err.
    """

    when: Literal["untrained", "always", "never"] = "untrained"
    updates: int = 30
    sft: SFTConfig = field(default_factory=lambda: SFTConfig(misread=0.4, misjudge=0.2))

    def __post_init__(self) -> None:
        at_least(self, 1, "updates")


def has_warm_start(
    config: WarmStartConfig, algorithm: AlgorithmConfig, env: EnvConfig, model: ModelConfig
) -> bool:
    """Whether a job begins with demonstrations.

    Raises:
        ConfigError: nobody is there to give them.
    """
    if isinstance(model, KeypointPolicyConfig) and config.when == "always":
        raise ConfigError("warm_start.when=always: a keypoint model learns from labels, by kalie finetune")
    untrained = isinstance(model, TinyLMConfig) and model.weights is None
    acts = bool(algorithm_class(algorithm).needs)
    begins = config.when == "always" or (config.when == "untrained" and untrained and acts)
    if begins:
        _check_demonstrations(config, env)
    return begins


def _check_demonstrations(config: WarmStartConfig, env: EnvConfig) -> None:
    if config.sft.data is not None:
        return
    try:
        cast(env)
    except ValueError:
        raise ConfigError(
            f"warm_start: {env.env_id} has no demonstrator; give stored trajectories as warm_start.sft.data, "
            "or set warm_start.when=never"
        ) from None


def warm_start(
    config: WarmStartConfig,
    env: EnvConfig,
    model: ModelConfig,
    generator: GeneratorConfig,
    rollout: RolloutConfig,
    trainer: TrainerConfig,
    seed: int,
    folder: Path,
    log_metrics: Log,
    progress: Progress | None = None,
) -> BasePolicy:
    """The policy that has learnt the demonstrations; a job that was stopped goes on where it stood.

    Args:
        config: how.
        env: that is demonstrated.
        model: of the policy.
        generator: of the job; demonstrations must not be longer than its responses can be.
        rollout: how environments are run.
        trainer: of the job; its checkpoints, processes and precision count here too.
        seed: of everything random.
        folder: of the run; everything is written to its folder `warm_start`.
        log_metrics: gets each update's figures.
        progress: called with (updates done, updates in all).
    """
    alone = replace(trainer, updates=config.updates, turns=0, evaluate_every=0, keep_trajectories=False)
    parts = build_training(
        config.sft,
        env,
        model,
        HFGeneratorConfig(max_new_tokens=generator.max_new_tokens),
        LocalExecutorConfig(),
        rollout,
        alone,
        seed,
        folder / FOLDER,
    )
    try:
        parts.trainer.train(log_metrics, progress)
    finally:
        parts.close()
    learnt = parts.policy
    if not is_divided(learnt):
        return learnt
    policy = load_policy(replace(model, device=str(learnt.device)), seed)
    policy.load_trained(learnt.trained())
    return policy
