"""Train a language or vision-language agent in an environment, by reinforcement or from demonstrations."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from ..core.config import to_primitive
from ..core.loggers import LOGGERS, JsonlLogger, LoggerConfig
from ..core.progress import progress_bar
from ..core.ranges import at_least
from ..core.report import Report
from ..core.runs import Run, RunConfig
from ..rl.algorithms.cot_ppo import CoTPPOConfig
from ..rl.base_policy import BasePolicy
from ..rl.envs.base import EnvConfig
from ..rl.envs.number_line import NumberLineConfig
from ..rl.envs.registry import ENVS
from ..rl.executors import EXECUTORS, ExecutorConfig, LocalExecutorConfig
from ..rl.generation import GENERATORS, GeneratorConfig, HFGeneratorConfig
from ..rl.models import MODELS, ModelConfig, TinyVLMConfig
from ..rl.registry import ALGORITHMS, AlgorithmConfig, build_training, check_job, name_of
from ..rl.rollout import RolloutConfig
from ..rl.trainer import TRAINERS, Log, Outcome, Progress, SingleTrainerConfig, TrainerConfig
from ..rl.warm_start import FOLDER, WarmStartConfig, has_warm_start, warm_start
from ._agents import add_episode_rows, show_episodes, show_training, task_of
from ._processes import start_processes
from ._verb import Verb

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """Keys of `kalie train`.

    Attributes:
        algorithm: how the policy is improved.
        env: the environment.
        task: of env=manipulation, instead of env.task; empty otherwise.
        model: of the policy; model.weights=RUN/model starts from an earlier run.
        generator: of its responses.
        executor: where episodes run.
        warm_start: demonstrations that an untrained model learns first.
        rollout: how environments are run.
        trainer: how long, how often to evaluate and save, and on how many processes.
        logger: where figures go besides metrics.jsonl.
        seed: of everything random.
        run: where results go. The same command again goes on where an interrupted run stopped.
    """

    algorithm: AlgorithmConfig = field(default_factory=CoTPPOConfig)
    env: EnvConfig = field(default_factory=NumberLineConfig)
    task: str = ""
    model: ModelConfig = field(default_factory=TinyVLMConfig)
    generator: GeneratorConfig = field(default_factory=HFGeneratorConfig)
    executor: ExecutorConfig = field(default_factory=LocalExecutorConfig)
    warm_start: WarmStartConfig = field(default_factory=WarmStartConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    trainer: TrainerConfig = field(default_factory=SingleTrainerConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    seed: int = 0
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        at_least(self, 0, "seed")
        env = task_of(self.env, self.task)
        check_job(self.algorithm, env, self.model, self.generator, self.executor)
        has_warm_start(self.warm_start, self.algorithm, env, self.model)


def main(cfg: TrainConfig) -> None:
    """Warm start, train to the end, then write the last evaluation's figures and episodes."""
    if processes := cfg.trainer.processes_to_start():
        start_processes(processes)
    where = where_to(cfg)
    if int(os.environ.get("RANK", "0")) > 0:
        # The first process writes; the others help it to train.
        folder = where.outputs / "train" / where.name
        train(cfg, folder, learn_demonstrations(cfg, folder, _tell_nobody), _tell_nobody)
        return
    with Run.open(
        "train", where, cfg, [cfg.seed], logger=cfg.logger, may_change=["logger", "executor"]
    ) as run:
        policy = None
        if starts_warm(cfg):
            (run.path / FOLDER).mkdir(exist_ok=True)
            with (
                closing(JsonlLogger(run.path / FOLDER / "metrics.jsonl")) as logger,
                run.stage("warm start"),
                progress_bar("warm start") as progress,
            ):
                policy = learn_demonstrations(cfg, run.path, logger.log, progress)
        elif cfg.warm_start.when == "untrained":
            log.info("no warm start: the model or the algorithm begins with weights or data of its own")
        with run.stage("train"), progress_bar("training") as progress:
            outcome = train(cfg, run.path, policy, run.log, progress)
        write_results(run, cfg, outcome)


