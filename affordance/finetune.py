"""Fine-tune the embedded model for one task, from a few photos and many synthetic images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Generator

from ..core.checkpoint import CheckpointStore
from .augment import AugmentConfig, augment
from .directions import reworded
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
    """

    training: TrainingConfig = field(default_factory=TrainingConfig)
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)


class ImageSource:
    """Draws batches in which every image is as likely as any other, so that one photo weighs little."""

    def __init__(
        self,
        samples: Sequence[LabelledImage],
        size: int,
        augmentation: AugmentConfig | None,
        vocabulary: Sequence[str] = (),
    ) -> None:
        """Keep all images in memory as small squares: 550 of 192 px take 60 MB.

        Args:
            samples: the images.
            size: of the squares that are drawn, pixels.
            augmentation: how they are varied; None shows them as they are.
            vocabulary: words that may stand for others in an instruction; without any, texts stay.
        """
        if not samples:
            raise ValueError("no labelled images to learn from")
        self.size = size
        self.augment = augmentation
        self.vocabulary = vocabulary
        self.batch = encode(samples, size if augmentation is None else int(size * ZOOM))

    def __call__(self, count: int, generator: Generator) -> Batch:
        """`count` images drawn with replacement, varied."""
        return self.vary(self.draw(count, generator), generator)

    def draw(self, count: int, generator: Generator) -> Batch:
        """`count` images drawn with replacement, as they are."""
        return self.batch.select(torch.randint(len(self.batch), (count,), generator=generator))

    def vary(self, drawn: Batch, generator: Generator) -> Batch:
        """The images augmented, where the config says so."""
        if self.augment is None:
            return drawn
        varied = augment(drawn, self.size, self.augment, generator)
        if not self.vocabulary:
            return varied
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        most = self.augment.words
        texts = (reworded(text, rng.uniform(0, most), self.vocabulary, rng) for text in varied.instructions)
        return replace(varied, instructions=tuple(texts))


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
    source = ImageSource(samples, model.config.image_size, config.augment, model.config.vocabulary)

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
