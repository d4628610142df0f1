"""Images as what a vision-language model reads: placeholder tokens in the prompt, pixels beside it.

Both encoders squeeze every image to one square, so an image always takes the same number of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8]
Pixels = Mapping[str, Tensor]
"""What one image adds to a model's inputs, by the name of the argument."""


class ImageEncoder(Protocol):
    """Turns images into a model's inputs."""

    @property
    def placeholder(self) -> tuple[int, ...]:
        """The token ids that stand for one image in a prompt."""
        ...

    @property
    def token(self) -> int:
        """The id of `placeholder` that the model replaces by image features; it is never sampled."""
        ...

    def encode(self, image: Image) -> Pixels:
        """One uint8 (H, W, 3) RGB image."""
        ...

    def collate(self, pixels: Sequence[Pixels]) -> dict[str, Tensor]:
        """The images of a batch in the order of their placeholders; nothing for none."""
        ...


class SquareImages:
    """The encoder of `tiny_vlm`: bilinear to a square, pixels to [-1, 1].

    Args:
        size: of the square, pixels.
        tokens: placeholders per image.
        token: id of a placeholder.
    """

    def __init__(self, size: int, tokens: int, token: int) -> None:
        self._size = size
        self.token = token
        self.placeholder = (token,) * tokens

    def encode(self, image: Image) -> Pixels:
        """One image as float32 (1, 1, 3, size, size)."""
        square = squeeze(image, self._size)
        pixels = torch.from_numpy(square.transpose(2, 0, 1).astype(np.float32))
        return {"pixel_values": (pixels / 127.5 - 1)[None, None]}

    def collate(self, pixels: Sequence[Pixels]) -> dict[str, Tensor]:
        """All images as those of one row, which the model takes apart by their placeholders."""
        return _concatenate(pixels, dim=1)


class ProcessorImages:
    """The encoder of a hub model, by its own processor.

    Args:
        processor: of the model, without a part for videos.
        size: images are squeezed to squares of this many pixels.
        dtype: of the pixel values.
    """

    def __init__(self, processor: Any, size: int, dtype: torch.dtype) -> None:  # noqa: ANN401  hub classes
        self._processor = processor
        self._size = size
        self._dtype = dtype
        self.token: int = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
        blank = np.full((size, size, 3), 128, dtype=np.uint8)
        encoded = self._process(blank)
        self.placeholder = tuple(encoded["input_ids"][0].tolist())
        # (1, images, ...) in the SmolVLM family, (images or patches, ...) in the others.
        self._dim = 1 if encoded["pixel_values"].ndim == 5 else 0

    def _process(self, image: Image) -> Mapping[str, Tensor]:
        text = self._processor.image_token
        square = squeeze(image, self._size)
        return self._processor(text=[text], images=[[square]], add_special_tokens=False, return_tensors="pt")

    def encode(self, image: Image) -> Pixels:
        """One image as its processor's tensors."""
        inputs = self._process(image)
        keep = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask", "labels")}
        keep = {k: v for k, v in keep.items() if k != "mm_token_type_ids"}
        return {k: v.to(self._dtype) if k == "pixel_values" else v for k, v in keep.items()}

    def collate(self, pixels: Sequence[Pixels]) -> dict[str, Tensor]:
        """The images one after the other."""
        return _concatenate(pixels, dim=self._dim)


def _concatenate(pixels: Sequence[Pixels], dim: int) -> dict[str, Tensor]:
    if not pixels:
        return {}
    return {name: torch.cat([one[name] for one in pixels], dim=dim) for name in pixels[0]}


def squeeze(image: Image, size: int) -> Image:
    """The image as a square of `size` pixels.

    Raises:
        ValueError: it is not uint8 (H, W, 3).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image: expected uint8 (H, W, 3), got {image.dtype} {image.shape}")
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)
