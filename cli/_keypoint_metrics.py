"""How far keypoints are from labels, as summary rows and tables; shared by `evaluate` and `finetune`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..affordance.labels import LabelledImage
from ..affordance.metrics import PCK_LEVELS, Metrics, PointMetrics, errors, labelled_objects, summarise
from ..affordance.model import Prediction
from ..affordance.schema import KEYPOINT_NAMES
from ..core.report import Section
from ..core.runs import Run
from ..core.stats import Interval, bootstrap_mean, wilson

RESAMPLES = 2000
# Of all keypoints together.
ALL = "all"


class Measured(NamedTuple):
    """One metric of one keypoint (or of `ALL`)."""

    metric: str
    keypoint: str
    interval: Interval


def pck_name(level: float) -> str:
    """E.g. "pck_0.05": share of points within 5 % of the image's side."""
    return f"pck_{level:.2f}"


def measure(scores: Metrics, distances: NDArray[np.float64]) -> list[Measured]:
    """Every metric with its 95 % interval: Wilson for shares of points, bootstrap over images for means.

    Args:
        scores: from `summarise`; a keypoint that no label has is left out.
        distances: (N, 5) from `errors`.
    """
    out: list[Measured] = []
    for column, name in enumerate(KEYPOINT_NAMES):
        known = distances[:, column][~np.isnan(distances[:, column])]
        if len(known):
            out.append(Measured("mean_error_thousandths", name, _mean(1000 * known)))
            out += [Measured(metric, name, share) for metric, share in _shares(scores.points[name])]
    labelled = distances[~np.isnan(distances).all(axis=1)]
    if len(labelled):
        out.append(Measured("mean_error_thousandths", ALL, _mean(1000 * np.nanmean(labelled, axis=1))))
        for level in PCK_LEVELS:
            hits = np.where(np.isnan(labelled), np.nan, labelled <= level)
            out.append(Measured(pck_name(level), ALL, _mean(np.nanmean(hits, axis=1))))
    out.append(Measured("all_within_10", ALL, _share(scores.all_within_10, scores.count)))
    out.append(Measured("invalid", ALL, _share(scores.invalid, scores.count)))
    return out


def _shares(point: PointMetrics) -> Iterator[tuple[str, Interval]]:
    for level in PCK_LEVELS:
        yield pck_name(level), _share(point.pck[level], point.count)
    if point.part_count:
        yield "on_part", _share(point.on_part, point.part_count)


def _share(value: float, count: int) -> Interval:
    return wilson(round(value * count), count)


def _mean(values: NDArray[np.float64]) -> Interval:
    return bootstrap_mean(values.tolist(), resamples=RESAMPLES)


def add_metrics(
    run: Run, predictions: Sequence[Prediction], samples: Sequence[LabelledImage]
) -> list[Measured]:
    """Put every metric into the summary, and return those with an interval."""
    truths = [sample.affordance for sample in samples]
    scores = summarise(predictions, truths, labelled_objects(samples))
    measured = measure(scores, errors(predictions, truths))
    for item in measured:
        run.add_row(item.metric, *item.interval, keypoint=item.keypoint)
    for name, point in scores.points.items():
        if point.count:
            run.add_row("median_error_thousandths", point.median, n=point.count, keypoint=name)
    run.add_row("presence", scores.presence, n=scores.count)
    return measured


def metric_table(section: Section, measured: Sequence[Measured]) -> None:
    """One row per keypoint, one column per metric."""
    metrics = list(dict.fromkeys(item.metric for item in measured))
    cells = {(item.keypoint, item.metric): item.interval for item in measured}
    rows = [
        [name, *(_cell(metric, cells.get((name, metric))) for metric in metrics)]
        for name in dict.fromkeys(item.keypoint for item in measured)
    ]
    section.table(["keypoint", *metrics], rows, caption="value [95 % interval] of how many")


def _cell(metric: str, interval: Interval | None) -> str:
    if interval is None:
        return ""
    digits = 0 if metric.endswith("thousandths") else 2
    value, low, high, n = interval
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}] of {n}"


def refusals(predictions: Sequence[Prediction]) -> list[list[object]]:
    """Why answers could not be used, and how often, the commonest first."""
    counts = Counter(prediction.error for prediction in predictions if not prediction.valid)
    return [[reason, count] for reason, count in counts.most_common()]
