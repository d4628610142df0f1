"""Draws an affordance into the picture it was read from."""

from __future__ import annotations

import cv2
import numpy as np

from kalie.affordance.schema import Affordance
from kalie.core.report import draw_keypoints
from kalie.perception.frame import ImageArray


def annotated(rgb: ImageArray, affordance: Affordance) -> ImageArray:
    """A copy of uint8 (H, W, 3) with the keypoints in the report's colours, of the same size."""
    height, width = rgb.shape[:2]
    drawn = draw_keypoints(rgb, {name: (point.x, point.y) for name, point in affordance.keypoints()})
    if drawn.shape != rgb.shape:  # small pictures are drawn enlarged
        drawn = np.asarray(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return drawn
