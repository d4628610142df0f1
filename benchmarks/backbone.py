"""Whether the open weights under the embedded model help: the same fine-tuning from three starts.

    python benchmarks/backbone.py [--tasks sweep drawer ...] [--seeds 3] [--name NAME] [--resume]
    kalie report run=outputs/backbone/latest document=docs/results.md name=backbone

* shipped: the base weights, i.e. the ImageNet backbone after generic pointing
* imagenet: the ImageNet backbone, everything else random
* random: the same network, all of it random; here no layer is frozen: frozen random layers would not learn

Photos, synthetic images, steps and augmentation are those of the benchmark's arm `full`, the same for all
three. The share of keypoints within 5 % of the image's side is measured on photos of validation instances,
with bootstrap intervals over images, and for differences paired ones. About 8 minutes a task and seed on two
cores. Every (task, start, seed) is kept as it is finished, and `--resume` goes on with what is missing; more
tasks and seeds may be asked for then.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from kalie.affordance.backbone import Backbone
from kalie.affordance.finetune import FinetuneConfig, finetune
from kalie.affordance.heatmap import HeatmapKeypointModel
from kalie.affordance.labels import LabelledImage
from kalie.affordance.metrics import point_errors
from kalie.cli._arms import Budget, photograph, training_set
from kalie.core.files import write_json
from kalie.core.progress import progress_bar
from kalie.core.runs import Run, RunConfig
from kalie.core.stats import bootstrap_mean, paired_difference
from kalie.sim.benchmark import PCK, TASKS
from kalie.sim.pointing import PretrainConfig, first_model
from kalie.sim.task import TaskName
from kalie.sim.world import World

Start = Literal["shipped", "imagenet", "random"]
STARTS: tuple[Start, ...] = get_args(Start)
COMPARED: tuple[tuple[Start, Start], ...] = (("imagenet", "random"), ("shipped", "imagenet"))
# Of the validation photos: no other series has it.
VALIDATION_SEED = 8_000
Shares = Mapping[tuple[str, int, int], float]
"""By task, seed and validation photo: the share of its keypoints that were found."""


@dataclass(frozen=True)
class BackboneConfig:
    """Keys of the run.

    Attributes:
        tasks: which.
        seeds: seeds 0 .. seeds - 1 of photos, synthesis, first weights and fine-tuning.
        budget: photos, images and fine-tuning.
        validation: photos of validation instances, of every task.
    """

    tasks: tuple[TaskName, ...]
    seeds: int
    budget: Budget
    validation: int


@dataclass(frozen=True)
class Cell:
    """The smallest thing that is kept."""

    task: TaskName
    start: Start
    seed: int

    def path(self, run: Path) -> Path:
        """Where its shares lie."""
        return run / "cells" / self.task / self.start / f"{self.seed}.json"


class OpenBackbone(Backbone):
    """The backbone with every layer trained."""

    def freeze(self) -> None:
        """Freeze none."""
        self.requires_grad_(True)


def first(start: Start, seed: int) -> HeatmapKeypointModel:
    """The network before fine-tuning; `imagenet` and `random` differ in the backbone alone."""
    shipped = HeatmapKeypointModel.load()
    if start == "shipped":
        return shipped
    model = first_model(PretrainConfig(seed=seed), list(shipped.config.vocabulary))
    if start == "random":
        torch.manual_seed(seed)
        model.backbone = OpenBackbone()
    return model


def cells(config: BackboneConfig) -> Iterator[Cell]:
    """All cells, seed by seed."""
    for seed in range(config.seeds):
        for name in config.tasks:
            for start in STARTS:
                yield Cell(name, start, seed)


def compute(run: Path, config: BackboneConfig) -> None:
    """Compute the cells that are missing."""
    missing = [cell for cell in cells(config) if not cell.path(run).exists()]
    samples: dict[tuple[TaskName, int], list[LabelledImage]] = {}
    validation: dict[TaskName, list[LabelledImage]] = {}
    with closing(World()) as world, progress_bar("cells") as progress:
        for done, cell in enumerate(missing):
            progress(done, len(missing))
            if cell.task not in validation:
                photos = photograph(world, cell.task, config.validation, VALIDATION_SEED, "validation")
                validation[cell.task] = photos
            if (cell.task, cell.seed) not in samples:
                images = training_set(world, cell.task, "full", cell.seed, config.budget, workers=2)
                samples = {(cell.task, cell.seed): images}
            found = shares(cell, samples[cell.task, cell.seed], validation[cell.task], config.budget.finetune)
            write_json(cell.path(run), {"shares": found})


def shares(
    cell: Cell, samples: Sequence[LabelledImage], validation: Sequence[LabelledImage], config: FinetuneConfig
) -> list[float]:
    """Fine-tune and look at the validation photos."""
    tuning = replace(config, training=replace(config.training, seed=cell.seed))
    model = finetune(first(cell.start, cell.seed), samples, config=tuning).eval()
    errors = point_errors(model, validation)
    return [float(np.mean(row[~np.isnan(row)] <= PCK)) for row in errors]


def add_rows(run: Run, config: BackboneConfig) -> None:
    """Shares and differences, by task and pooled."""
    found: dict[Start, dict[tuple[str, int, int], float]] = {start: {} for start in STARTS}
    for cell in cells(config):
        kept = json.loads(cell.path(run.path).read_text("utf-8"))["shares"]
        found[cell.start] |= {(cell.task, cell.seed, index): share for index, share in enumerate(kept)}
    for name in (*config.tasks, "all"):
        for start in STARTS:
            run.add_row(
                "pck_5_percent", *bootstrap_mean([*of(found[start], name).values()]), task=name, start=start
            )
        for start, other in COMPARED:
            difference = paired_difference(of(found[start], name), of(found[other], name))
            run.add_row("difference", *difference, task=name, start=start, other=other)


def of(found: Shares, name: str) -> Shares:
    """Those of one task, or all of them."""
    return {key: share for key, share in found.items() if name in (key[0], "all")}


def main() -> None:
    """Measure and write the run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of all runs")
    parser.add_argument("--name", default="", help="of the run; the time of the start when left out")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run of this name, or the latest"
    )
    parser.add_argument("--quick", action="store_true", help="tiny: to see that it runs, not to measure")
    options = parser.parse_args()
    budget = Budget()
    if options.quick:
        training = replace(budget.finetune.training, steps=2, batch_size=2)
        budget = Budget(2, 4, replace(budget.finetune, training=training))
    config = BackboneConfig(tuple(options.tasks), options.seeds, budget, 2 if options.quick else 60)
    where = RunConfig(options.outputs, options.name, options.resume)
    seeds = list(range(options.seeds))
    with Run.open("backbone", where, config, seeds, may_change=("tasks", "seeds")) as run:
        with run.stage("cells"):
            compute(run.path, config)
        add_rows(run, config)


if __name__ == "__main__":
    main()