def starts_warm(cfg: TrainConfig) -> bool:
    """Whether the job begins with demonstrations."""
    return has_warm_start(cfg.warm_start, cfg.algorithm, task_of(cfg.env, cfg.task), cfg.model)


def learn_demonstrations(
    cfg: TrainConfig, folder: Path, log: Log, progress: Progress | None = None
) -> BasePolicy | None:
    """This process's part of the warm start: its policy, or None for a job without one."""
    if not starts_warm(cfg):
        return None
    env = task_of(cfg.env, cfg.task)
    return warm_start(
        cfg.warm_start,
        env,
        cfg.model,
        cfg.generator,
        cfg.rollout,
        cfg.trainer,
        cfg.seed,
        folder,
        log,
        progress,
    )


def train(
    cfg: TrainConfig, folder: Path, policy: BasePolicy | None, log: Log, progress: Progress | None = None
) -> Outcome:
    """This process's part of the training, from a policy or from the model of the config."""
    parts = build_training(
        cfg.algorithm,
        task_of(cfg.env, cfg.task),
        cfg.model,
        cfg.generator,
        cfg.executor,
        cfg.rollout,
        cfg.trainer,
        cfg.seed,
        folder,
        policy,
    )
    try:
        return parts.trainer.train(log, progress)
    finally:
        parts.close()


def _tell_nobody(metrics: Mapping[str, float], step: int) -> None:
    """A log that keeps nothing."""


def where_to(cfg: TrainConfig) -> RunConfig:
    """The run's folder: named after what is trained, so that the same command finds it again."""
    name = cfg.run.name or run_name(cfg)
    exists = (cfg.run.outputs / "train" / name / "config.yaml").is_file()
    return replace(cfg.run, name=name, resume=exists)


def run_name(cfg: TrainConfig) -> str:
    """`<algorithm>-<env>-<seed>-<digest of the config>`."""
    plain = to_primitive(cfg)
    assert isinstance(plain, dict)  # noqa: S101  a dataclass
    told = {key: value for key, value in plain.items() if key not in ("run", "logger", "executor")}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
    return f"{name_of(cfg.algorithm, ALGORITHMS)}-{name_of(cfg.env, ENVS)}-{cfg.seed}-{digest}"


def write_results(run: Run, cfg: TrainConfig, outcome: Outcome) -> None:
    """Rows, report and a closing line."""
    report = Report("Training an agent", subtitle=run.path.name)
    if (run.path / FOLDER).is_dir():
        show_training(report.section("Warm start"), run.path / FOLDER / "metrics.jsonl")
    section = report.section("Training")
    if outcome.stopped:
        section.text(f"Stopped after {outcome.updates} updates: {outcome.stopped}.")
    show_training(section, run.path / "metrics.jsonl")
    labels = {"algorithm": name_of(cfg.algorithm, ALGORITHMS), "env": name_of(cfg.env, ENVS)}
    finished = add_episode_rows(run, run.path / "evaluations", **labels)
    show_episodes(report.section("Episodes of the last evaluation"), finished)
    report.write(run.path / "report" / "index.html")
    Console(highlight=False).print(f"run: {run.path}", markup=False, soft_wrap=True)


VERB = Verb(
    TrainConfig,
    main,
    examples=(
        "kalie train algorithm=cot_ppo env=number_line",
        "kalie train algorithm=sft env=number_line algorithm.misjudge=0.3 run.name=warm",
        "kalie train algorithm=cot_ppo env=number_line model.weights=outputs/train/warm/model",
        "kalie train algorithm=ppo env=twenty_questions model=tiny_lm",
        "kalie train algorithm=reinforce env=number_line env.rendering=text model=smollm2_135m",
    ),
    groups={
        "algorithm": ALGORITHMS,
        "env": {"number_line": NumberLineConfig, **ENVS},
        "model": {"tiny_vlm": TinyVLMConfig, **MODELS},
        "generator": GENERATORS,
        "executor": EXECUTORS,
        "trainer": TRAINERS,
        "logger": LOGGERS,
    },
    tuned_by=("algorithm", "env", "model"),
)
