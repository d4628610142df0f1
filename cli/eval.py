"""Measure a trained agent on episodes it was not trained on, with floors and ceilings beside it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

import yaml

from ..core.config import ConfigError
from ..core.progress import ProgressCallback, progress_bar
from ..core.ranges import at_least
from ..core.report import Report, Role
from ..core.runs import Run, RunConfig
from ..core.stats import Interval, paired_difference
from ..rl.algorithms.archer import ArcherConfig
from ..rl.algorithms.archer_offline import OfflineArcherConfig
from ..rl.algorithms.best_of_n import BestOfNConfig, make_chooser
from ..rl.envs.base import EnvConfig
from ..rl.envs.manipulation_config import ManipulationConfig
from ..rl.envs.registry import ENVS
from ..rl.executors import LocalExecutor
from ..rl.keypoint_config import KeypointPolicyConfig
from ..rl.levels import reference_episodes
from ..rl.policies import load_policy
from ..rl.registry import ALGORITHMS, load_valuer, name_of, rollout_job
from ..rl.rollout import Finished, episodes
from ..rl.samples import Numbers
from ..rl.store import TrajectoryStore
from ..rl.trainer import CRITIC
from ..rl.warm_start import FOLDER
from ._agents import episode_figures, show_episodes, task_of
from ._pages import print_figures
from ._verb import Verb
from .train import VERB as TRAIN
from .train import TrainConfig


@dataclass(frozen=True)
class EvalConfig:
    """Keys of `kalie eval`.

    Attributes:
        run: a run of `kalie train`.
        weights: best (of the training's evaluations) or model (the last).
        episodes: how many.
        temperature: of the sampling; 0 takes the most probable tokens, -1 the training's own; null for 0 or,
            where a critic chooses, -1.
        samples: responses of which the critic of a run of archer or best_of_n chooses one (best of n); 1 for
            no choice, 0 for as many as the run was trained with.
        seed: of the episodes, none of which the training has seen.
        split: of env=manipulation, whose objects and look; the training's own if empty.
        references: whether the environment's floor and ceiling play the same episodes, and the model that
            reinforcement began with: after the warm start, or model.weights or a keypoint model as the
            training found them.
        device: of torch, e.g. "cpu" for a model that was trained on a GPU host; the training's own if empty.
        output: where results go.
    """

    run: Path
    weights: str = "model"
    episodes: int = 500
    temperature: float | None = None
    samples: int = 0
    seed: int = 1_000_000
    split: Literal["", "train", "validation", "test"] = ""
    references: bool = True
    device: str = ""
    output: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes")
        at_least(self, 0, "seed", "samples")
        if self.temperature is not None:
            at_least(self, -1, "temperature")
        if self.weights not in ("model", "best"):
            raise ValueError(f"weights={self.weights} must be model or best")


def training_of(run: Path) -> TrainConfig:
    """The config of a training run.

    Raises:
        ConfigError: there is none.
    """
    file = run / "config.yaml"
    if not file.is_file():
        raise ConfigError(f"run={run}: no run of kalie train lies here")
    return TRAIN.schema("train").build(yaml.safe_load(file.read_text("utf-8")))


def main(cfg: EvalConfig) -> None:
    """Play the episodes, and write figures and a report."""
    trained = training_of(cfg.run)
    if cfg.device:
        trained = replace(trained, model=replace(trained.model, device=cfg.device))
    folder = cfg.run / cfg.weights
    if not folder.is_dir():
        raise ConfigError(f"run={cfg.run}: holds no {cfg.weights}; is its training finished?")
    check_samples(cfg, trained)
    env = env_of(cfg, trained)
    with Run.open("eval", cfg.output, cfg, [cfg.seed]) as run:
        with run.stage("evaluate"), progress_bar("evaluating") as progress:
            finished, values = evaluate(cfg, trained, folder, progress)
        TrajectoryStore(run.path / "episodes").write("agent", finished, values)
        measured = {"agent": episode_figures(finished)}
        if cfg.references and (began := beginning(cfg.run, trained)):
            with run.stage("start"), progress_bar("evaluating the start") as progress:
                start, _ = evaluate(replace(cfg, samples=1), trained, began.folder, progress)
            measured["start"] = episode_figures(start)
            measured["agent"]["gain"] = gain(finished, start)
        if cfg.references:
            with run.stage("references"):
                measured |= reference_episodes(env, finished)
        labels = labels_of(env)
        for who, figures in measured.items():
            for metric, (value, low, high, n) in figures.items():
                run.add_row(metric, value, low, high, n, player=who, **labels)
        subtitle = f"{len(finished)} episodes of {', '.join(labels.values())}, by {cfg.run.resolve().name}"
        write_report(run.path / "report" / "index.html", subtitle, measured, finished)
        print_table(measured, run)


class Beginning(NamedTuple):
    """What reinforcement began with: a folder of weights, or None for the config's model itself."""

    folder: Path | None


def beginning(run: Path, trained: TrainConfig) -> Beginning | None:
    """What reinforcement began with, where it did not begin with chance."""
    if (learnt := run / FOLDER / "model").is_dir():
        return Beginning(learnt)
    known = isinstance(trained.model, KeypointPolicyConfig) or trained.model.weights is not None
    return Beginning(None) if known else None


def env_of(cfg: EvalConfig, trained: TrainConfig) -> EnvConfig:
    """The environment of the training, on the split that is asked for as the benchmark shows it.

    Raises:
        ConfigError: only manipulation has splits.
    """
    env = task_of(trained.env, trained.task)
    if not cfg.split:
        return env
    if not isinstance(env, ManipulationConfig):
        raise ConfigError(f"split={cfg.split}: only env=manipulation has splits")
    return replace(env, split=cfg.split, variation=None)


def labels_of(env: EnvConfig) -> dict[str, str]:
    """What the rows of the summary are about."""
    labels = {"env": name_of(env, ENVS)}
    return {**labels, "task": env.task, "split": env.split} if isinstance(env, ManipulationConfig) else labels


def samples_of(cfg: EvalConfig, trained: TrainConfig) -> int:
    """Of how many responses a critic chooses one; 1 where none chooses."""
    as_trained = trained.algorithm.samples if isinstance(trained.algorithm, BestOfNConfig) else 1
    return cfg.samples or as_trained


def check_samples(cfg: EvalConfig, trained: TrainConfig) -> None:
    """Refuse to choose among responses that no critic can judge, or that are all alike.

    Raises:
        ConfigError: see there.
    """
    samples, algorithm = samples_of(cfg, trained), trained.algorithm
    if samples == 1:
        return
    if not isinstance(algorithm, BestOfNConfig | ArcherConfig | OfflineArcherConfig):
        name = name_of(algorithm, ALGORITHMS)
        raise ConfigError(f"samples={samples}: algorithm={name} has no critic of utterances to choose by")
    if cfg.temperature == 0:
        raise ConfigError(f"temperature=0: the {samples} samples to choose from would be all alike")
    if not (cfg.run / cfg.weights / CRITIC).is_file():
        raise ConfigError(f"run={cfg.run}: holds no {cfg.weights}/{CRITIC} to choose by")


class Played(NamedTuple):
    """An agent's episodes in order, and what its critic expected of each (see `Valuer`); none without one."""

    finished: list[Finished]
    values: list[Numbers]


def evaluate(
    cfg: EvalConfig, trained: TrainConfig, folder: Path | None, progress: ProgressCallback
) -> Played:
    """Let an agent play.

    Args:
        cfg: how.
        trained: the training.
        folder: of what the agent has learnt; None for the model as the training found it.
        progress: called with (episodes played, episodes in all).
    """
    samples = samples_of(cfg, trained)
    model = trained.model if folder is None else replace(trained.model, weights=folder)
    policy = load_policy(model, trained.seed)
    critic = None if folder is None else folder / CRITIC
    valuer = load_valuer(trained.algorithm, policy, critic) if critic and critic.is_file() else None
    default = 0.0 if samples == 1 else -1.0
    temperature = default if cfg.temperature is None else cfg.temperature
    generator = trained.generator
    if temperature >= 0:
        generator = replace(generator, temperature=temperature)
    chooser = make_chooser(generator, policy, valuer.module, samples) if valuer and samples > 1 else None
    job = rollout_job(env_of(cfg, trained), model, generator, trained.rollout, cfg.seed)
    executor = LocalExecutor(job, policy, chooser)
    finished: list[Finished] = []
    for item in executor.run(episodes(cfg.seed, "eval", 0, cfg.episodes)):
        finished.append(item)
        progress(len(finished), cfg.episodes)
    executor.close()
    finished.sort(key=lambda item: item.index)
    return Played(finished, valuer.values([item.trajectory for item in finished]) if valuer else [])


def gain(finished: list[Finished], start: list[Finished]) -> Interval:
    """How much more often the first succeed than the second, of the episodes that both have."""
    first, second = (
        {item.index: float(item.trajectory.success) for item in played} for played in (finished, start)
    )
    both = sorted(first.keys() & second.keys())
    return paired_difference({key: first[key] for key in both}, {key: second[key] for key in both})


def write_report(
    path: Path, subtitle: str, measured: dict[str, dict[str, Interval]], finished: list[Finished]
) -> None:
    """Table and episodes."""
    report = Report("An agent's episodes", subtitle)
    rows = [
        (who, metric, value, low, high, n)
        for who, figures in measured.items()
        for metric, (value, low, high, n) in figures.items()
    ]
    known: dict[str, Role] = {"random": "floor", "expert": "ceiling"}
    roles: list[Role] = [known.get(row[0], "") for row in rows]
    section = report.section("Figures")
    section.table(["player", "metric", "value", "low", "high", "n"], rows, roles)
    show_episodes(report.section("Episodes"), finished)
    report.write(path)


def print_table(measured: dict[str, dict[str, Interval]], run: Run) -> None:
    """Print what `summary.json` holds, and where the report lies."""
    rows = [
        ([who, metric], interval) for who, figures in measured.items() for metric, interval in figures.items()
    ]
    print_figures(["player", "metric"], rows, run)


VERB = Verb(
    EvalConfig,
    main,
    examples=(
        "kalie eval run=outputs/train/latest episodes=200",
        "kalie eval run=outputs/train/latest weights=best temperature=-1",
        "kalie eval run=outputs/train/latest samples=5",
        "kalie eval run=outputs/train/latest split=test episodes=100",
    ),
)
