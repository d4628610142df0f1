"""Take a task from fifty photos to a working arm, and show every step in a report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from ..affordance.dataset import AffordanceDataset
from ..affordance.heatmap import HeatmapKeypointModel
from ..affordance.labels import LabelledImage
from ..affordance.model import KeypointModel, Prediction
from ..affordance.training import Log
from ..core.files import SUMS, write_json
from ..core.loggers import LOGGERS, LoggerConfig
from ..core.plots import interval_chart
from ..core.progress import progress_bar
from ..core.ranges import at_least
from ..core.report import Picture, Report, Video
from ..core.runs import Run, RunConfig
from ..sim.annotate import Photographer
from ..sim.benchmark import (
    ArmName,
    Cell,
    CellResult,
    Predictor,
    Score,
    comparisons,
    from_model,
    from_oracle,
    run_cell,
    scene_seed,
    scores,
)
from ..sim.episode import act
from ..sim.registry import task
from ..sim.staging import StagedScene, stage
from ..sim.task import TaskName
from ..sim.world import World
from ._arms import Budget, learn, multiply
from ._pages import answered, labelled, show_children
from ._tables import ARM_TITLES, add_rows, comparison_table, percent, role, score_table
from ._verb import Verb
from .bench import cell_path, finished
from .photograph import PhotographConfig, take

LEARNED: tuple[ArmName, ...] = ("photos_augmented", "full", "full_1")
SHOWN: tuple[ArmName, ...] = ("zero_shot", *LEARNED, "oracle")


@dataclass(frozen=True)
class DemoConfig:
    """Keys of `kalie demo`.

    Attributes:
        task: which of the five tasks.
        episodes: scenes of unseen families per arm.
        seed: of photos, synthesis, fine-tuning and scenes.
        budget: photos, images and fine-tuning.
        workers: processes that synthesise.
        logger: where the figures of fine-tuning and each arm's success go besides metrics.jsonl.
        run: where the run goes. Every photo, synthetic image, tuned model and finished arm is kept;
            run.resume=true goes on after them.
    """

    task: TaskName = "sweep"
    episodes: int = 20
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    workers: int = 2
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        at_least(self, 1, "episodes", "workers")
        at_least(self, 0, "seed")


class Images(NamedTuple):
    """What the three learning arms are trained on."""

    photos: list[LabelledImage]
    full: list[LabelledImage]
    full_1: list[LabelledImage]

    def of(self, arm: ArmName) -> list[LabelledImage]:
        """An arm's training images."""
        return {"photos_augmented": self.photos, "full": self.full, "full_1": self.full_1}[arm]


class Shown(NamedTuple):
    """One arm at one scene."""

    staged: StagedScene
    prediction: Prediction


def main(cfg: DemoConfig) -> None:
    """Photograph, synthesise, fine-tune, run the arm on unseen families, and report."""
    may_change = ("workers", "logger")
    with (
        closing(World()) as world,
        Run.open("demo", cfg.run, cfg, [cfg.seed], logger=cfg.logger, may_change=may_change) as run,
    ):
        images = _images(run, world, cfg)
        predictors = _predictors(run, cfg, images)
        results = _episodes(run, world, cfg, predictors)
        table, compared = scores(results), comparisons(results)
        add_rows(run, table, compared)
        report = Report(
            f"From {cfg.budget.photos} labelled photos to a working arm", subtitle=f"task: {cfg.task}"
        )
        section = report.section("Success on families that neither photos nor base model contain")
        section.plot(interval_chart({s.arm: s.success for s in table if s.task == cfg.task}, "success"))
        score_table(section, [score for score in table if score.task == cfg.task])
        comparison_table(section, [item for item in compared if item.task == cfg.task])
        _show_images(report, cfg, images)
        _show_arms(report, run, world, cfg, predictors)
        _show_stages(report, run)
        report.write(run.path / "report" / "index.html")
        _print_table(table, run)


def _images(run: Run, world: World, cfg: DemoConfig) -> Images:
    """The arms' images; those that the run has are not made again."""
    series = PhotographConfig(task=cfg.task, count=cfg.budget.photos, seed=cfg.seed)
    with run.stage("photograph"), progress_bar("photographing") as progress:
        take(Photographer(world, task(cfg.task)), series, run.path / "photos", progress)
    photos = list(AffordanceDataset.load(run.path / "photos").items)
    full = _multiplied(run, cfg, "synthesising", photos, "full")
    return Images(photos, full, _multiplied(run, cfg, "synthesising from one", photos[:1], "full_1"))


def _multiplied(
    run: Run, cfg: DemoConfig, title: str, photos: list[LabelledImage], arm: ArmName
) -> list[LabelledImage]:
    folder = run.path / "synthetic" / arm
    with run.stage(title), progress_bar(title) as progress:
        return multiply(
            photos, cfg.task, cfg.budget.images, cfg.seed,
            workers=cfg.workers, progress=progress, folder=folder,
        )  # fmt: skip


def _predictors(run: Run, cfg: DemoConfig, images: Images) -> dict[ArmName, Predictor]:
    models: dict[ArmName, KeypointModel] = {"zero_shot": HeatmapKeypointModel.load()}
    for arm in LEARNED:
        models[arm] = _tuned(run, cfg, arm, images.of(arm))
    return {**{arm: from_model(model) for arm, model in models.items()}, "oracle": from_oracle()}


