"""Fine-tune the embedded model for one task, from a few photos and many synthetic images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Generator

from ..core.checkpoint import CheckpointStore
from .augment import AugmentConfig, augment
from .encoding import Batch, encode
from .heatmap import HeatmapKeypointModel
from .labels import LabelledImage
from .metrics import point_errors
from .training import Log, Progress, TrainingConfig, start, train

# Images are kept this much larger than the network's input, so that zooming in stays sharp.
ZOOM = 1.5


@dataclass(frozen=True)
class FinetuneConfig:
    """How the model is fine-tuned.

    Attributes:
        training: the optimisation.
        augment: how images are varied; None shows them as they are.
        photo_share: expected share of photos in a batch, where there are both photos and other images.
    """

    training: TrainingConfig = field(default_factory=TrainingConfig)
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    photo_share: float = 0.25


class MixedSource:
    """Draws batches in which photos have a fixed expected share."""

    def __init__(self, samples: Sequence[LabelledImage], size: int, config: FinetuneConfig) -> None:
        """Keep all images in memory as small squares: 550 of 192 px take 60 MB."""
        if not samples:
            raise ValueError("no labelled images to learn from")
        self.size = size
        self.augment = config.augment
        self.batch = encode(samples, size if config.augment is None else int(size * ZOOM))
        photo = torch.tensor([sample.provenance.source == "photo" for sample in samples])
        self.weights = torch.ones(len(samples))
        if bool(photo.any()) and not bool(photo.all()):
            self.weights[photo] = config.photo_share / photo.sum()
            self.weights[~photo] = (1 - config.photo_share) / (~photo).sum()

    def __call__(self, count: int, generator: Generator) -> Batch:
        """`count` images drawn with replacement, varied."""
        return self.vary(self.draw(count, generator), generator)

    def draw(self, count: int, generator: Generator) -> Batch:
        """`count` images drawn with replacement, as they are."""
        rows = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        return self.batch.select(rows)

    def vary(self, drawn: Batch, generator: Generator) -> Batch:
        """The images augmented, where the config says so."""
        if self.augment is None:
            return drawn
        return augment(drawn, self.size, self.augment, generator)


def finetune(
    model: HeatmapKeypointModel,
    samples: Sequence[LabelledImage],
    validation: Sequence[LabelledImage] = (),
    config: FinetuneConfig | None = None,
    store: CheckpointStore | None = None,
    progress: Progress | None = None,
    log: Log | None = None,
) -> HeatmapKeypointModel:
    """A copy of the model, tuned on labelled images.

    Args:
        model: the start, e.g. `HeatmapKeypointModel.load()`; it stays as it is.
        samples: photos and synthetic images.
        validation: of other object instances; the tuned model is the one with the least mean keypoint error
            on them. Without any, it is the last one.
        config: how.
        store: gets checkpoints; where it holds one, tuning goes on from there, bit for bit.
        progress: called with (steps done, steps in all).
        log: called with the step and its figures.
    """
    config = config or FinetuneConfig()
    source = MixedSource(samples, model.config.image_size, config)

    def validation_error(candidate: HeatmapKeypointModel) -> float:
        return float(np.nanmean(point_errors(candidate, validation)))

    state = start(model, config.training)
    return train(
        state,
        source,
        config.training,
        evaluate=validation_error if validation else None,
        store=store,
        progress=progress,
        log=log,
    )
