"""Run the benchmark: success of every arm on unseen object families, resumable cell by cell."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..affordance.models import HeatmapModelConfig, ModelConfig
from ..core.config import to_primitive
from ..core.files import write_json
from ..core.loggers import LOGGERS, LoggerConfig
from ..core.progress import ProgressCallback, progress_bar
from ..core.ranges import at_least
from ..core.resources import usable_cores
from ..core.runs import Run, RunConfig
from ..core.workers import worker_pool
from ..perception.segmentation import TabletopConfig
from ..perception.segmenters import SegmenterConfig
from ..sim.benchmark import ARMS, TASKS, Actor, ArmName, Cell, CellResult, comparisons, run_cell, scores
from ..sim.episode import act
from ..sim.task import TaskName
from ._arms import Budget, ZeroShot, predictor, registry
from ._models import SCENE_GROUPS, check_pair
from ._ros_env import enter_ros, find_ros, localhost_only
from ._tables import add_rows, write_report
from ._verb import Verb


@dataclass(frozen=True)
class BenchConfig:
    """Keys of `kalie bench`.

    Attributes:
        task: one task, or all five.
        arms: which arms; see docs/results.md for what each learns from.
        episodes: per cell, that is per task, arm and seed.
        seeds: seeds 0 .. seeds - 1; each has its own photos, synthesis, fine-tuning and scenes.
        budget: photos, images and fine-tuning of the learning arms.
        model: what arm zero_shot answers with, as it is: the shipped base model, or any other.
        segmenter: of model=moka, finds the objects; tabletop needs no names, the others model.objects.
        objects: a .py file or a folder of URDFs with families of your own.
        arm: sim is the library's simulated arm; ros2 is the same one behind a ROS 2 graph, brought up for it.
        workers: processes; 0 for one per core.
        logger: where each finished cell's success goes besides metrics.jsonl.
        run: where the run goes; run.resume=true goes on with the finished cells of an earlier one.
    """

    task: Literal["all", "sweep", "drawer", "towel", "pour", "unplug"] = "all"
    arms: tuple[ArmName, ...] = ARMS
    episodes: int = 20
    seeds: int = 5
    budget: Budget = field(default_factory=Budget)
    model: ModelConfig = field(default_factory=HeatmapModelConfig)
    segmenter: SegmenterConfig = field(default_factory=TabletopConfig)
    objects: Path | None = None
    arm: Literal["sim", "ros2"] = "sim"
    workers: int = 0
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "seeds")
        at_least(self, 0, "workers")
        if not self.arms or len(set(self.arms)) != len(self.arms):
            raise ValueError(f"arms={list(self.arms)} must name one or more arms, each once")
        self.budget.check_arms(self.arms)
        if self.arm == "ros2" and self.objects is not None:
            raise ValueError("objects: the simulated arm of arm=ros2 knows the project's own families only")
        check_pair(self.model, self.segmenter, TabletopConfig())
        if self.model != HeatmapModelConfig() and "zero_shot" not in self.arms:
            raise ValueError("model is what arm zero_shot answers with; arms does not name it")


def cells(cfg: BenchConfig) -> Iterator[Cell]:
    """All cells, seed by seed, so that a run cut short has whole rounds of every arm."""
    tasks: Sequence[TaskName] = TASKS if cfg.task == "all" else (cfg.task,)
    for seed in range(cfg.seeds):
        for name in tasks:
            for arm in cfg.arms:
                yield Cell(name, arm, seed)


def cell_path(folder: Path, cell: Cell) -> Path:
    """Where a finished cell lies."""
    return folder / "cells" / f"{cell.name}.json"


def finished(folder: Path, cell: Cell, episodes: int) -> CellResult | None:
    """A cell's result, if it is there with at least that many episodes (only so many are used)."""
    path = cell_path(folder, cell)
    if not path.exists():
        return None
    result = CellResult.from_json(json.loads(path.read_text("utf-8")))
    if len(result.episodes) < episodes:
        return None
    return replace(result, episodes=result.episodes[:episodes], errors=result.errors[:episodes])


