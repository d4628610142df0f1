"""The background: objects and their shadows taken away, then table and floor given new surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.cluster.vq import kmeans2

from ..core.ranges import at_least, within
from .repaint import colour_regions, random_colour, second_tone
from .textures import PATTERNS, noise, texture

ImageArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]
FloatImage = NDArray[np.floating]
_SAME_SURFACE = 16.0  # 8-bit Lab distance below which two regions are one surface
_SAME_LIGHT = 0.07  # relative change of light within which a colour counts as lit alike
_DARKEST = 0.3  # brightness factor of the darkest shadow
_COMMON = 0.04  # least share of the far background that makes a colour a surface
_NEUTRAL = 0.1  # relative spread of the colour channels that a shadow may have
_WORK = 96  # px of the longer side at which surfaces are told apart


@dataclass(frozen=True)
class BackgroundConfig:
    """How much the background changes.

    Attributes:
        keep: share of surfaces left as they are.
        recolour: share that keep their own texture under another colour; the rest get a new texture.
        keep_shadows: share of cast shadows that stay shadows when their surface changes.
        surfaces: most surfaces (table, floor, wall ...) told apart.
        shadow_reach: how far around objects a darker area of the same hue counts as their shadow, in
            units of the largest object's size.
    """

    keep: float = 0.06
    recolour: float = 0.14
    keep_shadows: float = 0.8
    surfaces: int = 4
    shadow_reach: float = 0.9

    def __post_init__(self) -> None:
        within(self, 0, 1, "keep", "recolour", "keep_shadows")
        at_least(self, 0, "shadow_reach")
        within(self, 1, 100, "surfaces")
        if self.keep + self.recolour > 1:
            raise ValueError(f"keep={self.keep} and recolour={self.recolour} must not exceed 1 together")


@dataclass(frozen=True)
class Surfaces:
    """The background split into surfaces.

    Attributes:
        labels: (H, W) intp, which surface each pixel shows.
        weights: (K, H, W) float32 soft membership, summing to one.
        shading: (H, W) float32 slow light over each surface, relative to its mean.
        shadow_of: per surface, the lit surface of which it is but the shadow and its brightness factor.
    """

    labels: NDArray[np.intp]
    weights: FloatImage
    shading: FloatImage
    shadow_of: tuple[tuple[int, float] | None, ...]


def remove_objects(rgb: ImageArray, masks: NDArray[np.uint8], shadow_reach: float) -> ImageArray:
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
    coarse = colour_regions(small, everywhere, 2 * count, np.random.default_rng(0))
    coarse = cv2.medianBlur(_merged(small, coarse, count).astype(np.uint8), 5)
    labels = _sharpened(plate, coarse)
    members = [(labels == k).astype(np.float32) for k in _range(labels)]
    weights = np.stack([cv2.GaussianBlur(member, (0, 0), 0.7) for member in members])
    weights /= weights.sum(axis=0)
    return Surfaces(labels, weights, _slow_light(plate, weights), _shadow_surfaces(plate, labels))


def retexture(
    plate: ImageArray, surfaces: Surfaces, config: BackgroundConfig, rng: np.random.Generator
) -> tuple[ImageArray, list[str]]:
    """New surfaces for the background.

    Returns:
        The uint8 (H, W, 3) background and, per surface, a word for what was done.
    """
    words: list[str] = []
    shading = surfaces.shading ** np.float32(rng.uniform(0.3, 1.2))
    drawn: list[FloatImage] = []
    for weight in surfaces.weights:
        surface, word = _new_surface(plate, weight, shading, config, rng)
        drawn.append(surface)
        words.append(word)
    for index, lit in enumerate(surfaces.shadow_of):
        if lit is not None and rng.random() < config.keep_shadows:
            drawn[index] = drawn[lit[0]] * np.float32(lit[1] ** rng.uniform(0.2, 1.3))
            words[index] = "shadow"
    out = sum(weight[..., None] * surface for weight, surface in zip(surfaces.weights, drawn, strict=True))
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


def _shadows(rgb: ImageArray, objects: BoolArray, reach: float) -> BoolArray:
    """Pixels near objects that show a common background colour times one factor below 1.

    How near depends on the size of the objects, since a large one throws a long shadow.
    """
    count, _, stats, _ = cv2.connectedComponentsWithStats(objects.astype(np.uint8))
    size = float(np.sqrt(stats[1:count, cv2.CC_STAT_AREA].max(initial=0)))
    near, far = _dilated(objects, max(round(reach * size), 8)), ~_dilated(objects, round(0.35 * reach * size))
    if reach <= 0 or not far.any():
        return np.zeros_like(objects)
    smooth = cv2.medianBlur(rgb, 3).astype(np.float32) + 4
    shaded, lit = np.zeros_like(objects), np.zeros_like(objects)
    for colour in _common_colours(smooth[far]):
        ratio = smooth / colour
        mean, spread = ratio.mean(axis=2), ratio.max(axis=2) - ratio.min(axis=2)
        neutral = spread < _NEUTRAL * mean
        lit |= neutral & (np.abs(mean - 1) < _SAME_LIGHT)
        shaded |= neutral & (mean > _DARKEST) & (mean < 1)
    return near & _dilated(shaded & ~lit & near, 2)


def _common_colours(pixels: FloatImage) -> FloatImage:
    """Colours (K, 3) that at least `_COMMON` of the pixels (N, 3) cluster around."""
    rng = np.random.default_rng(0)
    sample = pixels[rng.integers(len(pixels), size=800)].astype(np.float64)
    centres, members = kmeans2(sample + rng.normal(0, 0.5, sample.shape), 6, iter=8, minit="++", rng=rng)
    return centres[np.bincount(members, minlength=6) > _COMMON * len(sample)].astype(np.float32)


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


def _sharpened(plate: ImageArray, coarse: NDArray) -> NDArray[np.intp]:
    """Coarse labels at the size of the plate; near their borders each pixel goes by its own colour."""
    height, width = plate.shape[:2]
    present = np.unique(coarse)
    votes = np.stack([cv2.resize((coarse == k).astype(np.float32), (width, height)) for k in present])
    labels = votes.argmax(axis=0)
    sure = np.stack([cv2.GaussianBlur(vote, (0, 0), 3.5) for vote in votes]).max(axis=0) > 0.99
    lab = cv2.cvtColor(cv2.medianBlur(plate, 3), cv2.COLOR_RGB2LAB).astype(np.float32)
    centres = [np.median(lab[_core(labels, sure, k)], axis=0) for k in np.unique(labels)]
    distances = np.stack([((lab - centre) ** 2).sum(axis=2) for centre in centres])
    by_colour = distances.argmin(axis=0)
    sharp = cv2.medianBlur(np.where(sure, labels, by_colour).astype(np.uint8), 3)
    return np.searchsorted(np.unique(sharp), sharp)


def _core(labels: NDArray, sure: BoolArray, k: int) -> BoolArray:
    """Pixels that surely belong to surface `k`, or all of them when it is nowhere wide."""
    chosen = (labels == k) & sure
    return chosen if chosen.any() else labels == k


def _range(labels: NDArray) -> range:
    return range(int(labels.max()) + 1)


def _shadow_surfaces(plate: ImageArray, labels: NDArray[np.intp]) -> tuple[tuple[int, float] | None, ...]:
    """Surfaces that are a larger surface's colour times one factor, hence its shadow."""
    means = [np.median(plate[labels == k].astype(np.float64), axis=0) + 1 for k in _range(labels)]
    areas = [int((labels == k).sum()) for k in _range(labels)]
    found: list[tuple[int, float] | None] = []
    for k, mean in enumerate(means):
        lit = None
        for other, base in enumerate(means):
            ratio = mean / base
            neutral = np.ptp(ratio) < _NEUTRAL * ratio.mean()
            if other != k and neutral and 0.3 < ratio.mean() < 0.95 and areas[k] < areas[other]:
                lit = (other, float(ratio.mean()))
        found.append(lit)
    return tuple(found)


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
