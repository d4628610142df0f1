"""Answers averaged over an image and its mirrors: an error that a mirror does not share weighs less.

Mirrored images come with mirrored instructions ("left" becomes "right"), as in training; where an instruction
has no mirror image, that view is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .directions import mirrored

# Left-right and top-bottom mirrors of the views; the first is the image as it is.
FLIPS = ((False, False), (True, False), (False, True), (True, True))


class Views(NamedTuple):
    """N views of B images.

    Attributes:
        images: (N, 3, S, S).
        instructions: N texts.
        owners: (N,), which image each view shows.
        flips: N times whether mirrored left-right and top-bottom.
    """

    images: Tensor
    instructions: tuple[str, ...]
    owners: Tensor
    flips: tuple[tuple[bool, bool], ...]


def views(images: Tensor, instructions: Sequence[str]) -> Views:
    """Every image with all its mirrors that the instruction allows, first all images as they are."""
    shown: list[tuple[Tensor, str, int, tuple[bool, bool]]] = []
    for flip in FLIPS:
        for owner, text in enumerate(instructions):
            told = mirrored(text, *flip) if any(flip) else text
            if told is not None:
                shown.append((images[owner].flip(_axes(flip)), told, owner, flip))
    pictures, texts, owners, flips = zip(*shown, strict=True)
    return Views(torch.stack(pictures), texts, torch.tensor(owners), flips)


def average_maps(maps: Tensor, seen: Views) -> Tensor:
    """Mean over each image's views of maps (N, C, H, W), mirrored back: (B, C, H, W)."""
    back = [view.flip(_axes(flip)) for view, flip in zip(maps, seen.flips, strict=True)]
    return average(torch.stack(back), seen)


def average_axes(axes: Tensor, seen: Views) -> Tensor:
    """The same of closing axes (N, 2, H, W), cosine and sine of twice an angle: one mirror turns its sign."""
    signs = axes.new_tensor([(1, -1 if across != down else 1) for across, down in seen.flips])
    return average_maps(axes * signs[..., None, None], seen)


def average(numbers: Tensor, seen: Views) -> Tensor:
    """Mean over each image's views of (N, ...): (B, ...)."""
    owners = seen.owners.to(numbers.device)
    count = int(owners.max()) + 1
    total = numbers.new_zeros((count, *numbers.shape[1:])).index_add(0, owners, numbers)
    share = numbers.new_zeros(count).index_add(0, owners, numbers.new_ones(len(owners)))
    return total / share.reshape(-1, *(1 for _ in numbers.shape[1:]))


def _axes(flip: tuple[bool, bool]) -> list[int]:
    """Which of the last two axes of an image (C, H, W) to flip."""
    return [axis for axis, flipped in zip((2, 1), flip, strict=True) if flipped]
