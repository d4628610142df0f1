"""EfficientNet-lite0 up to stride 16, written for this project; its weights may come from ImageNet.

The architecture is that of Tan and Le (arXiv:1905.11946) in the "lite" variant: ReLU6, no squeeze-excitation,
and the padding of TensorFlow ("same"). Batch norms are folded into the convolutions, which is exact because
their statistics never change here. The layers up to stride 8 are frozen: they cost the most to train and
know edges and textures already.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

# Output channels, kernel, stride and expansion of each block.
BLOCKS = (
    (16, 3, 1, 1),
    (24, 3, 2, 6),
    (24, 3, 1, 6),
    (40, 5, 2, 6),
    (40, 5, 1, 6),
    (80, 3, 2, 6),
    (80, 3, 1, 6),
    (80, 3, 1, 6),
    (112, 5, 1, 6),
    (112, 5, 1, 6),
    (112, 5, 1, 6),
)
STEM = 32
# Blocks after which strides 4, 8 and 16 are read, and their channels.
TAPS = (3, 5, 11)
TAP_CHANNELS = (24, 40, 112)
BATCH_NORM_EPSILON = 1e-3


class SameConv(nn.Module):
    """A convolution with TensorFlow's padding, for even input sizes."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        even = stride == 1
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 if even else 0, groups=groups)
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self.padding = (0, 0, 0, 0) if even else (before, after, before, after)

    def forward(self, features: Tensor) -> Tensor:
        """(B, Ci, H, W) -> (B, Co, H / stride, W / stride)."""
        return self.conv(functional.pad(features, self.padding) if any(self.padding) else features)


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; the input passes around where the shape allows."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = nn.Conv2d(inputs, wide, 1) if expansion > 1 else None
        self.filter = SameConv(wide, wide, kernel, stride, groups=wide)
        self.project = nn.Conv2d(wide, outputs, 1)
        self.passes = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """(B, Ci, H, W) -> (B, Co, H / stride, W / stride)."""
        wide = features if self.expand is None else functional.relu6(self.expand(features), inplace=True)
        out = self.project(functional.relu6(self.filter(wide), inplace=True))
        return out + features if self.passes else out


class Backbone(nn.Module):
    """RGB images -> features at strides 4, 8 and 16, with `TAP_CHANNELS` channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, 2)
        widths = pairwise([STEM, *(block[0] for block in BLOCKS)])
        self.blocks = nn.ModuleList(
            InvertedResidual(inputs, outputs, *block[1:])
            for (inputs, outputs), block in zip(widths, BLOCKS, strict=True)
        )
        self.freeze()

    def freeze(self) -> None:
        """Train the layers beyond stride 8 alone."""
        self.requires_grad_(True)
        self.stem.requires_grad_(False)
        self.blocks[: TAPS[1]].requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, S, S), 0..255 -> features at strides 4, 8, 16."""
        first, second, third = TAPS
        # Depthwise convolutions take a third of the time with the channels last.
        pixels = ((images.float() - 127) / 128).contiguous(memory_format=torch.channels_last)
        frozen = not self.stem.conv.weight.requires_grad
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            features = functional.relu6(self.stem(pixels))
            stride4 = _through(self.blocks[:first], features)
            stride8 = _through(self.blocks[first:second], stride4)
        stride16 = _through(self.blocks[second:third], stride8)
        return stride4.contiguous(), stride8.contiguous(), stride16.contiguous()

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Take over the weights of a published EfficientNet-lite0, batch norms folded in.

        Args:
            state: with the keys `_conv_stem`, `_bn0` and `_blocks.N.{_expand,_depthwise,_project}_conv`,
                `_bn0` to `_bn2`, as in the package `efficientnet-lite-pytorch`.

        Raises:
            KeyError: a weight is missing.
        """
        _fold(self.stem.conv, state, "_conv_stem", "_bn0")
        for index, block in enumerate(self.blocks):
            assert isinstance(block, InvertedResidual)  # noqa: S101 (for the type checker)
            prefix = f"_blocks.{index}."
            if block.expand is not None:
                _fold(block.expand, state, f"{prefix}_expand_conv", f"{prefix}_bn0")
            _fold(block.filter.conv, state, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
            _fold(block.project, state, f"{prefix}_project_conv", f"{prefix}_bn2")


def _through(blocks: nn.ModuleList, features: Tensor) -> Tensor:
    for block in blocks:
        features = block(features)
    return features


@torch.no_grad()
def _fold(conv: nn.Conv2d, state: Mapping[str, Tensor], kernel: str, norm: str) -> None:
    """Set a convolution to one without bias followed by a batch norm with fixed statistics."""
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
    conv.weight.copy_(state[f"{kernel}.weight"] * scale[:, None, None, None])
    if conv.bias is not None:
        conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)
