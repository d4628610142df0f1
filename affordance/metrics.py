"""How good predicted affordances are: point errors, PCK, part hits, presence, invalid answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .labels import LabelledImage
from .model import KeypointModel, Prediction
from .schema import KEYPOINT_NAMES, Affordance, Keypoint, KeypointName

PCK_LEVELS = (0.02, 0.05, 0.10)
# What a missing or invalid answer counts as: the diagonal of the unit image.
WORST = math.sqrt(2)
# Where a keypoint of image i has to lie, bool (H, W); None when nobody can tell.
PartOf = Callable[[int, KeypointName], NDArray[np.bool_] | None]


@dataclass(frozen=True)
class PointMetrics:
    """Of one keypoint over all images that have it; NaN where there is none.

    Attributes:
        median: error in thousandths of the image's side.
        mean: likewise.
        pck: share of errors within each of `PCK_LEVELS`, fractions of the image's side.
        on_part: share on the right part; NaN when nobody can tell.
        count: images that have the keypoint.
        part_count: of these, those whose right part is known.
    """

    median: float
    mean: float
    pck: Mapping[float, float]
    on_part: float
    count: int
    part_count: int


@dataclass(frozen=True)
class Metrics:
    """Of a set of predictions.

    Attributes:
        points: by keypoint.
        presence: share of (image, keypoint) pairs where the answer has the point just when the label has.
        invalid: share of answers that could not be used.
        all_within_10: share of images whose every labelled keypoint is within 10 % of the image's side.
        count: images.
    """

    points: Mapping[KeypointName, PointMetrics]
    presence: float
    invalid: float
    all_within_10: float
    count: int


def errors(predictions: Sequence[Prediction], truths: Sequence[Affordance]) -> NDArray[np.float64]:
    """Distances (N, 5) in fractions of the image; NaN where the label has no point.

    A point that the label has and the answer lacks counts as `WORST`: nothing is dropped from the score.
    """
    out = np.full((len(truths), len(KEYPOINT_NAMES)), np.nan)
    for row, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        found = dict(prediction.affordance.keypoints()) if prediction.affordance else {}
        for column, name in enumerate(KEYPOINT_NAMES):
            point: Keypoint | None = getattr(truth, name)
            if point is not None:
                out[row, column] = found[name].distance(point) if name in found else WORST
    return out


def point_errors(
    model: KeypointModel, samples: Sequence[LabelledImage], chunk: int = 16
) -> NDArray[np.float64]:
    """`errors` of a model on labelled images."""
    predictions = predict_all(model, samples, chunk)
    return errors(predictions, [sample.affordance for sample in samples])


def predict_all(
    model: KeypointModel,
    samples: Sequence[LabelledImage],
    chunk: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """A model's answers to labelled images, `chunk` at a time; `progress` is called with (done, samples)."""
    out: list[Prediction] = []
    for first in range(0, len(samples), chunk):
        part = samples[first : first + chunk]
        out += model.predict([sample.rgb for sample in part], [sample.instruction for sample in part])
        if progress is not None:
            progress(len(out), len(samples))
    return out


def summarise(
    predictions: Sequence[Prediction], truths: Sequence[Affordance], part_of: PartOf | None = None
) -> Metrics:
    """Score answers against labels."""
    distances = errors(predictions, truths)
    labelled = ~np.isnan(distances)
    answered = np.array([_has_points(prediction) for prediction in predictions]).reshape(labelled.shape)
    right = np.where(labelled, distances <= PCK_LEVELS[-1], True).all(axis=1)
    return Metrics(
        points={
            name: _point_metrics(distances[:, column], _part_hits(predictions, truths, name, part_of))
            for column, name in enumerate(KEYPOINT_NAMES)
        },
        presence=1 - _mean(answered ^ labelled),
        invalid=_mean(np.array([not prediction.valid for prediction in predictions])),
        all_within_10=_mean(np.asarray(right)),
        count=len(truths),
    )


def _has_points(prediction: Prediction) -> list[bool]:
    affordance = prediction.affordance or Affordance()
    return [getattr(affordance, name) is not None for name in KEYPOINT_NAMES]


def _part_hits(
    predictions: Sequence[Prediction],
    truths: Sequence[Affordance],
    name: KeypointName,
    part_of: PartOf | None,
) -> NDArray[np.bool_]:
    """Per image that has the keypoint on a known part, whether the answer lies there."""
    hits: list[bool] = []
    for index, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        if part_of is not None and getattr(truth, name) is not None:
            part = part_of(index, name)
            point: Keypoint | None = getattr(prediction.affordance or Affordance(), name)
            if part is not None:
                hits.append(point is not None and bool(value_at(part, point)))
    return np.array(hits, dtype=bool)


def labelled_objects(samples: Sequence[LabelledImage]) -> PartOf:
    """The right part of a keypoint is the whole object that its label lies on, by the image's masks.

    Nobody can tell where there are no masks, or where the label lies on no object (a point in free space).
    """

    def part_of(index: int, name: KeypointName) -> NDArray[np.bool_] | None:
        masks, point = samples[index].masks, getattr(samples[index].affordance, name)
        labelled = 0 if masks is None or point is None else value_at(masks, point)
        return masks == labelled if labelled else None

    return part_of


def value_at(picture: NDArray[Any], point: Keypoint) -> Any:  # noqa: ANN401  whatever the picture holds
    """What a picture (H, W) holds at a keypoint."""
    height, width = picture.shape
    return picture[math.floor(point.y * height), math.floor(point.x * width)]


def _point_metrics(distances: NDArray[np.float64], hits: NDArray[np.bool_]) -> PointMetrics:
    known = distances[~np.isnan(distances)]
    return PointMetrics(
        median=1000 * float(np.median(known)) if len(known) else math.nan,
        mean=1000 * _mean(known),
        pck={level: _mean(known <= level) for level in PCK_LEVELS},
        on_part=_mean(hits),
        count=len(known),
        part_count=len(hits),
    )


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(np.mean(values)) if values.size else math.nan
