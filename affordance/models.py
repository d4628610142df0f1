"""The config group `model`: its choices, and the keypoint model that each one makes.

`conf/model` holds more choices that start from `text`: smolvlm_256m, qwen2_5_vl_7b, paligemma_3b and others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..perception.segmenters import GroundedSamConfig, PhotoSegmenterConfig
from .heatmap import HeatmapKeypointModel
from .model import KeypointModel
from .moka import MokaConfig, MokaModel
from .shipped import weights_folder
from .text import TextKeypointModel, TextModelConfig


@dataclass(frozen=True)
class HeatmapModelConfig:
    """The embedded heat-map model.

    Attributes:
        weights: folder of a tuned model, or the name of shipped weights (base, tasks); base if null.
    """

    weights: Path | None = None


ModelConfig = HeatmapModelConfig | TextModelConfig | MokaConfig
MODELS: Mapping[str, type] = {"heatmap": HeatmapModelConfig, "text": TextModelConfig, "moka": MokaConfig}


def build_model(config: ModelConfig, segmenter: PhotoSegmenterConfig | None = None) -> KeypointModel:
    """The model of a config, ready to predict.

    Args:
        config: of the model.
        segmenter: that MOKA looks for objects with; Grounding DINO and SAM by default.

    Raises:
        OSError: its weights cannot be had.
        ValueError: the config does not say enough to build it.
    """
    if isinstance(config, MokaConfig):
        return MokaModel.load(config, segmenter or GroundedSamConfig())
    if isinstance(config, TextModelConfig):
        return TextKeypointModel.load(config)
    return HeatmapKeypointModel.load(weights_folder(config.weights))
