"""The config group `algorithm`, and the parts of a job put together and checked against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ..core.checkpoint import load_tensors
from ..core.config import ConfigError
from .algorithm import Algorithm, Tools
from .algorithms.archer import Archer, ArcherConfig
from .algorithms.archer_offline import OfflineArcher, OfflineArcherConfig
from .algorithms.best_of_n import BestOfNChooser, BestOfNConfig
from .algorithms.cot_ppo import CoTPPO, CoTPPOConfig
from .algorithms.filtered_bc import FilteredBC, FilteredBCConfig
from .algorithms.ppo import PPO, PPOConfig
from .algorithms.reinforce import Reinforce, ReinforceConfig
from .algorithms.sft import SFT, SFTConfig
from .base_policy import BasePolicy
from .collect import Collected, Collector
from .critic import ActorCritic, CriticConfig, make_critic
from .envs.base import EnvConfig
from .envs.manipulation_config import ManipulationConfig
from .envs.registry import ENVS, make_env
from .envs.rendered import RenderedConfig
from .executors import (
    Executor,
    ExecutorConfig,
    LocalExecutor,
    RolloutJob,
    check_executor,
    in_this_process,
    make_executor,
)
from .generation import (
    Generator,
    GeneratorConfig,
    HFGeneratorConfig,
    check_capabilities,
    check_server,
)
from .keypoint_config import KeypointPolicyConfig
from .models import ModelConfig
from .policies import load_policy
from .policy import language_of
from .rollout import RolloutConfig
from .store import TrajectoryStore
from .trainer import DDPTrainerConfig, Trainer, TrainerConfig
from .values import StateValuer, UtteranceValuer, Valuer

AlgorithmConfig: TypeAlias = (
    CoTPPOConfig
    | PPOConfig
    | ReinforceConfig
    | FilteredBCConfig
    | SFTConfig
    | ArcherConfig
    | OfflineArcherConfig
    | BestOfNConfig
)
_CLASSES: Mapping[str, tuple[type, Any]] = {
    "cot_ppo": (CoTPPOConfig, CoTPPO),
    "ppo": (PPOConfig, PPO),
    "reinforce": (ReinforceConfig, Reinforce),
    "filtered_bc": (FilteredBCConfig, FilteredBC),
    "sft": (SFTConfig, SFT),
    "archer": (ArcherConfig, Archer),
    "archer_offline": (OfflineArcherConfig, OfflineArcher),
    "best_of_n": (BestOfNConfig, BestOfNChooser),
}
ALGORITHMS: dict[str, type] = {name: config for name, (config, _) in _CLASSES.items()}
"""The choices of the config group `algorithm`."""
OF_ANY_TOKENS = ("ppo", "reinforce", "filtered_bc")
"""Algorithms that ask a policy for scores alone, whatever its tokens stand for."""


def name_of(config: object, choices: Mapping[str, type]) -> str:
    """The name of the choice that a config is."""
    return next(name for name, cls in choices.items() if type(config) is cls)


def algorithm_class(config: AlgorithmConfig) -> Any:  # noqa: ANN401  a class with the constructor of `Algorithm`s
    """The algorithm of a config."""
    return _CLASSES[name_of(config, ALGORITHMS)][1]


def check_job(
    algorithm: AlgorithmConfig,
    env: EnvConfig,
    model: ModelConfig,
    generator: GeneratorConfig,
    executor: ExecutorConfig,
) -> None:
    """Refuse parts that do not go together, before any work.

    Raises:
        ConfigError: naming the parts and what would do.
    """
    who = f"algorithm={name_of(algorithm, ALGORITHMS)}"
    if isinstance(model, KeypointPolicyConfig):
        check_keypoints(algorithm, env, generator)
    if isinstance(env, ManipulationConfig) and env.split == "test":
        raise ConfigError(
            "env.split=test is held out from training; use train or validation, and kalie eval split=test"
        )
    check_capabilities(generator, algorithm_class(algorithm).needs, who)
    check_server(generator, model)
    counting = isinstance(algorithm, CoTPPOConfig | PPOConfig | ReinforceConfig) and bool(algorithm.turns)
    check_executor(executor, counting)
    if isinstance(algorithm, BestOfNConfig) and not in_this_process(executor):
        raise ConfigError(
            f"{who} chooses by a critic that only this process has; use executor=local executor.processes=1"
        )
    check_sight(env, model)


def check_keypoints(algorithm: AlgorithmConfig, env: EnvConfig, generator: GeneratorConfig) -> None:
    """Refuse what a keypoint model as a policy cannot do.

    Raises:
        ConfigError: naming the part that does not go with it and what would do.
    """
    name = name_of(algorithm, ALGORITHMS)
    if not isinstance(env, ManipulationConfig):
        raise ConfigError(f"model=keypoint_base answers env=manipulation only, not env={name_of(env, ENVS)}")
    if name not in OF_ANY_TOKENS:
        raise ConfigError(
            f"algorithm={name} needs a language model, and model=keypoint_base is none; use algorithm="
            f"{' or '.join(OF_ANY_TOKENS)}"
        )
    if not isinstance(generator, HFGeneratorConfig):
        raise ConfigError("generator=openai serves language models; model=keypoint_base needs generator=hf")


def check_sight(env: EnvConfig, model: ModelConfig) -> None:
    """Refuse an environment that shows images to a model that reads only text; nothing is made for it.

    Raises:
        ConfigError: see there.
    """
    if model.sees or not env.shows_images:
        return
    remedy = "env.rendering=text, or " if isinstance(env, RenderedConfig) else ""
    raise ConfigError(
        f"env={name_of(env, ENVS)} shows images, but the model reads only text; use {remedy}a model that "
        "sees, such as model=tiny_vlm"
    )


@dataclass(frozen=True)
class Parts:
    """All parts of a job.

    Attributes:
        trainer: runs it.
        policy: that is trained.
        executors: to be closed at the end.
    """

    trainer: Trainer
    policy: BasePolicy
    executors: tuple[Executor, ...]

    def close(self) -> None:
        """End environments and workers."""
        for executor in self.executors:
            executor.close()


def rollout_job(
    env: EnvConfig, model: ModelConfig, generator: GeneratorConfig, rollout: RolloutConfig, seed: int
) -> RolloutJob:
    """What a process needs to run episodes."""
    return RolloutJob(model, seed, generator, rollout, partial(make_env, env), env.env_id)


def build_training(
    algorithm: AlgorithmConfig,
    env: EnvConfig,
    model: ModelConfig,
    generator: GeneratorConfig,
    executor: ExecutorConfig,
    rollout: RolloutConfig,
    trainer: TrainerConfig,
    seed: int,
    folder: Path,
    policy: BasePolicy | None = None,
) -> Parts:
    """Put a job together.

    Args:
        algorithm: that trains.
        env: that is trained in.
        model: of the policy.
        generator: of its responses.
        executor: where episodes run.
        rollout: how environments are run.
        trainer: how long and how often.
        seed: of everything random.
        folder: of the run.
        policy: of that model, to go on with; None loads it.
    """
    accelerator = trainer.accelerator()
    assigned = isinstance(trainer, DDPTrainerConfig)
    own = replace(model, device=str(accelerator.device)) if assigned else model
    policy = policy or load_policy(own, seed)
    job = rollout_job(env, model, generator, rollout, seed)
    running = make_executor(executor, job, policy)
    keeps = trainer.keep_trajectories and accelerator.is_main_process
    trajectories = TrajectoryStore(folder / "trajectories") if keeps else None
    collector = Collector(running, seed, "train", trajectories, accelerator)
    tools = Tools(policy, collector, accelerator, job, env, seed, trainer.updates)
    made: Algorithm = algorithm_class(algorithm)(algorithm, tools)
    chooser = made.chooser if isinstance(made, BestOfNChooser) else None
    evaluator = _Evaluator(tools, trainer, folder, made.valuer, chooser) if trainer.evaluate_every else None
    evaluate = evaluator.evaluate if evaluator else None
    loop = Trainer(trainer, made, policy, collector, evaluate, folder, accelerator)
    return Parts(loop, policy, (running, evaluator.executor) if evaluator else (running,))


def load_valuer(algorithm: AlgorithmConfig, policy: BasePolicy, path: Path) -> Valuer | None:
    """The critic that a run has saved beside its policy.

    Args:
        algorithm: that the run trained with.
        policy: the run's, its weights loaded.
        path: of the critic's weights.

    Returns:
        None for an algorithm without a critic.

    Raises:
        CheckpointError: the file is missing, damaged, or no safetensors file.
    """
    if isinstance(algorithm, CoTPPOConfig | PPOConfig):
        per = "turn" if isinstance(algorithm, CoTPPOConfig) else "token"
        valuer: Valuer = StateValuer(ActorCritic(policy, algorithm.value_hidden, per), algorithm.micro_turns)
    elif isinstance(algorithm, BestOfNConfig):
        valuer = _utterance_valuer(algorithm.critic.critic, policy, algorithm.critic.micro_turns)
    elif isinstance(algorithm, ArcherConfig | OfflineArcherConfig):
        valuer = _utterance_valuer(algorithm.critic, policy, algorithm.micro_turns)
    else:
        return None
    valuer.module.load_state_dict(load_tensors(path))
    return valuer


def _utterance_valuer(config: CriticConfig, policy: BasePolicy, micro_turns: int) -> UtteranceValuer:
    return UtteranceValuer(make_critic(config, language_of(policy), seed=0), policy, micro_turns)


class _Evaluator:
    """Runs the same evaluation episodes with whatever the policy has become."""

    def __init__(
        self,
        tools: Tools,
        trainer: TrainerConfig,
        folder: Path,
        valuer: Valuer | None,
        chooser: Generator | None = None,
    ) -> None:
        generator = replace(tools.job.generator, temperature=trainer.evaluation_temperature)
        self.executor = LocalExecutor(replace(tools.job, generator=generator), tools.policy, chooser)
        self._tools = tools
        self._valuer = valuer
        self._episodes = trainer.evaluation_episodes
        main = tools.accelerator.is_main_process
        self._store = TrajectoryStore(folder / "evaluations") if main else None

    def evaluate(self, update: int) -> Collected:
        """Run them."""
        tools = self._tools
        collector = Collector(self.executor, tools.seed, "evaluation", self._store, tools.accelerator)
        return collector.collect(f"update-{update:06d}", self._episodes, valuer=self._valuer)
