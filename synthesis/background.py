"""The background: objects and their shadows taken away, then table and floor given new surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from .repaint import colour_regions, random_colour, second_tone
from .textures import PATTERNS, noise, texture

ImageArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]
FloatImage = NDArray[np.floating]
_SAME_SURFACE = 16.0  # 8-bit Lab distance below which two regions are one surface
_WORK = 96  # px of the longer side at which surfaces are told apart


@dataclass(frozen=True)
class BackgroundConfig:
    """How much the background changes.

    Attributes:
        keep: share of surfaces left as they are.
        recolour: share that keep their own texture under another colour; the rest get a new texture.
        surfaces: most surfaces (table, floor, wall ...) told apart.
        shadow_reach: px around objects within which a darker area of the same hue counts as their shadow.
    """

    keep: float = 0.06
    recolour: float = 0.14
    surfaces: int = 3
    shadow_reach: int = 24


@dataclass(frozen=True)
class Surfaces:
    """The background split into surfaces.

    Attributes:
        weights: (K, H, W) float32 soft membership, summing to one.
        shading: (H, W) float32 slow light over each surface, relative to its mean.
    """

    weights: FloatImage
    shading: FloatImage


def remove_objects(rgb: ImageArray, masks: NDArray[np.uint8], shadow_reach: int) -> ImageArray:
    """The photo without its objects and their cast shadows (Telea's inpainting on OpenCV).

    Args:
        rgb: uint8 (H, W, 3).
        masks: uint8 (H, W), non-zero on objects.
        shadow_reach: see `BackgroundConfig`.
    """
    hole = _dilated(masks > 0, 3) | _shadows(rgb, masks > 0, shadow_reach)
    return cv2.inpaint(rgb, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA).astype(np.uint8)


def find_surfaces(plate: ImageArray, count: int) -> Surfaces:
    """Split an object-free background into at most `count` surfaces of like colour."""
    height, width = plate.shape[:2]
    scale = _WORK / max(height, width)
    small = cv2.resize(plate, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = cv2.pyrMeanShiftFiltering(small, 6, 18).astype(np.uint8)
    everywhere = np.ones(small.shape[:2], np.bool_)
    labels = colour_regions(small, everywhere, 2 * count, np.random.default_rng(0))
    labels = _merged(small, labels, count)
    labels = cv2.medianBlur(labels.astype(np.uint8), 7)
    present = np.unique(labels)
    votes = [
        cv2.resize((labels == k).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        for k in present
    ]
    sharp = np.clip((np.stack(votes) - 0.5) * 6 + 0.5, 1e-3, 1)
    weights = sharp / sharp.sum(axis=0)
    return Surfaces(weights.astype(np.float32), _slow_light(plate, weights.astype(np.float32)))


def retexture(
    plate: ImageArray, surfaces: Surfaces, config: BackgroundConfig, rng: np.random.Generator
) -> tuple[ImageArray, list[str]]:
    """New surfaces for the background.

    Returns:
        The uint8 (H, W, 3) background and, per surface, a word for what was done.
    """
    out = np.zeros(plate.shape, np.float32)
    words: list[str] = []
    shading = surfaces.shading ** np.float32(rng.uniform(0.3, 1.2))
    for weight in surfaces.weights:
        surface, word = _new_surface(plate, weight, shading, config, rng)
        out += weight[..., None] * surface
        words.append(word)
    return np.clip(out, 0, 255).astype(np.uint8), words


def _new_surface(
    plate: ImageArray,
    weight: FloatImage,
    shading: FloatImage,
    config: BackgroundConfig,
    rng: np.random.Generator,
) -> tuple[FloatImage, str]:
    height, width = weight.shape
    choice = rng.random()
    if choice < config.keep:
        return plate.astype(np.float32), "kept"
    base = random_colour(rng)
    if choice < config.keep + config.recolour:
        own = (plate * weight[..., None]).sum(axis=(0, 1)) / weight.sum()
        return plate.astype(np.float32) * (base / np.maximum(own, 16)), "recoloured"
    pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
    period = float(np.exp(rng.uniform(np.log(4.0), np.log(max(height, width) / 3))))
    mix = texture(pattern, rng, height, width, period) * np.float32(rng.uniform(0.2, 1.0))
    if rng.random() < 0.5:
        mix = mix + np.float32(rng.uniform(0, 0.4)) * (noise(rng, height, width, rng.uniform(8, 80)) - 0.5)
    surface = base + mix[..., None] * (second_tone(base, rng) - base)
    return surface * shading[..., None], pattern


def _shadows(rgb: ImageArray, objects: BoolArray, reach: int) -> BoolArray:
    """Pixels near objects that are clearly darker than the surface around at the same hue."""
    if reach <= 0:
        return np.zeros_like(objects)
    near = _dilated(objects, reach)
    far = (~near).astype(np.float32)
    values = rgb.astype(np.float32)
    spread = 1.5 * reach
    total = cv2.GaussianBlur(values * far[..., None], (0, 0), spread)
    usual = total / np.maximum(cv2.GaussianBlur(far, (0, 0), spread), 1e-3)[..., None]
    ratio = (values + 4) / (usual + 4)
    darker = cv2.GaussianBlur(ratio.mean(axis=2), (0, 0), 1.0) < 0.85
    same_hue = (ratio.max(axis=2) - ratio.min(axis=2)) < 0.2
    return near & _dilated(darker & same_hue & near, 2)


def _merged(small: ImageArray, labels: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Join regions whose mean Lab colours are close, and the closest ones until `count` are left."""
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float64)
    present = np.unique(labels)
    if len(present) < 2:
        return labels
    means = np.stack([np.median(lab[labels == k], axis=0) for k in present])
    tree = linkage(means, method="average")
    close = fcluster(tree, _SAME_SURFACE, criterion="distance")
    few = fcluster(tree, count, criterion="maxclust")
    joined = close if len(np.unique(close)) <= count else few
    return joined[np.searchsorted(present, labels)]


def _slow_light(plate: ImageArray, weights: FloatImage) -> FloatImage:
    """Luminance of each surface at low frequency over its mean; texture and small shadows do not pass."""
    light = cv2.cvtColor(plate, cv2.COLOR_RGB2GRAY).astype(np.float32) + 8
    spread = max(light.shape) / 10
    out = np.zeros_like(light)
    for weight in weights:
        blurred = cv2.GaussianBlur(light * weight, (0, 0), spread) / (
            cv2.GaussianBlur(weight, (0, 0), spread) + 1e-3
        )
        mean = float((light * weight).sum() / weight.sum())
        out += weight * np.clip(blurred / mean, 0.5, 1.6)
    return out


def _dilated(mask: BoolArray, reach: int) -> BoolArray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0
