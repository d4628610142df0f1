"""Predict keypoints in one picture and draw them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ..affordance.dataset import read_image
from ..affordance.models import HeatmapModelConfig, ModelConfig, build_model
from ..core.files import write_bytes
from ..core.report import draw_keypoints
from ..perception.segmenters import GroundedSamConfig, PhotoSegmenterConfig
from ._models import PHOTO_GROUPS, check_pair
from ._verb import Verb


@dataclass(frozen=True)
class PredictConfig:
    """Keys of `kalie predict`.

    Attributes:
        image: the picture, any size.
        instruction: what is to be done.
        model: what predicts.
        segmenter: of model=moka, finds model.objects in the picture.
        picture: gets the picture with its keypoints.
    """

    image: Path
    instruction: str
    model: ModelConfig = field(default_factory=HeatmapModelConfig)
    segmenter: PhotoSegmenterConfig = field(default_factory=GroundedSamConfig)
    picture: Path = Path("prediction.png")

    def __post_init__(self) -> None:
        if not cv2.haveImageWriter(self.picture.name):
            raise ValueError(f"picture={self.picture}: unknown kind of picture, e.g. .png and .jpg are known")
        check_pair(self.model, self.segmenter, GroundedSamConfig())


def write_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write an RGB image (H, W, 3). Raises OSError naming the file."""
    _, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    try:
        write_bytes(path, data.tobytes())
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror})") from None


def main(cfg: PredictConfig) -> int:
    """Print the affordance as JSON with the confidences; 1 when there is no usable answer."""
    rgb = read_image(cfg.image)
    prediction = build_model(cfg.model, cfg.segmenter).predict([rgb], [cfg.instruction])[0]
    console = Console(highlight=False)
    if prediction.affordance is None:
        console.print(f"no answer: {prediction.error}")
        return 1
    points = {str(name): (point.x, point.y) for name, point in prediction.affordance.keypoints()}
    write_picture(cfg.picture, draw_keypoints(rgb, points))
    answer = {"affordance": prediction.affordance.to_json(), "confidence": dict(prediction.confidence)}
    console.print_json(json.dumps(answer))
    return 0


VERB = Verb(
    PredictConfig,
    main,
    examples=(
        'kalie predict image=table.png instruction="sweep the trash off the left edge"',
        'kalie predict image=table.png instruction="close the drawer" '
        "model.weights=outputs/finetune/latest/model",
        'kalie predict image=table.png instruction="close the drawer" model=smolvlm_256m',
        'kalie predict image=table.png instruction="close the drawer" model=moka model.objects=[drawer]',
        'kalie predict image=table.png instruction="close the drawer" model=moka model.objects=[drawer] '
        "segmenter=segment_anything segmenter.checkpoint=sam_vit_h_4b8939.pth "
        "segmenter.detector=IDEA-Research/grounding-dino-tiny",
    ),
    groups=PHOTO_GROUPS,
)
