"""Measure how far a model's keypoints are from the labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..affordance.dataset import AffordanceDataset
from ..affordance.labels import LabelledImage
from ..affordance.metrics import errors
from ..affordance.model import KeypointModel, Prediction
from ..affordance.models import HeatmapModelConfig, ModelConfig, build_model
from ..core.files import write_json
from ..core.plots import interval_chart
from ..core.progress import ProgressCallback, progress_bar
from ..core.report import Report
from ..core.runs import Run, RunConfig
from ..perception.segmenters import GroundedSamConfig, PhotoSegmenterConfig
from ._keypoint_metrics import Measured, add_metrics, metric_table, pck_name, refusals
from ._models import PHOTO_GROUPS, check_pair
from ._pages import SHOWN, answered, labelled, print_figures
from ._verb import Verb

# Images asked about between two looks at what is answered already.
CHUNK = 16


@dataclass(frozen=True)
class EvaluateConfig:
    """Keys of `kalie evaluate`.

    Attributes:
        data: data set of labelled images.
        model: what is measured.
        segmenter: of model=moka, finds model.objects in the images.
        allow_partial: whether a data set that was cut off mid-write is used as far as it goes.
        run: where results go. Every answer is kept once it is given; run.resume=true asks for those missing.
    """

    data: Path
    model: ModelConfig = field(default_factory=HeatmapModelConfig)
    segmenter: PhotoSegmenterConfig = field(default_factory=GroundedSamConfig)
    allow_partial: bool = False
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        check_pair(self.model, self.segmenter, GroundedSamConfig())


def main(cfg: EvaluateConfig) -> None:
    """Ask about every image, then write the metrics and a report with the worst answers."""
    samples = AffordanceDataset.load(cfg.data, cfg.allow_partial).items
    if not samples:
        raise ValueError(f"{cfg.data}: no labelled images to measure on")
    model = build_model(cfg.model, cfg.segmenter)
    with Run.open("evaluate", cfg.run, cfg) as run:
        with run.stage("predict"), progress_bar("predicting") as progress:
            predictions = answers(model, samples, run.path / "answers", progress)
        measured = add_metrics(run, predictions, samples)
        write_report(run.path / "report" / "index.html", measured, predictions, samples)
        print_table(measured, run)


def answers(
    model: KeypointModel, samples: Sequence[LabelledImage], folder: Path, progress: ProgressCallback
) -> list[Prediction]:
    """One prediction per image, each kept in `folder`; those that it has are not asked for again."""
    for first in range(0, len(samples), CHUNK):
        part = samples[first : first + CHUNK]
        missing = [sample for sample in part if not _path(folder, sample).exists()]
        found = model.predict([sample.rgb for sample in missing], [sample.instruction for sample in missing])
        for sample, prediction in zip(missing, found, strict=True):
            write_json(_path(folder, sample), prediction.to_json())
        progress(first + len(part), len(samples))
    return [Prediction.from_json(json.loads(_path(folder, sample).read_text("utf-8"))) for sample in samples]


def _path(folder: Path, sample: LabelledImage) -> Path:
    return folder / f"{sample.id}.json"


def write_report(
    path: Path,
    measured: Sequence[Measured],
    predictions: Sequence[Prediction],
    samples: Sequence[LabelledImage],
) -> None:
    """Write the metrics, the reasons of unusable answers, and pictures: the worst first."""
    report = Report("Keypoints against labels", subtitle=f"{len(samples)} labelled images")
    section = report.section("Metrics")
    within = {item.keypoint: item.interval for item in measured if item.metric == pck_name(0.05)}
    section.plot(interval_chart(within, "share within 5 % of the image's side"))
    metric_table(section, measured)
    if unusable := refusals(predictions):
        report.section("Unusable answers").table(["reason", "answers"], unusable)
    section = report.section("The worst answers, and some of the others")
    section.text("Left the label, right the answer.")
    section.pairs(
        [
            (
                labelled(samples[i], samples[i].instruction),
                answered(samples[i].rgb, predictions[i], samples[i].id),
            )
            for i in shown(predictions, samples)
        ],
        names=("label", "answer"),
    )
    report.write(path)


def shown(predictions: Sequence[Prediction], samples: Sequence[LabelledImage]) -> list[int]:
    """The images of the report: the worst by mean error, then some spread over the better ones."""
    distances = errors(predictions, [sample.affordance for sample in samples])
    mean = np.nansum(distances, axis=1) / np.maximum(1, (~np.isnan(distances)).sum(axis=1))
    order = np.argsort(-mean, kind="stable")
    rest = order[SHOWN // 2 :]
    spread = rest[np.linspace(0, len(rest) - 1, min(SHOWN // 2, len(rest))).astype(int)]
    return [*order[: SHOWN // 2].tolist(), *spread.tolist()]


def print_table(measured: Sequence[Measured], run: Run) -> None:
    """Print the metrics of all keypoints together, and where the report lies."""
    rows = [([metric], interval) for metric, keypoint, interval in measured if keypoint == "all"]
    print_figures(["metric"], rows, run, "All keypoints")


VERB = Verb(
    EvaluateConfig,
    main,
    examples=(
        "kalie evaluate data=photos/other",
        "kalie evaluate data=photos/other model.weights=outputs/finetune/latest/model",
        "kalie evaluate data=photos/other model=smolvlm_256m model.adapter=outputs/finetune/latest/model",
        "kalie evaluate data=photos/other model=moka model.objects=[brush,crumb]",
    ),
    groups=PHOTO_GROUPS,
)
