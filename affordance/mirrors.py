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
        flips: bool (N, 2), mirrored left-right and top-bottom.
    """

    images: Tensor
    instructions: tuple[str, ...]
    owners: Tensor
    flips: Tensor


def views(images: Tensor, instructions: Sequence[str]) -> Views:
    """Every image with all its mirrors that the instruction allows, first all images as they are."""
    shown: list[tuple[Tensor, str, int, tuple[bool, bool]]] = []
    for flip in FLIPS:
        for owner, text in enumerate(instructions):
            told = mirrored(text, *flip) if any(flip) else text
            if told is not None:
                shown.append((images[owner].flip(_axes(flip)), told, owner, flip))
    pictures, texts, owners, flips = zip(*shown, strict=True)
    return Views(torch.stack(pictures), texts, torch.tensor(owners), torch.tensor(flips))


def average_maps(maps: Tensor, seen: Views) -> Tensor:
    """Mean over each image's views of maps (N, C, H, W), mirrored back: (B, C, H, W)."""
    back = [
        view.flip(_axes((bool(across), bool(down))))
        for view, (across, down) in zip(maps, seen.flips.tolist(), strict=True)
    ]
    return average(torch.stack(back), seen)


def average_axes(axes: Tensor, seen: Views) -> Tensor:
    """The same of closing axes (N, 2, H, W), cosine and sine of twice an angle: one mirror turns its sign."""
    turned = seen.flips[:, 0] ^ seen.flips[:, 1]
    signs = torch.stack([torch.ones(len(turned)), 1 - 2.0 * turned], dim=1).to(axes)
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
