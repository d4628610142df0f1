"""New looks for a moved object: the `Repainter` protocol and edge-preserving procedural repainting.

The procedural repainter is no diffusion model. It splits the object into regions of like colour, gives each
region a new colour and texture while keeping the photo's shading, and redraws part borders from the moved
soft edges.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from ..core.ranges import at_least, rising, within
from .describe import colours_of, gloss_of, pattern_of
from .edges import EdgeArray
from .textures import PATTERNS, noise, texture
from .transform import Box

ImageArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]
FloatImage = NDArray[np.floating]
_TRIES = 5
_SAME_HUE = 16.0  # 8-bit Lab distance, lightness counted a fifth, within which regions are of one hue


@dataclass(frozen=True)
class RepaintRequest:
    """One object, already moved, that needs a new look.

    Attributes:
        image: uint8 (H, W, 3) scene in which the object's own pixels stand at h(m) and its old place m
            shows the inpainted background.
        edges: float32 (H, W) soft edges of the scene as it should become.
        mask: bool (H, W) h(m), the object's new place.
        region: bool (H, W) h(m) + m without objects placed earlier; nothing outside may change.
        description: appearance in words.
        seed: of every random choice for this object.
    """

    image: ImageArray
    edges: EdgeArray
    mask: BoolArray
    region: BoolArray
    description: str
    seed: int


class Repainter(Protocol):
    """Paints objects anew inside their regions, under their edges."""

    def repaint(self, requests: Sequence[RepaintRequest]) -> list[ImageArray]:
        """One uint8 (H, W, 3) image per request, equal to `request.image` outside `request.region`."""
        ...


@dataclass(frozen=True)
class RepainterConfig:
    """Base of the `repainter` config group."""


@dataclass(frozen=True)
class ProceduralConfig(RepainterConfig):
    """How far procedural repainting departs from the photo.

    Attributes:
        regions: fewest and most colour regions an object is split into.
        keep: share of objects that keep their own colours (light still changes).
        plain: share of objects of which all regions of about one hue are painted as one, as light and shade.
        merge: share of objects of which two regions are painted as one.
        split: share of objects of which one region is cut in two.
        texture: share of regions with a pattern even where the description names none.
        colour_jitter: spread of a named colour, in units of 0..255.
        free_colour: share of colours drawn from the whole cube instead of the description.
        shading: lowest and highest exponent of the photo's shading.
        contrast: least distance in Lab between an object's mean colour and its surroundings'; a few tries.
        outline: largest darkening along soft edges.
    """

    regions: tuple[int, int] = (1, 5)
    keep: float = 0.04
    plain: float = 0.6
    merge: float = 0.15
    split: float = 0.25
    texture: float = 0.2
    colour_jitter: float = 22.0
    free_colour: float = 0.35
    shading: tuple[float, float] = (0.35, 1.2)
    contrast: float = 20.0
    outline: float = 0.5

    def __post_init__(self) -> None:
        within(self, 1, 100, "regions")
        within(self, 0, 1, "keep", "plain", "merge", "split", "texture", "free_colour", "outline")
        within(self, 0, 255, "colour_jitter")
        at_least(self, 0, "shading", "contrast")
        rising(self, "regions", "shading")


class ProceduralRepainter:
    """Edge-preserving procedural repainting; pure NumPy and OpenCV, a few milliseconds an object."""

    def __init__(self, config: ProceduralConfig | None = None) -> None:
        self.config = config or ProceduralConfig()

    def repaint(self, requests: Sequence[RepaintRequest]) -> list[ImageArray]:
        """See `Repainter`; the result depends on each request alone."""
        return [self._repaint(request) for request in requests]

    def _repaint(self, request: RepaintRequest) -> ImageArray:
        rng = np.random.default_rng(request.seed)
        if not request.mask.any() or rng.random() < self.config.keep:
            return request.image.copy()
        box = Box.around(request.mask, margin=2)
        pixels, mask = request.image[box.slices], request.mask[box.slices]
        labels = self._regions(pixels, mask, rng)
        painted = self._paint(pixels, mask, labels, request.description, rng)
        for _ in range(_TRIES):
            if _contrast(painted, pixels, mask) >= self.config.contrast:
                break
            painted = self._paint(pixels, mask, labels, request.description, rng)
        painted = self._shine(painted, mask, gloss_of(request.description), rng)
        lines = 1 - request.edges[box.slices] * np.float32(rng.uniform(0, self.config.outline))
        painted = np.clip(painted * lines[..., None], 0, 255)
        out = request.image.copy()
        cover = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.6) * request.region[box.slices]
        out[box.slices] = (pixels + cover[..., None] * (painted - pixels)).astype(np.uint8)
        return out

    def _regions(self, pixels: ImageArray, mask: BoolArray, rng: np.random.Generator) -> NDArray[np.intp]:
        """(h, w) region numbers of the masked pixels, at most one more than `regions[1]`."""
        count = int(rng.integers(self.config.regions[0], self.config.regions[1] + 1))
        labels = colour_regions(pixels, mask, count, rng)
        if rng.random() < self.config.plain:
            labels = _joined(pixels, mask, labels)
        if rng.random() < self.config.merge:
            first, second = rng.integers(count, size=2)
            labels = np.where(labels == first, second, labels)
        if rng.random() < self.config.split:
            labels = _cut(labels, mask, count, rng)
        return labels

    def _paint(
        self,
        pixels: ImageArray,
        mask: BoolArray,
        labels: NDArray[np.intp],
        description: str,
        rng: np.random.Generator,
    ) -> FloatImage:
        palette = colours_of(description)
        light = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) + 8
        strength = np.float32(rng.uniform(*self.config.shading))
        out = np.zeros(pixels.shape, np.float32)
        for index, label in enumerate(np.unique(labels[mask])):
            region = mask & (labels == label)
            named = palette[index % len(palette)] if palette and index < 2 * len(palette) else None
            coat = self._coat(region.shape, named, description, rng)
            shading = np.clip(light / light[region].mean(), 0.3, 2.2) ** strength
            out[region] = (coat * shading[..., None])[region]
        return out

    def _coat(
        self, shape: tuple[int, ...], named: Sequence[int] | None, description: str, rng: np.random.Generator
    ) -> FloatImage:
        """An unshaded patch of paint."""
        if named is None or rng.random() < self.config.free_colour:
            base = random_colour(rng)
        else:
            base = np.clip(np.array(named, np.float32) + rng.normal(0, self.config.colour_jitter, 3), 0, 255)
        base = base.astype(np.float32)
        pattern = pattern_of(description)
        if pattern == "plain" and rng.random() < self.config.texture:
            pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
        if pattern == "plain":
            return np.broadcast_to(base, (*shape[:2], 3)).astype(np.float32)
        period = float(np.exp(rng.uniform(np.log(3.0), np.log(max(shape[:2]) / 2 + 4.0))))
        mix = texture(pattern, rng, shape[0], shape[1], period)[..., None]
        return base + mix * (second_tone(base, rng) - base)

    def _shine(
        self, painted: FloatImage, mask: BoolArray, gloss: float, rng: np.random.Generator
    ) -> FloatImage:
        """A slow light gradient over the object and, on glossy ones, a highlight."""
        height, width = mask.shape
        slope = 1 + np.float32(rng.uniform(0, 0.5)) * (
            noise(rng, height, width, 1.5 * max(mask.shape), 1) - 0.5
        )
        out = painted * slope[..., None]
        if rng.random() < gloss:
            y, x = np.argwhere(mask)[int(rng.integers(int(mask.sum())))]
            spread = rng.uniform(0.03, 0.2, size=2) * max(height, width) + 1
            u = (np.arange(width, dtype=np.float32) - x) / np.float32(spread[0])
            v = (np.arange(height, dtype=np.float32) - y) / np.float32(spread[1])
            spot = np.exp(-0.5 * (u[None] ** 2 + v[:, None] ** 2))
            out = out + np.float32(rng.uniform(30, 140)) * spot[..., None]
        return out


def colour_regions(
    pixels: ImageArray, mask: BoolArray, count: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Split the masked pixels into regions of like colour: k-means in Lab, then spatial smoothing.

    Args:
        pixels: uint8 (h, w, 3) RGB.
        mask: bool (h, w).
        count: clusters asked for; some may stay empty.
        rng: of the starting centres.

    Returns:
        (h, w) region numbers in [0, count).
    """
    lab = cv2.cvtColor(cv2.medianBlur(pixels, 3), cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[..., 0] *= 0.6  # faces of one part differ in lightness, parts differ in hue as well
    inside = lab[mask]
    sample = inside[rng.integers(len(inside), size=min(len(inside), 600))].astype(np.float64)
    sample += rng.normal(0, 0.5, sample.shape)  # flat colours would give degenerate clusters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty cluster only means fewer regions
        centres, _ = kmeans2(sample, min(count, len(sample)), iter=8, minit="++", rng=rng)
    distances = ((lab[:, :, None, :] - centres.astype(np.float32)) ** 2).sum(axis=3)
    nearest = distances.argmin(axis=2)
    votes = [
        cv2.GaussianBlur(((nearest == k) & mask).astype(np.float32), (0, 0), 1.5) for k in range(len(centres))
    ]
    return np.stack(votes).argmax(axis=0)


def random_colour(rng: np.random.Generator) -> NDArray[np.float32]:
    """An RGB colour, 0..255: a third near-neutral, the rest spread over hue, saturation and value."""
    neutral = rng.random() < 0.33
    saturation = rng.uniform(0, 0.2) if neutral else rng.uniform(0.25, 1.0)
    hsv = np.array([[[rng.uniform(0, 360), saturation, rng.uniform(0.08, 1.0)]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32) * 255


def second_tone(base: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A colour to weave into `base`: mostly a lighter or darker shade of it, sometimes any colour."""
    if rng.random() < 0.3:
        return random_colour(rng)
    factor = rng.uniform(0.45, 0.9) if base.mean() > 60 else rng.uniform(1.3, 2.5)
    return np.clip(base * factor + rng.normal(0, 8, 3), 0, 255).astype(np.float32)


def _joined(pixels: ImageArray, mask: BoolArray, labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give regions whose mean colours differ in little but lightness one number."""
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.float32)
    present = np.unique(labels[mask])
    means = [lab[mask & (labels == k)].mean(axis=0) * (0.2, 1, 1) for k in present]
    out = labels.copy()
    for later in range(1, len(present)):
        distances = [float(np.linalg.norm(means[later] - mean)) for mean in means[:later]]
        nearest = int(np.argmin(distances))
        if distances[nearest] < _SAME_HUE:
            out[labels == present[later]] = out[labels == present[nearest]].max(initial=present[nearest])
    return out


def _contrast(painted: FloatImage, pixels: ImageArray, mask: BoolArray) -> float:
    """Lab distance between the mean colours of a painted object and of what surrounds it in the crop."""
    around = ~cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)
    if not around.any():
        return np.inf
    means = np.array([[painted[mask].mean(axis=0), pixels[around].mean(axis=0)]], np.float32)
    inner, outer = cv2.cvtColor(np.clip(means / 255, 0, 1), cv2.COLOR_RGB2LAB)[0]
    return float(np.linalg.norm(inner - outer))


def _cut(labels: NDArray[np.intp], mask: BoolArray, fresh: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Give the far side of a random line through one region the number `fresh`."""
    present = np.unique(labels[mask])
    chosen = mask & (labels == present[int(rng.integers(len(present)))])
    ys, xs = np.nonzero(chosen)
    angle = rng.uniform(0, np.pi)
    along = xs * np.cos(angle) + ys * np.sin(angle)
    far = along > np.quantile(along, rng.uniform(0.25, 0.75))
    out = labels.copy()
    out[ys[far], xs[far]] = fresh
    return out
