"""What a segmenter looks for: names are checked before any work, and asked for in every frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kalie.perception.frame import RgbdFrame
from kalie.perception.segmentation import PointPrompt, Prompt, Segmentation, TabletopConfig, TextPrompt
from kalie.perception.segmenters import (
    PHOTO_SEGMENTERS,
    SEGMENTERS,
    GroundedSamConfig,
    NamedSegmenter,
    SegmentAnythingConfig,
    SegmenterConfig,
    check_names,
    photo_frame,
)

SAM = SegmentAnythingConfig(Path("sam.pth"))


class Remembers:
    def __init__(self) -> None:
        self.asked: list[list[Prompt]] = []

    def segment(self, frame: RgbdFrame, prompts: Sequence[Prompt] = ()) -> Segmentation:
        self.asked.append(list(prompts))
        return Segmentation((), *frame.depth.shape)


def test_names_are_asked_for_unless_the_caller_prompts() -> None:
    frame, inner = photo_frame(np.zeros((4, 6, 3), np.uint8)), Remembers()
    NamedSegmenter(inner, ("brush", "tray")).segment(frame)
    NamedSegmenter(inner, ("brush",)).segment(frame, [PointPrompt(1, 1)])
    NamedSegmenter(inner, ()).segment(frame)
    assert inner.asked == [[TextPrompt("brush"), TextPrompt("tray")], [PointPrompt(1, 1)], []]


def test_a_photo_is_a_frame_without_depth() -> None:
    frame = photo_frame(np.full((4, 6, 3), 7, np.uint8))
    assert np.isnan(frame.depth).all()
    assert (frame.intrinsics.width, frame.intrinsics.height) == (6, 4)


@pytest.mark.parametrize(
    ("config", "names", "says"),
    [
        (TabletopConfig(), ["brush"], r"things=\['brush'\]: segmenter=tabletop finds every object"),
        (GroundedSamConfig(), [], r"things: a value is required: .* e\.g\. things=\[brush,tray\]"),
        (SAM, [], "things: a value is required"),
        (SAM, ["brush"], r"segmenter\.detector: a value is required"),
    ],
)
def test_when_names_and_segmenter_do_not_fit_expect_the_key(
    config: SegmenterConfig, names: list[str], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        check_names(config, names, "things")


def test_what_fits_is_accepted() -> None:
    check_names(TabletopConfig(), [], "things")
    check_names(GroundedSamConfig(), ["brush"], "things")
    check_names(SegmentAnythingConfig(Path("sam.pth"), detector="dino"), ["brush"], "things")


def test_the_segmenters_of_photos_are_those_that_need_no_depth() -> None:
    assert SEGMENTERS.keys() - PHOTO_SEGMENTERS.keys() == {"tabletop"}
