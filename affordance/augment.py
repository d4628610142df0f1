"""Keypoint-aware augmentation of batches: one homography moves pixels, points and the closing axis alike.

Instructions stay true: a mirrored image swaps its direction words, a text that names directions bounds the
rotation, a text that names colours bounds the change of hue. A point that leaves the image leaves the loss;
it is never clamped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional

from ..core.ranges import at_least, below, within
from .directions import QUARTERS, mirrored, names_colour, names_direction, turned
from .encoding import GRASP, Batch, axis_angle, turn_axis, with_axis


@dataclass(frozen=True)
class AugmentConfig:
    """How far images are varied. Every range is drawn uniformly unless it says otherwise.

    Attributes:
        rotation: degrees to either side.
        rotation_with_directions: the same, for a text that names a direction.
        scale: factor range is [1 - scale, 1 + scale].
        stretch: further factor range of one axis against the other, along a random direction.
        shift: fraction of the image to either side.
        perspective: relative change of scale from one border to the other.
        mirror: chance of a left-right and, apart from it, of a top-bottom mirror.
        quarter: chance of a quarter turn, before any mirror.
        exposure: the darkest factor of all colours is 1 - exposure, the brightest 1.
        brightness: added, fraction of the full range.
        contrast: factor range is [1 - contrast, 1 + contrast].
        saturation: likewise.
        hue: degrees to either side.
        hue_with_colours: the same, for a text that names a colour.
        light: relative brightness change from the middle to a border.
        noise: largest standard deviation of pixel noise, fraction of the full range.
        blur: chance of a 3x3 blur.
        words: most of an instruction's words that are replaced or left out, as a share.
        occluders: most rectangles of random colour laid over an image.
        clearance: least distance of an occluder to a keypoint, fraction of the image.
        shadows: most soft shadows that fall on an image.
        darkness: of the darkest shadow.
    """

    rotation: float = 20.0
    rotation_with_directions: float = 6.0
    scale: float = 0.12
    stretch: float = 0.1
    shift: float = 0.06
    perspective: float = 0.04
    mirror: float = 0.5
    quarter: float = 0.2
    exposure: float = 0.5
    brightness: float = 0.12
    contrast: float = 0.3
    saturation: float = 0.5
    hue: float = 40.0
    hue_with_colours: float = 8.0
    light: float = 0.3
    noise: float = 0.04
    blur: float = 0.2
    words: float = 0.8
    occluders: int = 2
    clearance: float = 0.06
    shadows: int = 2
    darkness: float = 0.6

    def __post_init__(self) -> None:
        within(self, 0, 180, "rotation", "rotation_with_directions", "hue", "hue_with_colours")
        within(self, 0, 1, "shift", "mirror", "quarter", "exposure", "brightness", "contrast", "saturation")
        within(self, 0, 1, "light", "noise", "blur", "words", "clearance", "darkness")
        at_least(self, 0, "scale", "stretch", "perspective", "occluders", "shadows")
        # At 1 an image may shrink to nothing.
        below(self, 1, "scale", "stretch", "perspective")


def augment(batch: Batch, size: int, config: AugmentConfig, generator: Generator) -> Batch:
    """A varied copy of the batch with images of `size` x `size` pixels, float32 0..255."""
    batch, quarters = _quarter(batch, config, generator)
    batch, flips = _mirror(batch, config, generator)
    batch = warp(batch, flips @ quarters @ _homographies(batch, config, generator), size)
    images = _recolour(batch.images, batch.instructions, config, generator)
    images = _occlude(images, batch, config, generator)
    images = _shade(images, config, generator)
    images = _degrade(images, config, generator)
    return replace(batch, images=images.clamp(0, 255))


def warp(batch: Batch, matrices: Tensor, size: int) -> Batch:
    """Move pixels, points and closing axes by homographies; the border's pixels extend the image.

    Args:
        batch: of B images, any size.
        matrices: (B, 3, 3), new from old, in coordinates that run from -1 to 1 across the image.
        size: pixels of the new square images.
    """
    axis = (torch.arange(size) + 0.5) * (2 / size) - 1
    cells = torch.stack([*torch.meshgrid(axis, axis, indexing="xy"), torch.ones(size, size)], dim=-1)
    sources = torch.einsum("bij,yxj->byxi", torch.linalg.inv(matrices), cells)
    grid = sources[..., :2] / sources[..., 2:]
    images = functional.grid_sample(
        batch.images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    centred = 2 * batch.points - 1
    moved, jacobians = apply_homography(matrices, centred)
    points = (moved + 1) / 2
    in_view = batch.in_view & (points >= 0).all(dim=-1) & (points < 1).all(dim=-1)
    angle = turn_axis(axis_angle(batch.values), jacobians[:, GRASP])
    has_axis = batch.presence[:, -1:] > 0
    values = torch.where(has_axis, with_axis(batch.values, angle), batch.values)
    points = torch.where(in_view[..., None], points, torch.zeros(()))
    return replace(batch, images=images, points=points, in_view=in_view, values=values)


def apply_homography(matrices: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Points (B, K, 2) moved by homographies (B, 3, 3), and the local linear maps (B, K, 2, 2) there."""
    flat = torch.einsum("bij,bkj->bki", matrices, functional.pad(points, (0, 1), value=1.0))
    depth = flat[..., 2:]
    moved = flat[..., :2] / depth
    rows = matrices[:, None, :2, :2] - moved[..., None] * matrices[:, None, 2:, :2]
    return moved, rows / depth[..., None]


