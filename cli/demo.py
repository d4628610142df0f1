"""Take table sweeping from fifty photos to a working arm, and show every step in a report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from ..affordance.heatmap import HeatmapKeypointModel
from ..affordance.labels import LabelledImage
from ..affordance.model import KeypointModel, Prediction
from ..core.files import write_json
from ..core.plots import interval_chart
from ..core.progress import progress_bar
from ..core.report import Picture, Report, Video
from ..core.runs import Run, RunConfig
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
from ._arms import Budget, learn, multiply, photograph
from ._tables import ARM_TITLES, add_rows, comparison_table, percent, role, score_table
from ._verb import Verb

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
        run: where the run goes.
    """

    task: TaskName = "sweep"
    episodes: int = 20
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    workers: int = 2
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.workers < 1:
            raise ValueError("episodes and workers must be at least 1")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must not be negative")


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
    with closing(World()) as world, Run.open("demo", cfg.run, cfg, [cfg.seed]) as run:
        images = _images(run, world, cfg)
        predictors = _predictors(run, cfg, images)
        results = _episodes(run, world, cfg, predictors)
        table, compared = scores(results), comparisons(results)
        add_rows(run, table, compared)
        for result in results:
            write_json(run.path / "cells" / f"{result.cell.name}.json", result.to_json())
        report = Report(
            f"From {cfg.budget.photos} labelled photos to a working arm", subtitle=f"task: {cfg.task}"
        )
        section = report.section("Success on families that neither photos nor base model contain")
        section.plot(interval_chart({s.arm: s.success for s in table if s.task == cfg.task}, "success"))
        score_table(section, [score for score in table if score.task == cfg.task])
        comparison_table(section, [item for item in compared if item.task == cfg.task])
        _show_images(report, images)
        _show_arms(report, run, world, cfg, predictors)
        _show_stages(report, run)
        report.write(run.path / "report" / "index.html")
        _print_table(table, run)


def _images(run: Run, world: World, cfg: DemoConfig) -> Images:
    with run.stage("photograph"), progress_bar("photographing") as progress:
        photos = photograph(world, cfg.task, cfg.budget.photos, cfg.seed, progress=progress)
    made = []
    for title, some in (("synthesising", photos), ("synthesising from one", photos[:1])):
        with run.stage(title), progress_bar(title) as progress:
            total = cfg.budget.images
            made.append(multiply(some, cfg.task, total, cfg.seed, workers=cfg.workers, progress=progress))
    return Images(photos, *made)


def _predictors(run: Run, cfg: DemoConfig, images: Images) -> dict[ArmName, Predictor]:
    models: dict[ArmName, KeypointModel] = {"zero_shot": HeatmapKeypointModel.load()}
    for arm in LEARNED:
        title = f"fine-tuning {arm}"
        with run.stage(title), progress_bar(title) as progress:
            model = learn(arm, images.of(arm), cfg.seed, cfg.budget, progress)
        model.save_pretrained(run.path / "models" / arm)
        models[arm] = model
    return {**{arm: from_model(model) for arm, model in models.items()}, "oracle": from_oracle()}


def _episodes(
    run: Run, world: World, cfg: DemoConfig, predictors: dict[ArmName, Predictor]
) -> list[CellResult]:
    results = []
    with run.stage("running the arm"), progress_bar("running the arm") as progress:
        for index, arm in enumerate(SHOWN):
            offset = index * cfg.episodes

            def advance(done: int, _: int, offset: int = offset) -> None:
                progress(offset + done, len(SHOWN) * cfg.episodes)

            cell = Cell(cfg.task, arm, cfg.seed)
            results.append(run_cell(world, cell, predictors[arm], cfg.episodes, progress=advance))
    return results


def _show_images(report: Report, images: Images) -> None:
    section = report.section("Photos and synthetic images")
    section.text("Labelled photos: one brush, one piece of trash, clicked with the noise of a human hand.")
    section.pictures([_picture(photo, photo.instruction) for photo in images.photos[:8]])
    parents = {photo.id: photo for photo in images.photos}
    children = [image for image in images.full if image.provenance.source == "synthetic"]
    chosen = [children[i] for i in np.linspace(0, len(children) - 1, 12).astype(int)]
    section.text("Synthetic images beside the photos they were made from.")
    section.pairs([(_picture(parents[c.provenance.parent]), _picture(c)) for c in chosen])


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


def _film(world: World, cfg: DemoConfig, arm: ArmName, predict: Predictor) -> Video:
    shown = _look(world, cfg, predict, 0)
    frames = [shown.staged.frame.rgb]
    episode = act(world, shown.staged, shown.prediction, film=frames.append)
    ending = "success" if episode.success else f"failure: {episode.reason}"
    return Video(frames, f"{arm} — “{shown.staged.scene.instruction}” — {ending}", fps=10)


def _picture(image: LabelledImage, caption: str = "") -> Picture:
    points = {name: (point.x, point.y) for name, point in image.affordance.keypoints()}
    return Picture(image.rgb, caption, dict(points))


def _answer(shown: Shown) -> Picture:
    prediction, caption = shown.prediction, shown.staged.scene.instruction
    if prediction.affordance is None:
        return Picture(shown.staged.frame.rgb, f"{caption} (no answer: {prediction.error})")
    points = {str(name): (point.x, point.y) for name, point in prediction.affordance.keypoints()}
    return Picture(shown.staged.frame.rgb, caption, points)


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
    examples=("kalie demo", "kalie demo task=drawer episodes=40"),
)
