"""Predict keypoints in one picture and draw them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
from rich.console import Console

from ..affordance.dataset import read_image
from ..affordance.models import MODELS, HeatmapModelConfig, ModelConfig, build_model
from ..core.report import draw_keypoints
from ._verb import Verb


@dataclass(frozen=True)
class PredictConfig:
    """Keys of `kalie predict`.

    Attributes:
        image: the picture, any size.
        instruction: what is to be done.
        model: what predicts.
        picture: gets the picture with its keypoints.
    """

    image: Path
    instruction: str
    model: ModelConfig = field(default_factory=HeatmapModelConfig)
    picture: Path = Path("prediction.png")


def main(cfg: PredictConfig) -> int:
    """Print the affordance as JSON with the confidences; 1 when there is no usable answer."""
    rgb = read_image(cfg.image)
    prediction = build_model(cfg.model).predict([rgb], [cfg.instruction])[0]
    console = Console(highlight=False)
    if prediction.affordance is None:
        console.print(f"no answer: {prediction.error}")
        return 1
    points = {str(name): (point.x, point.y) for name, point in prediction.affordance.keypoints()}
    cv2.imwrite(str(cfg.picture), cv2.cvtColor(draw_keypoints(rgb, points), cv2.COLOR_RGB2BGR))
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
    ),
    groups={"model": MODELS},
)
