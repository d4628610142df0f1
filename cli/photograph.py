"""Photograph simulated scenes and label them as an annotator would."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..affordance.dataset import AffordanceDataset
from ..core.progress import progress_bar
from ..core.report import Picture, Report
from ..core.runs import Run, RunConfig
from ..sim.annotate import ClickNoise, Photographer
from ..sim.objects import Split
from ..sim.registry import task
from ..sim.task import TaskName
from ..sim.world import World
from ._arms import registry
from ._verb import Verb

SHOWN = 12


@dataclass(frozen=True)
class PhotographConfig:
    """Keys of `kalie photograph`.

    Attributes:
        task: what the scenes show.
        split: train (one instance per category), validation or test.
        count: how many photos.
        seed: of the series.
        noise: of the clicks.
        objects: a .py file or a folder with object families of your own; see examples/objects.
        run: where results go; the data set is its folder `photos`.
    """

    task: TaskName = "sweep"
    split: Split = "train"
    count: int = 50
    seed: int = 0
    noise: ClickNoise = field(default_factory=ClickNoise)
    objects: Path | None = None
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count={self.count} must be at least 1")


def main(cfg: PhotographConfig) -> None:
    """Take the photos and save them as a data set."""
    with Run.open("photograph", cfg.run, cfg, seeds=[cfg.seed]) as run:
        photographer = Photographer(World(), task(cfg.task), cfg.split, registry(cfg.objects), cfg.noise)
        with run.stage("photograph"), progress_bar("photographing") as progress:
            photos = photographer.photograph(cfg.count, cfg.seed, progress)
        AffordanceDataset(tuple(photos)).save(run.path / "photos")
        report = Report(f"{cfg.count} photos of {cfg.task}")
        pictures = []
        for photo in photos[:SHOWN]:
            points = {name: (point.x, point.y) for name, point in photo.affordance.keypoints()}
            pictures.append(Picture(photo.rgb, photo.instruction, dict(points)))
        report.section("Photos").pictures(pictures)
        report.write(run.path / "report" / "index.html")
        run.add_row("photos", len(photos), task=cfg.task, split=cfg.split)


VERB = Verb(
    PhotographConfig,
    main,
    examples=("kalie photograph task=sweep count=50", "kalie photograph split=test objects=examples/objects"),
)