def compute(folder: Path, cell: Cell, cfg: BenchConfig) -> Cell:
    """Learn and run one cell, and keep it; runs in a process of its own with one torch thread."""
    import torch

    from ..sim.world import World

    torch.set_num_threads(1)
    families, started = registry(cfg.objects), time.perf_counter()
    with closing(World()) as world:
        asked = ZeroShot(cfg.model, cfg.segmenter)
        predict = predictor(world, cell.task, cell.arm, cell.seed, cfg.budget, families, asked)
        learning = time.perf_counter() - started
        with _actor(cfg, folder / "graph" / cell.name) as actor:
            result = run_cell(world, cell, predict, cfg.episodes, families, actor=actor)
    result = replace(result, seconds={"learning": learning, **result.seconds})
    write_json(cell_path(folder, cell), result.to_json())
    return cell


@contextmanager
def _actor(cfg: BenchConfig, folder: Path) -> Iterator[Actor]:
    """Who carries predictions out."""
    if cfg.arm == "sim":
        yield act
        return
    from ._ros_bench import graph_arm

    with graph_arm(folder) as arm:
        yield arm.act


def main(cfg: BenchConfig) -> None:
    """Run the cells that are missing, then write the table, the plots and the comparisons."""
    may_change = ("task", "arms", "episodes", "seeds", "workers", "logger")
    registry(cfg.objects)  # Refused here, before there is a run.
    if cfg.arm == "ros2":
        enter_ros(localhost_only(find_ros().distro))
    seeds = list(range(cfg.seeds))
    with Run.open("bench", cfg.run, cfg, seeds, logger=cfg.logger, may_change=may_change) as run:
        wanted = list(cells(cfg))
        with run.stage("cells"), progress_bar("cells") as progress:
            _run_missing(run, wanted, cfg, progress)
        found = [finished(run.path, cell, cfg.episodes) for cell in wanted]
        results = [result for result in found if result is not None]
        add_rows(run, scores(results), comparisons(results))
        write_report(run, "kalie benchmark", scores(results), comparisons(results), to_primitive(cfg))


def _run_missing(run: Run, wanted: Sequence[Cell], cfg: BenchConfig, progress: ProgressCallback) -> None:
    missing = [cell for cell in wanted if finished(run.path, cell, cfg.episodes) is None]
    done = len(wanted) - len(missing)
    progress(done, len(wanted))
    for cell in _compute_all(run.path, missing, cfg):
        done += 1
        progress(done, len(wanted))
        _log(run, cell, cfg.episodes, done)


def _log(run: Run, cell: Cell, episodes: int, step: int) -> None:
    """Log how often a finished cell succeeded, as e.g. "sweep/full/success"."""
    result = finished(run.path, cell, episodes)
    if result is not None:
        won = sum(bool(episode["success"]) for episode in result.episodes)
        run.log({f"{cell.task}/{cell.arm}/success": won / episodes}, step)


def _compute_all(folder: Path, missing: Sequence[Cell], cfg: BenchConfig) -> Iterator[Cell]:
    workers = min(cfg.workers or usable_cores(), len(missing))
    if workers <= 1:
        yield from (compute(folder, cell, cfg) for cell in missing)
        return
    with worker_pool(workers) as pool:
        for future in as_completed([pool.submit(compute, folder, cell, cfg) for cell in missing]):
            yield future.result()


VERB = Verb(
    BenchConfig,
    main,
    examples=(
        "kalie bench task=sweep arms=[zero_shot,photos_augmented,full,oracle] episodes=20 seeds=2",
        "kalie bench run.resume=true run.name=full seeds=5",
        "kalie bench arm=ros2 task=sweep arms=[oracle] seeds=1 workers=1",
        "kalie bench arms=[zero_shot,oracle,random] model=moka model.chat.url=http://localhost:8000/v1 "
        "model.chat.model=NAME",
        "kalie bench task=sweep arms=[zero_shot] model=smolvlm_256m workers=1 "
        "model.adapter=outputs/finetune/latest/model",
    ),
    groups={**SCENE_GROUPS, "logger": LOGGERS},
)
