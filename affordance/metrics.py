"""How good predicted affordances are: point errors, PCK, part hits, presence, invalid answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .labels import LabelledImage
from .model import KeypointModel, Prediction
from .schema import KEYPOINT_NAMES, Affordance, Keypoint, KeypointName

PCK_LEVELS = (0.02, 0.05, 0.10)
# What a missing or invalid answer counts as: the diagonal of the unit image.
WORST = math.sqrt(2)
# Whether a predicted keypoint of image i lies on the right part.
OnPart = Callable[[int, KeypointName, Keypoint], bool]


@dataclass(frozen=True)
class PointMetrics:
    """Of one keypoint over all images that have it; NaN where there is none.

    Attributes:
        median: error in thousandths of the image's side.
        mean: likewise.
        pck: share of errors within each of `PCK_LEVELS`, fractions of the image's side.
        on_part: share on the right part; NaN when nobody can tell.
        count: images that have the keypoint.
    """

    median: float
    mean: float
    pck: Mapping[float, float]
    on_part: float
    count: int


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


def predict_all(model: KeypointModel, samples: Sequence[LabelledImage], chunk: int = 16) -> list[Prediction]:
    """A model's answers on labelled images, `chunk` at a time."""
    out: list[Prediction] = []
    for first in range(0, len(samples), chunk):
        part = samples[first : first + chunk]
        out += model.predict([sample.rgb for sample in part], [sample.instruction for sample in part])
    return out


def summarise(
    predictions: Sequence[Prediction], truths: Sequence[Affordance], on_part: OnPart | None = None
) -> Metrics:
    """Score answers against labels."""
    distances = errors(predictions, truths)
    labelled = ~np.isnan(distances)
    answered = np.array([_has_points(prediction) for prediction in predictions]).reshape(labelled.shape)
    right = np.where(labelled, distances <= PCK_LEVELS[-1], True).all(axis=1)
    return Metrics(
        points={
            name: _point_metrics(distances[:, column], _part_hits(predictions, truths, name, on_part))
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
    on_part: OnPart | None,
) -> NDArray[np.bool_]:
    """Per image that has the keypoint, whether the answer lies on the right part; empty if unknown."""
    if on_part is None:
        return np.zeros(0, dtype=bool)
    hits: list[bool] = []
    for index, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        if getattr(truth, name) is not None:
            point: Keypoint | None = getattr(prediction.affordance or Affordance(), name)
            hits.append(point is not None and on_part(index, name, point))
    return np.array(hits, dtype=bool)


def _point_metrics(distances: NDArray[np.float64], hits: NDArray[np.bool_]) -> PointMetrics:
    known = distances[~np.isnan(distances)]
    return PointMetrics(
        median=1000 * float(np.median(known)) if len(known) else math.nan,
        mean=1000 * _mean(known),
        pck={level: _mean(known <= level) for level in PCK_LEVELS},
        on_part=_mean(hits),
        count=len(known),
    )


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(np.mean(values)) if values.size else math.nan
