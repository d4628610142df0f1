"""The config group `segmenter`: its choices, and the segmenter that each one makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from .segmentation import Segmenter, TabletopConfig, TabletopSegmenter


@dataclass(frozen=True)
class GroundedSamConfig:
    """Grounding DINO and SAM through transformers: text, boxes and points.

    Attributes:
        detector: Grounding DINO on the Hugging Face hub, or a folder.
        sam: SAM on the Hugging Face hub, or a folder.
        box_threshold: least confidence of a detected box.
        text_threshold: least confidence of a detected word.
        device: of torch, e.g. "cuda".
    """

    detector: str = "IDEA-Research/grounding-dino-tiny"
    sam: str = "facebook/sam-vit-base"
    box_threshold: float = 0.3
    text_threshold: float = 0.22
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, value in (("box_threshold", self.box_threshold), ("text_threshold", self.text_threshold)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value} must lie in 0..1")


@dataclass(frozen=True)
class SegmentAnythingConfig:
    """segment-anything's own predictor (extra `sam`): boxes and points, and text with a detector.

    Attributes:
        checkpoint: a file of that package, e.g. sam_vit_h_4b8939.pth.
        size: which network the file holds.
        detector: Grounding DINO for text prompts, on the Hugging Face hub or a folder; null for none.
        device: of torch, e.g. "cuda".
    """

    checkpoint: Path
    size: Literal["vit_b", "vit_l", "vit_h"] = "vit_h"
    detector: str | None = None
    device: str = "cpu"


SegmenterConfig = TabletopConfig | GroundedSamConfig | SegmentAnythingConfig
SEGMENTERS: Mapping[str, type] = {
    "tabletop": TabletopConfig,
    "grounded_sam": GroundedSamConfig,
    "segment_anything": SegmentAnythingConfig,
}


@lru_cache(maxsize=4)
def build_segmenter(config: SegmenterConfig) -> Segmenter:
    """The segmenter of a config; the same object for an equal config, so that models are loaded once.

    Raises:
        MissingExtraError: naming the extra to install.
        SegmentationError: a model or checkpoint cannot be had.
    """
    if isinstance(config, TabletopConfig):
        return TabletopSegmenter(config)
    from .sam import GroundingDino, PromptedSegmenter, SegmentAnything, TransformersSam

    if isinstance(config, SegmentAnythingConfig):
        detector = None if config.detector is None else GroundingDino(config.detector, device=config.device)
        return PromptedSegmenter(SegmentAnything(config.checkpoint, config.size, config.device), detector)
    detector = GroundingDino(config.detector, config.box_threshold, config.text_threshold, config.device)
    return PromptedSegmenter(TransformersSam(config.sam, config.device), detector)
