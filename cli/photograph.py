"""Photograph simulated scenes and label them as an annotator would."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from ..affordance.dataset import DatasetWriter
from ..affordance.labels import LabelledImage
from ..core.progress import ProgressCallback, progress_bar
from ..core.ranges import at_least
from ..core.report import Report
from ..core.runs import Run, RunConfig
from ..perception.segmentation import TabletopConfig
from ..perception.segmenters import (
    SEGMENTERS,
    NamedSegmenter,
    SegmenterConfig,
    build_segmenter,
    check_names,
)
from ..sim.annotate import ClickNoise, Photographer
from ..sim.objects import Split
from ..sim.registry import task
from ..sim.task import TaskName
from ..sim.world import World
from ._arms import registry
from ._pages import SHOWN, labelled
from ._verb import Verb

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotographConfig:
    """Keys of `kalie photograph`.

    Attributes:
        task: what the scenes show.
        split: train (one instance per category), validation or test.
        count: how many photos.
        seed: of the series.
        noise: of the clicks.
        segmenter: finds the masks; tabletop needs depth alone, the others look for names.
        names: what they look for, e.g. [brush,crumb].
        objects: a .py file or a folder with object families of your own; see examples/objects.
        run: where results go; the data set is its folder `photos`. Every photo is kept once it is taken;
            run.resume=true takes those that are missing.
    """

    task: TaskName = "sweep"
    split: Split = "train"
    count: int = 50
    seed: int = 0
    noise: ClickNoise = field(default_factory=ClickNoise)
    segmenter: SegmenterConfig = field(default_factory=TabletopConfig)
    names: tuple[str, ...] = ()
    objects: Path | None = None
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        at_least(self, 1, "count")
        at_least(self, 0, "seed")
        check_names(self.segmenter, self.names, "names")


def main(cfg: PhotographConfig) -> None:
    """Take the photos that are missing, one by one, into a data set."""
    families = registry(cfg.objects)
    segmenter = NamedSegmenter(build_segmenter(cfg.segmenter), cfg.names)
    with Run.open("photograph", cfg.run, cfg, seeds=[cfg.seed]) as run:
        photographer = Photographer(
            World(), task(cfg.task), cfg.split, families, cfg.noise, segmenter=segmenter
        )
        with run.stage("photograph"), progress_bar("photographing") as progress:
            photos = take(photographer, cfg, run.path / "photos", progress)
        report = Report(f"{cfg.count} photos of {cfg.task}")
        report.section("Photos").pictures([labelled(photo, photo.instruction) for photo in photos[:SHOWN]])
        report.write(run.path / "report" / "index.html")
        run.add_row("photos", len(photos), task=cfg.task, split=cfg.split)


def take(
    photographer: Photographer, cfg: PhotographConfig, folder: Path, progress: ProgressCallback
) -> list[LabelledImage]:
    """All photos of the series; those that the folder has are not taken again."""
    with DatasetWriter(folder, shard_size=1, resume=True) as writer:
        photos = list(writer.kept)
        if photos:
            log.info("%s has %d of %d photos", folder, len(photos), cfg.count)
        for index in range(len(photos), cfg.count):
            photos.append(photographer.photo(index, cfg.seed))
            writer.extend(photos[-1:])
            progress(index + 1, cfg.count)
    return photos


VERB = Verb(
    PhotographConfig,
    main,
    examples=(
        "kalie photograph task=sweep count=50",
        "kalie photograph split=test objects=examples/objects",
        "kalie photograph task=sweep segmenter=grounded_sam names=[brush,crumb]",
    ),
    groups={"segmenter": SEGMENTERS},
)
