"""Measure a trained agent on episodes it was not trained on, with floors and ceilings beside it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from ..core.config import ConfigError
from ..core.progress import ProgressCallback, progress_bar
from ..core.ranges import at_least
from ..core.report import Report, Role
from ..core.runs import Run, RunConfig
from ..core.stats import Interval
from ..rl.algorithms.best_of_n import BestOfNConfig
from ..rl.envs.registry import ENVS
from ..rl.executors import LocalExecutor
from ..rl.levels import reference_episodes
from ..rl.policy import Policy
from ..rl.registry import name_of, rollout_job
from ..rl.rollout import Finished, episodes
from ..rl.store import TrajectoryStore
from ..rl.trainer import WEIGHTS, load_weights
from ._agents import episode_figures, show_episodes, task_of
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
        temperature: of the sampling; 0 takes the most probable tokens, -1 the training's own.
        seed: of the episodes, none of which the training has seen.
        references: whether the environment's floor and ceiling play the same episodes.
        output: where results go.
    """

    run: Path
    weights: str = "model"
    episodes: int = 500
    temperature: float = 0.0
    seed: int = 1_000_000
    references: bool = True
    output: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes")
        at_least(self, 0, "seed")
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
    if isinstance(trained.algorithm, BestOfNConfig):
        raise ConfigError(
            "algorithm=best_of_n acts by its critic, which is no part of the saved policy; its figures are "
            "those of the training's own evaluations"
        )
    weights = cfg.run / cfg.weights / WEIGHTS
    if not weights.is_file():
        raise ConfigError(f"run={cfg.run}: holds no {cfg.weights}; is its training finished?")
    with Run.open("eval", cfg.output, cfg, [cfg.seed]) as run:
        with run.stage("evaluate"), progress_bar("evaluating") as progress:
            finished = evaluate(cfg, trained, weights, progress)
        TrajectoryStore(run.path / "episodes").write("agent", finished)
        env = task_of(trained.env, trained.task)
        measured = {"agent": episode_figures(finished)}
        if cfg.references:
            for name, played in reference_episodes(env, finished).items():
                measured[name] = played
        for who, figures in measured.items():
            for metric, (value, low, high, n) in figures.items():
                run.add_row(metric, value, low, high, n, player=who, env=name_of(env, ENVS))
        write_report(run.path / "report" / "index.html", measured, finished)
        print_table(measured, run)


def evaluate(
    cfg: EvalConfig, trained: TrainConfig, weights: Path, progress: ProgressCallback
) -> list[Finished]:
    """The agent's episodes, in order."""
    policy = Policy.load(replace(trained.model, weights=None), trained.seed)
    load_weights(policy, weights)
    generator = trained.generator
    if cfg.temperature >= 0:
        generator = replace(generator, temperature=cfg.temperature)
    env = task_of(trained.env, trained.task)
    executor = LocalExecutor(rollout_job(env, trained.model, generator, trained.rollout, cfg.seed), policy)
    finished: list[Finished] = []
    for item in executor.run(episodes(cfg.seed, "eval", 0, cfg.episodes)):
        finished.append(item)
        progress(len(finished), cfg.episodes)
    executor.close()
    return sorted(finished, key=lambda item: item.index)


def write_report(path: Path, measured: dict[str, dict[str, Interval]], finished: list[Finished]) -> None:
    """Table and episodes."""
    report = Report("An agent's episodes", subtitle=f"{len(finished)} episodes")
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
    table = Table("player", "metric", "value", "95 % interval", "n")
    for who, figures in measured.items():
        for metric, (value, low, high, n) in figures.items():
            table.add_row(who, metric, f"{value:.3f}", f"[{low:.3f}, {high:.3f}]", str(n))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"report: {run.path / 'report' / 'index.html'}", markup=False, soft_wrap=True)


VERB = Verb(
    EvalConfig,
    main,
    examples=(
        "kalie eval run=outputs/train/latest episodes=200",
        "kalie eval run=outputs/train/latest weights=best temperature=-1",
    ),
)
