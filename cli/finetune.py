"""Tune a keypoint model for one task on labelled images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..affordance.dataset import AffordanceDataset
from ..affordance.finetune import FinetuneConfig, finetune
from ..affordance.heatmap import BASE_WEIGHTS, HeatmapKeypointModel
from ..affordance.metrics import PCK_LEVELS, Metrics, predict_all, summarise
from ..core.checkpoint import CheckpointStore
from ..core.progress import progress_bar
from ..core.runs import Run, RunConfig
from ._verb import Verb


@dataclass(frozen=True)
class FinetuneVerbConfig:
    """Keys of `kalie finetune`.

    Attributes:
        data: data set of photos and synthetic images.
        validation: data set of other object instances, for early stopping and metrics; null for none.
        weights: folder of the model to start from; null for the shipped base weights.
        tuning: optimisation and augmentation.
        run: where the run is written; run.resume=true goes on after an interruption, bit for bit.
    """

    data: Path
    validation: Path | None = None
    weights: Path | None = None
    tuning: FinetuneConfig = field(default_factory=FinetuneConfig)
    run: RunConfig = field(default_factory=RunConfig)


def main(cfg: FinetuneVerbConfig) -> None:
    """Tune the model and write it to the run's folder `model`."""
    samples = AffordanceDataset.load(cfg.data)
    validation = AffordanceDataset.load(cfg.validation).items if cfg.validation is not None else ()
    base = HeatmapKeypointModel.load(cfg.weights or BASE_WEIGHTS)
    with Run.open("finetune", cfg.run, cfg, seeds=[cfg.tuning.training.seed]) as run:
        store = CheckpointStore(run.path / "checkpoints")
        with run.stage("fine-tune"), progress_bar("fine-tuning") as progress:
            model = finetune(
                base,
                samples.items,
                validation,
                cfg.tuning,
                store,
                progress,
                lambda step, figures: run.log(figures, step),
            )
        model.save_pretrained(run.path / "model")
        if validation:
            answers = predict_all(model, validation)
            add_metrics(run, summarise(answers, [sample.affordance for sample in validation]))


def add_metrics(run: Run, metrics: Metrics) -> None:
    """Put keypoint metrics into the summary."""
    for name, point in metrics.points.items():
        if point.count:
            run.add_row("median_error_thousandths", point.median, n=point.count, keypoint=name)
            for level in PCK_LEVELS:
                run.add_row(f"pck_{level:.2f}", point.pck[level], n=point.count, keypoint=name)
    run.add_row("presence", metrics.presence, n=metrics.count)
    run.add_row("invalid", metrics.invalid, n=metrics.count)


VERB = Verb(
    FinetuneVerbConfig,
    main,
    examples=(
        "kalie finetune data=outputs/synthesize/latest/dataset",
        "kalie finetune data=photos/sweep validation=photos/other tuning.training.steps=400",
    ),
)
