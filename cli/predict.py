"""Predict keypoints in one picture and draw them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
from rich.console import Console

from ..affordance.dataset import read_image
from ..affordance.heatmap import BASE_WEIGHTS, HeatmapKeypointModel
from ..core.report import draw_keypoints
from ._verb import Verb


@dataclass(frozen=True)
class PredictConfig:
    """Keys of `kalie predict`.

    Attributes:
        image: the picture, any size.
        instruction: what is to be done.
        weights: folder of a tuned model; null for the shipped base weights.
        picture: gets the picture with its keypoints.
    """

    image: Path
    instruction: str
    weights: Path | None = None
    picture: Path = Path("prediction.png")


def main(cfg: PredictConfig) -> int:
    """Print the affordance as JSON with the confidences; 1 when there is no usable answer."""
    rgb = read_image(cfg.image)
    model = HeatmapKeypointModel.load(cfg.weights or BASE_WEIGHTS)
    prediction = model.predict([rgb], [cfg.instruction])[0]
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
        'kalie predict image=table.png instruction="close the drawer" weights=outputs/finetune/latest/model',
    ),
)
