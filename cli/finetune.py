"""Tune a keypoint model for one task on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..affordance.dataset import AffordanceDataset
from ..affordance.finetune import FinetuneConfig, finetune
from ..affordance.heatmap import BASE_WEIGHTS, HeatmapKeypointModel
from ..affordance.labels import LabelledImage
from ..affordance.metrics import PCK_LEVELS, Metrics, predict_all, summarise
from ..affordance.models import HeatmapModelConfig
from ..affordance.text import TextKeypointModel, TextModelConfig
from ..affordance.text_finetune import TextFinetuneConfig, finetune_text
from ..affordance.training import Log, Progress
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
        model: where tuning starts; a text model gets a LoRA adapter.
        tuning: optimisation and augmentation of the embedded model.
        text_tuning: optimisation and augmentation of a text model.
        run: where the run is written; run.resume=true goes on after an interruption, bit for bit.
    """

    data: Path
    validation: Path | None = None
    model: HeatmapModelConfig | TextModelConfig = field(default_factory=HeatmapModelConfig)
    tuning: FinetuneConfig = field(default_factory=FinetuneConfig)
    text_tuning: TextFinetuneConfig = field(default_factory=TextFinetuneConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if isinstance(self.model, TextModelConfig) and self.tuning != FinetuneConfig():
            raise ValueError("tuning is of the embedded model; a text model has text_tuning")
        if isinstance(self.model, HeatmapModelConfig) and self.text_tuning != TextFinetuneConfig():
            raise ValueError("text_tuning is of a text model; the embedded one has tuning")

    @property
    def seed(self) -> int:
        """Of the tuning that runs."""
        text = isinstance(self.model, TextModelConfig)
        return self.text_tuning.training.seed if text else self.tuning.training.seed


def main(cfg: FinetuneVerbConfig) -> None:
    """Tune the model and write it (of a text model: its adapter) to the run's folder `model`."""
    samples = AffordanceDataset.load(cfg.data).items
    validation = AffordanceDataset.load(cfg.validation).items if cfg.validation is not None else ()
    start = load(cfg.model)
    with Run.open("finetune", cfg.run, cfg, seeds=[cfg.seed]) as run:
        store = CheckpointStore(run.path / "checkpoints")
        with run.stage("fine-tune"), progress_bar("fine-tuning") as progress:
            model = tune(cfg, start, samples, validation, store, progress, lambda step, f: run.log(f, step))
        save(model, run.path / "model")
        if validation:
            answers = predict_all(model, validation)
            add_metrics(run, summarise(answers, [sample.affordance for sample in validation]))


def load(model: HeatmapModelConfig | TextModelConfig) -> HeatmapKeypointModel | TextKeypointModel:
    """The model that tuning starts from."""
    if isinstance(model, TextModelConfig):
        return TextKeypointModel.load(model)
    return HeatmapKeypointModel.load(model.weights or BASE_WEIGHTS)


def tune(
    cfg: FinetuneVerbConfig,
    start: HeatmapKeypointModel | TextKeypointModel,
    samples: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    store: CheckpointStore,
    progress: Progress,
    log: Log,
) -> HeatmapKeypointModel | TextKeypointModel:
    """Tune the model."""
    if isinstance(start, TextKeypointModel):
        return finetune_text(start, samples, validation, cfg.text_tuning, store, progress, log)
    return finetune(start, samples, validation, cfg.tuning, store, progress, log)


def save(model: HeatmapKeypointModel | TextKeypointModel, folder: Path) -> None:
    """Write the tuned model; an adapter that a finished run left there is the same one."""
    if isinstance(model, HeatmapKeypointModel):
        model.save_pretrained(folder)
    elif not folder.exists():
        model.save_adapter(folder)


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
        "kalie finetune data=photos/sweep model=smolvlm_256m text_tuning.training.steps=300",
    ),
    groups={"model": {"heatmap": HeatmapModelConfig, "text": TextModelConfig}},
)