def _uniform(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """In [-1, 1)."""
    return torch.rand(shape, generator=generator) * 2 - 1


def _turn(angle: Tensor) -> Tensor:
    """(B,) radians -> (B, 2, 2) rotations from +x toward +y."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def _homographies(batch: Batch, config: AugmentConfig, generator: Generator) -> Tensor:
    """Random (B, 3, 3): stretch, turn, scale, shift and a little perspective, about the image's centre."""
    count = len(batch)
    limits = [
        config.rotation_with_directions if names_direction(text) else config.rotation
        for text in batch.instructions
    ]
    turn = _turn(_uniform((count,), generator) * torch.tensor(limits) * (math.pi / 180))
    scale = 1 + config.scale * _uniform((count, 1, 1), generator)
    along = _turn(torch.pi * _uniform((count,), generator))
    stretch = 1 + config.stretch * _uniform((count,), generator)
    stretched = along @ torch.diag_embed(torch.stack([stretch, 1 / stretch], -1)) @ along.mT
    matrices = torch.zeros(count, 3, 3)
    matrices[:, :2, :2] = scale * turn @ stretched
    matrices[:, :2, 2] = 2 * config.shift * _uniform((count, 2), generator)
    matrices[:, 2, :2] = config.perspective / 2 * _uniform((count, 2), generator)
    matrices[:, 2, 2] = 1
    return matrices


_QUARTER = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def _quarter(batch: Batch, config: AugmentConfig, generator: Generator) -> tuple[Batch, Tensor]:
    """Quarter turns (B, 3, 3), drawn at random where the texts allow, and the batch with their texts."""
    wanted = torch.rand((len(batch),), generator=generator) < config.quarter
    words = torch.randint(len(QUARTERS), (len(batch),), generator=generator).tolist()
    texts = list(batch.instructions)
    for row in wanted.nonzero()[:, 0].tolist():
        text = turned(texts[row], *QUARTERS[words[row]])
        wanted[row] = text is not None
        texts[row] = text or texts[row]
    matrices = torch.where(wanted[:, None, None], _QUARTER, torch.eye(3))
    return replace(batch, instructions=tuple(texts)), matrices


def _mirror(batch: Batch, config: AugmentConfig, generator: Generator) -> tuple[Batch, Tensor]:
    """Mirrors (B, 3, 3), drawn at random where the texts allow, and the batch with their texts."""
    wanted = torch.rand((len(batch), 2), generator=generator) < config.mirror
    texts: list[str] = []
    for row, text in enumerate(batch.instructions):
        swapped = mirrored(text, bool(wanted[row, 0]), bool(wanted[row, 1]))
        if swapped is None:
            wanted[row] = False
        texts.append(text if swapped is None else swapped)
    signs = functional.pad(1 - 2 * wanted.float(), (0, 1), value=1.0)
    return replace(batch, instructions=tuple(texts)), torch.diag_embed(signs)


# RGB to luma and two chroma axes (ITU-R BT.601, YIQ): hue is a turn of the chroma plane.
_YIQ_FROM_RGB = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def _recolour(images: Tensor, texts: tuple[str, ...], config: AugmentConfig, generator: Generator) -> Tensor:
    """Hue, saturation, contrast and brightness as one affine map of colours; then a slope of light."""
    count = len(images)
    limits = [config.hue_with_colours if names_colour(text) else config.hue for text in texts]
    hue = _turn(_uniform((count,), generator) * torch.tensor(limits) * (math.pi / 180))
    chroma = (1 + config.saturation * _uniform((count, 1, 1), generator)) * hue
    matrices = torch.zeros(count, 3, 3)
    matrices[:, 0, 0] = 1
    matrices[:, 1:, 1:] = chroma
    contrast = 1 + config.contrast * _uniform((count, 1, 1), generator)
    colours = contrast * (torch.linalg.inv(_YIQ_FROM_RGB) @ matrices @ _YIQ_FROM_RGB)
    brightness = 255 * config.brightness * _uniform((count, 1, 1, 1), generator)
    recoloured = torch.einsum("bij,bjyx->biyx", colours, images - 127.5) + 127.5 + brightness
    axis = torch.linspace(-1, 1, images.shape[-1])
    slope = config.light * _uniform((count, 2, 1, 1), generator)
    light = 1 + slope[:, 0, :] * axis[None, None, :] + slope[:, 1, :] * axis[None, :, None]
    exposure = 1 - config.exposure * torch.rand((count, 1, 1, 1), generator=generator)
    return recoloured * light[:, None] * exposure


def _occlude(images: Tensor, batch: Batch, config: AugmentConfig, generator: Generator) -> Tensor:
    """Lay rectangles of random colour over the images where they hide no keypoint."""
    count, axis = len(images), (torch.arange(images.shape[-1]) + 0.5) / images.shape[-1]
    for _ in range(config.occluders):
        centre = torch.rand((count, 2), generator=generator)
        half = 0.02 + 0.1 * torch.rand((count, 2), generator=generator)
        gap = (batch.points - centre[:, None]).abs() - half[:, None]
        clear = ((gap > config.clearance).any(dim=-1) | ~batch.in_view).all(dim=-1)
        clear &= torch.rand((count,), generator=generator) < 0.5
        column = (axis - centre[:, :1]).abs() < half[:, :1]
        row = (axis - centre[:, 1:]).abs() < half[:, 1:]
        covered = (row[:, :, None] & column[:, None, :] & clear[:, None, None])[:, None]
        images = torch.where(covered, 255 * torch.rand((count, 3, 1, 1), generator=generator), images)
    return images


def _shade(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Let soft shadows of turned boxes, as of an arm or a shelf, fall on everything."""
    count, axis = len(images), (torch.arange(images.shape[-1]) + 0.5) / images.shape[-1]
    cells = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    for _ in range(config.shadows):
        centre = torch.rand((count, 1, 1, 2), generator=generator)
        half = 0.03 + 0.3 * torch.rand((count, 1, 1, 2), generator=generator)
        edge = 0.005 + 0.03 * torch.rand((count, 1, 1, 1), generator=generator)
        turn = _turn(torch.pi * torch.rand((count,), generator=generator))
        inward = half - torch.einsum("byxi,bij->byxj", cells - centre, turn).abs()
        cover = torch.sigmoid(inward / edge).prod(dim=-1)
        there = torch.rand((count, 1, 1), generator=generator) < 0.5
        darkness = config.darkness * torch.rand((count, 1, 1), generator=generator) * there
        images = images * (1 - darkness * cover)[:, None]
    return images


def _degrade(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Blur some images, add pixel noise to all."""
    blurred = (torch.rand((len(images),), generator=generator) < config.blur).nonzero()[:, 0]
    soft = functional.avg_pool2d(functional.pad(images[blurred], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = images.index_copy(0, blurred, soft)
    strength = 255 * config.noise * torch.rand((len(images), 1, 1, 1), generator=generator)
    return images + strength * torch.randn(images.shape, generator=generator)