def _tuned(run: Run, cfg: DemoConfig, arm: ArmName, images: list[LabelledImage]) -> HeatmapKeypointModel:
    """An arm's model; one that the run has is not tuned again."""
    folder, title = run.path / "models" / arm, f"fine-tuning {arm}"
    if (folder / SUMS).exists():  # Written last.
        return HeatmapKeypointModel.load(folder)
    log = log_of(run, arm, LEARNED.index(arm) * cfg.budget.finetune.training.steps)
    with run.stage(title), progress_bar(title) as progress:
        model = learn(arm, images, cfg.seed, cfg.budget, progress, log)
    model.save_pretrained(folder)
    return model


def log_of(run: Run, arm: ArmName, first: int) -> Log:
    """Log an arm's figures under its name; trackers want steps that grow, so they count from `first`."""
    return lambda step, figures: run.log({f"{arm}/{key}": figures[key] for key in figures}, first + step)


def _episodes(
    run: Run, world: World, cfg: DemoConfig, predictors: dict[ArmName, Predictor]
) -> list[CellResult]:
    """Every arm's result, read back as it was kept."""
    cells = [Cell(cfg.task, arm, cfg.seed) for arm in SHOWN]
    with run.stage("running the arm"), progress_bar("running the arm") as progress:
        for index, cell in enumerate(cells):
            offset = index * cfg.episodes

            def advance(done: int, _: int, offset: int = offset) -> None:
                progress(offset + done, len(cells) * cfg.episodes)

            if finished(run.path, cell, cfg.episodes) is None:
                result = run_cell(world, cell, predictors[cell.arm], cfg.episodes, progress=advance)
                write_json(cell_path(run.path, cell), result.to_json())
                won = sum(bool(episode["success"]) for episode in result.episodes)
                step = len(LEARNED) * cfg.budget.finetune.training.steps + index + 1
                run.log({f"{cell.arm}/success": won / cfg.episodes}, step)
            advance(cfg.episodes, cfg.episodes)
    kept = [finished(run.path, cell, cfg.episodes) for cell in cells]
    return [result for result in kept if result is not None]


def _show_images(report: Report, cfg: DemoConfig, images: Images) -> None:
    section = report.section("Photos and synthetic images")
    shown = ", ".join(task(cfg.task).categories)
    section.text(f"Labelled photos of one object each ({shown}), clicked with the noise of a human hand.")
    section.pictures([labelled(photo, photo.instruction) for photo in images.photos[:8]])
    show_children(section, images.photos, images.full[len(images.photos) :])


def _show_arms(
    report: Report, run: Run, world: World, cfg: DemoConfig, predictors: dict[ArmName, Predictor]
) -> None:
    predicted = report.section("Predictions on unseen objects")
    films = report.section("The arm at work")
    with run.stage("filming"), progress_bar("filming") as progress:
        videos = []
        for index, arm in enumerate(SHOWN):
            shown = [_look(world, cfg, predictors[arm], episode) for episode in range(min(4, cfg.episodes))]
            predicted.text(f"{arm}: {ARM_TITLES[arm]}")
            predicted.pictures([_answer(look) for look in shown])
            videos.append(_film(world, cfg, arm, predictors[arm]))
            progress(index + 1, len(SHOWN))
    films.videos(videos)


def _look(world: World, cfg: DemoConfig, predict: Predictor, episode: int) -> Shown:
    staged = stage(world, task(cfg.task), "test", scene_seed(cfg.seed, episode))
    return Shown(staged, predict(staged))


def _answer(shown: Shown) -> Picture:
    return answered(shown.staged.frame.rgb, shown.prediction, shown.staged.scene.instruction)


def _film(world: World, cfg: DemoConfig, arm: ArmName, predict: Predictor) -> Video:
    shown = _look(world, cfg, predict, 0)
    frames = [shown.staged.frame.rgb]
    episode = act(world, shown.staged, shown.prediction, film=frames.append)
    ending = "success" if episode.success else f"failure: {episode.reason}"
    return Video(frames, f"{arm} — “{shown.staged.scene.instruction}” — {ending}", fps=10)


def _show_stages(report: Report, run: Run) -> None:
    rows = [
        [stage.name, round(stage.seconds, 1), f"{stage.peak_bytes / 2**30:.2f} GiB"] for stage in run.stages
    ]
    report.section("Time and memory").table(["stage", "seconds", "peak memory"], rows)


def _print_table(table: Sequence[Score], run: Run) -> None:
    shown = Table("arm", "learned from", "success", title="Success on unseen object families, 95 % interval")
    for score in table:
        if score.task != "all":
            style = {"floor": "dim", "ceiling": "cyan"}.get(role(score.arm), "")
            shown.add_row(score.arm, ARM_TITLES[score.arm], percent(score.success), style=style)
    console = Console(highlight=False)
    console.print(shown)
    console.print(f"report: {run.path / 'report' / 'index.html'}")


VERB = Verb(
    DemoConfig,
    main,
    examples=("kalie demo", "kalie demo task=drawer episodes=40", "kalie demo logger=trackio"),
    groups={"logger": LOGGERS},
)
