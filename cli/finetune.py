"""Tune a keypoint model on labelled images, of one task or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..affordance.dataset import AffordanceDataset
from ..affordance.finetune import FinetuneConfig, finetune
from ..affordance.heatmap import HeatmapKeypointModel
from ..affordance.labels import LabelledImage
from ..affordance.metrics import predict_all
from ..affordance.models import HeatmapModelConfig
from ..affordance.shipped import weights_folder
from ..affordance.text import TextKeypointModel, TextModelConfig
from ..affordance.text_finetune import TextFinetuneConfig, finetune_text
from ..affordance.training import Log, Progress
from ..core.checkpoint import CheckpointStore
from ..core.loggers import LOGGERS, LoggerConfig
from ..core.progress import progress_bar
from ..core.ranges import at_least, below
from ..core.report import Report
from ..core.runs import Run, RunConfig
from ._keypoint_metrics import add_metrics, metric_table
from ._pages import show_answers, show_curves, spread
from ._verb import Verb


@dataclass(frozen=True)
class FinetuneVerbConfig:
    """Keys of `kalie finetune`.

    Attributes:
        data: data set of photos and synthetic images, or a list of them: one model for several tasks.
        validation: data set of other object instances, for early stopping and metrics; null for none.
        validation_share: share of the parent photos of `data` that is held out for that instead, each with
            all its children; 0 for none.
        allow_partial: whether a data set that was cut off mid-write is used as far as it goes.
        model: where tuning starts; a text model gets a LoRA adapter.
        tuning: optimisation and augmentation of the embedded model.
        text_tuning: optimisation and augmentation of a text model.
        logger: where the figures of training go besides metrics.jsonl.
        run: where the run is written; run.resume=true goes on after an interruption, bit for bit.
    """

    data: Path | tuple[Path, ...]
    validation: Path | None = None
    validation_share: float = 0.0
    allow_partial: bool = False
    model: HeatmapModelConfig | TextModelConfig = field(default_factory=HeatmapModelConfig)
    tuning: FinetuneConfig = field(default_factory=FinetuneConfig)
    text_tuning: TextFinetuneConfig = field(default_factory=TextFinetuneConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        at_least(self, 0, "validation_share")
        below(self, 1, "validation_share")
        if self.data == ():
            raise ValueError("data=[] names no data set")
        if self.validation_share and self.validation is not None:
            raise ValueError(f"validation_share={self.validation_share} and validation exclude each other")
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
    samples, validation = images(cfg)
    start = load(cfg.model)
    with Run.open(
        "finetune", cfg.run, cfg, seeds=[cfg.seed], logger=cfg.logger, may_change=["logger"]
    ) as run:
        store = CheckpointStore(run.path / "checkpoints")
        with run.stage("fine-tune"), progress_bar("fine-tuning") as progress:
            model = tune(cfg, start, samples, validation, store, progress, lambda step, f: run.log(f, step))
        save(model, run.path / "model")
        write_report(run, model, samples, validation)


def write_report(
    run: Run,
    model: HeatmapKeypointModel | TextKeypointModel,
    samples: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
) -> None:
    """Measure on the validation images, and show the training and what the model answers."""
    report = Report("Fine-tuning", subtitle=f"{len(samples)} images, {len(validation)} to validate on")
    show_curves(report.section("Training"), run.path / "metrics.jsonl")
    seen = spread(samples)
    with run.stage("predict"), progress_bar("predicting") as progress:
        answers = predict_all(model, validation, progress=progress)
        recalled = predict_all(model, seen, progress=progress)
    if validation:
        metric_table(report.section("Keypoints on validation images"), add_metrics(run, answers, validation))
        show_answers(report.section("Answers to validation images"), validation, answers)
    show_answers(report.section("Answers to training images"), seen, recalled)
    report.write(run.path / "report" / "index.html")


def images(cfg: FinetuneVerbConfig) -> tuple[tuple[LabelledImage, ...], tuple[LabelledImage, ...]]:
    """The images to learn from, and those to validate on.

    Raises:
        ValueError: a data set cannot be read, or has no photo left to learn from.
    """
    folders = cfg.data if isinstance(cfg.data, tuple) else (cfg.data,)
    parts = [AffordanceDataset.load(folder, cfg.allow_partial).items for folder in folders]
    data = AffordanceDataset(tuple(item for part in parts for item in part))
    if cfg.validation is not None:
        return data.items, AffordanceDataset.load(cfg.validation, cfg.allow_partial).items
    if not cfg.validation_share:
        return data.items, ()
    validation, rest = data.split(cfg.validation_share, cfg.seed)
    if not len(rest):
        photos = len({item.provenance.parent for item in data})
        named = ", ".join(map(str, folders))
        raise ValueError(
            f"validation_share={cfg.validation_share} leaves none of the {photos} photos of {named}"
        )
    return rest.items, validation.items


def load(model: HeatmapModelConfig | TextModelConfig) -> HeatmapKeypointModel | TextKeypointModel:
    """The model that tuning starts from."""
    if isinstance(model, TextModelConfig):
        return TextKeypointModel.load(model)
    return HeatmapKeypointModel.load(weights_folder(model.weights))


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


VERB = Verb(
    FinetuneVerbConfig,
    main,
    examples=(
        "kalie finetune data=outputs/synthesize/latest/dataset",
        "kalie finetune data=[photos/sweep,photos/drawer]",
        "kalie finetune data=photos/sweep validation=photos/other tuning.training.steps=400",
        "kalie finetune data=photos/sweep validation_share=0.2 logger=wandb",
        "kalie finetune data=photos/sweep model=smolvlm_256m text_tuning.training.steps=300",
    ),
    groups={"model": {"heatmap": HeatmapModelConfig, "text": TextModelConfig}, "logger": LOGGERS},
)
