"""The config group `segmenter`: its choices, and the segmenter that each one makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from ..core.ranges import within
from .frame import ImageArray, Intrinsics, RgbdFrame
from .segmentation import Prompt, Segmentation, Segmenter, TabletopConfig, TabletopSegmenter, TextPrompt


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
        within(self, 0, 1, "box_threshold", "text_threshold")


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


PhotoSegmenterConfig = GroundedSamConfig | SegmentAnythingConfig
SegmenterConfig = TabletopConfig | GroundedSamConfig | SegmentAnythingConfig
SEGMENTERS: Mapping[str, type] = {
    "tabletop": TabletopConfig,
    "grounded_sam": GroundedSamConfig,
    "segment_anything": SegmentAnythingConfig,
}
PHOTO_SEGMENTERS: Mapping[str, type] = {
    "grounded_sam": GroundedSamConfig,
    "segment_anything": SegmentAnythingConfig,
}
"""The choices that need no depth."""


@dataclass(frozen=True)
class NamedSegmenter:
    """A segmenter that looks for the same things in every frame, unless it is prompted otherwise.

    Attributes:
        segmenter: does the work.
        names: what is looked for; empty for every object.
    """

    segmenter: Segmenter
    names: tuple[str, ...]

    def segment(self, frame: RgbdFrame, prompts: Sequence[Prompt] = ()) -> Segmentation:
        """See `Segmenter.segment`."""
        return self.segmenter.segment(frame, prompts or [TextPrompt(name) for name in self.names])


def check_names(config: SegmenterConfig, names: Sequence[str], key: str) -> None:
    """Refuse names that a segmenter cannot read, and a segmenter that has none and needs them.

    Args:
        config: of the segmenter.
        names: what it is to look for.
        key: the config key that holds the names, for the message.

    Raises:
        ValueError: naming the key at fault.
    """
    if isinstance(config, TabletopConfig):
        if names:
            raise ValueError(f"{key}={list(names)}: segmenter=tabletop finds every object and reads no names")
        return
    if not names:
        raise ValueError(f"{key}: a value is required: what the segmenter looks for, e.g. {key}=[brush,tray]")
    check_reads_text(config)


def check_reads_text(config: PhotoSegmenterConfig) -> None:
    """Refuse segment-anything without a detector. Raises ValueError naming the key."""
    if isinstance(config, SegmentAnythingConfig) and config.detector is None:
        raise ValueError(
            "segmenter.detector: a value is required: segment_anything finds names with a detector only, "
            f"e.g. segmenter.detector={GroundedSamConfig().detector}"
        )


def photo_frame(rgb: ImageArray) -> RgbdFrame:
    """A photo (H, W, 3) as a frame of which neither depth nor lens is known."""
    height, width = rgb.shape[:2]
    unknown = Intrinsics(width, height, fx=1.0, fy=1.0, cx=width / 2, cy=height / 2)
    return RgbdFrame(rgb, np.full((height, width), np.nan, np.float32), unknown)


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
