"""Soft edges: outlines and part borders without colour or texture, the context that repainting keeps."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

EdgeArray = NDArray[np.float32]


def soft_edges(rgb: NDArray[np.uint8], sigma: float = 1.2, half_at: float = 14.0) -> EdgeArray:
    """Soft edge strength of a uint8 (H, W, 3) image: float32 (H, W) in [0, 1).

    The largest Sobel gradient over the three Lab channels after a Gaussian of `sigma` px, squashed so that
    a step of `half_at` Lab units gives about 0.5: weak texture fades while part borders saturate.
    """
    lab = cv2.cvtColor(cv2.GaussianBlur(rgb, (0, 0), sigma), cv2.COLOR_RGB2LAB)
    gx = cv2.Sobel(lab, cv2.CV_32F, 1, 0, ksize=3, scale=0.25)
    gy = cv2.Sobel(lab, cv2.CV_32F, 0, 1, ksize=3, scale=0.25)
    squares = gx * gx + gy * gy
    strength = np.sqrt(np.maximum(np.maximum(squares[..., 0], squares[..., 1]), squares[..., 2]))
    return np.asarray(strength / (strength + half_at), np.float32)


def edge_agreement(
    wanted: EdgeArray, got: EdgeArray, region: NDArray[np.bool_], threshold: float = 0.35, slack_px: int = 2
) -> float:
    """Tolerant IoU of two edge maps inside a region, in [0, 1]; 1 when neither has an edge there.

    An edge pixel counts as shared when the other map has one within `slack_px`.
    """
    a = ((wanted > threshold) & region).astype(np.uint8)
    b = ((got > threshold) & region).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * slack_px + 1, 2 * slack_px + 1))
    shared_a = int(a[cv2.dilate(b, kernel) > 0].sum())
    shared_b = int(b[cv2.dilate(a, kernel) > 0].sum())
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else (shared_a + shared_b) / total


def compose_edges(
    scene: EdgeArray, cleared: NDArray[np.bool_], moved: EdgeArray, covered: NDArray[np.bool_]
) -> EdgeArray:
    """Edges of a scene after one object moved.

    Args:
        scene: (H, W) edges before; objects that moved earlier are already where they are now.
        cleared: the object's old place, where its edges must go.
        moved: (H, W) edges of the object, carried by its transform.
        covered: the object's new place, where only its own edges count.
    """
    return np.where(covered, moved, np.where(cleared, np.float32(0), scene))
