"""The embedded keypoint model: image + instruction -> one heat-map per keypoint, presence, and the scalars.

A convolutional backbone sees the image at strides 4, 8 and 16. At stride 16 its cells, the instruction's
tokens and one query per keypoint attend to each other, so that free-space points can depend on everything
in view. The cells then go back up to stride 4 over skip connections; each query's dot product with that map
is its keypoint's first heat-map (as in mask-classification decoders: Cheng et al., arXiv:2107.06278). What
each first heat-map points at, its place included, then goes to all queries, and they answer once more, in
maps that also hold where each cell lies as seen from the first answers: so a point in free space stands in
a fixed relation to points on things (in line with one, behind another) by a dot product.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig

from ..core.files import check_sums, write_sums
from .backbone import TAP_CHANNELS, Backbone
from .encoding import GRASP, POINTS, PRESENCES, VALUES, decode, to_square
from .mirrors import average, average_axes, average_maps, views
from .model import Prediction
from .places import PLACE_CHANNELS, RELATIVE_CHANNELS, grid, places, read_points, relative_places
from .schema import KEYPOINT_NAMES
from .shipped import BASE_WEIGHTS
from .tokenizer import PAD, UNKNOWN, build_tokenizer


@strict
class HeatmapConfig(PreTrainedConfig):
    """Sizes of the network.

    Attributes:
        image_size: S, pixels of the square input; a multiple of 16.
        widths: channels of the decoder at strides 4 and 8.
        hidden_size: of the tokens at stride 16.
        layers: of joint attention.
        relate_layers: of attention among the keypoints and the instruction.
        heads: of every attention.
        text_size: of the text encoder's tokens.
        text_layers: of the text encoder.
        text_tokens: longest instruction; the rest is cut off.
        vocabulary: WordPiece pieces in the order of their ids; the first one pads.
    """

    model_type = "kalie_heatmap"

    image_size: int = 128
    widths: tuple[int, ...] | list[int] = (48, 96)
    hidden_size: int = 192
    layers: int = 3
    relate_layers: int = 2
    heads: int = 4
    text_size: int = 128
    text_layers: int = 2
    text_tokens: int = 32
    vocabulary: tuple[str, ...] | list[str] = (PAD, UNKNOWN)


class HeatmapOutput(NamedTuple):
    """Raw answers for B images.

    Attributes:
        heatmaps: (B, POINTS, S/4, S/4) logits.
        first: the same before the points knew of each other, for the loss.
        axes: (B, 2, S/4, S/4), the closing axis for a grasp at each cell, as `encoding.with_axis` has it.
        presence: (B, PRESENCES) logits.
        scalars: (B, VALUES - 2), see `encoding.UNITS`.
        summary: (B, hidden_size), what presence and scalars are read from.
    """

    heatmaps: Tensor
    first: Tensor
    axes: Tensor
    presence: Tensor
    scalars: Tensor
    summary: Tensor

    def values(self) -> Tensor:
        """(B, VALUES): the scalars, and the closing axis where the grasp is."""
        weights = self.heatmaps[:, GRASP].flatten(1).softmax(dim=1)
        return torch.cat([self.scalars, torch.einsum("bn,bcn->bc", weights, self.axes.flatten(2))], dim=1)


class Attention(nn.Module):
    """A pre-norm transformer layer; `keep` (B, T) is False for padding."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size)
        )

    def forward(self, tokens: Tensor, keep: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        parts = self.query_key_value(self.norm(tokens)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=keep[:, None, None, :])
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.feed_forward(tokens)


class Project(nn.Sequential):
    """Another number of channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 1), nn.GroupNorm(8, outputs))


class Residual(nn.Module):
    """Two 3x3 convolutions around which the input passes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(8, width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(8, width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return functional.relu(features + self.inner(features))


class Modulate(nn.Module):
    """Scale and shift features by what the whole instruction says (FiLM: Perez et al., arXiv:1709.07871).

    Attention alone takes very long to notice that one word, "left", decides where a point is.
    """

    def __init__(self, sentence: int, channels: int) -> None:
        super().__init__()
        self.change = nn.Linear(sentence, 2 * channels)

    def forward(self, features: Tensor, sentence: Tensor) -> Tensor:
        """(B, N, C), (B, sentence) -> (B, N, C)."""
        scale, shift = self.change(sentence)[:, None].chunk(2, dim=2)
        return features * (1 + scale) + shift


class Up(nn.Module):
    """Twice the resolution, over a skip connection, in the light of the instruction."""

    def __init__(self, inputs: int, outputs: int, sentence: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(inputs, outputs, 1)
        self.modulate = Modulate(sentence, outputs)
        self.mix = Residual(outputs)

    def forward(self, coarse: Tensor, skip: Tensor, sentence: Tensor) -> Tensor:
        """(B, Ci, H, W), (B, Co, 2H, 2W), (B, sentence) -> (B, Co, 2H, 2W)."""
        risen = functional.interpolate(
            self.project(coarse), scale_factor=2, mode="bilinear", align_corners=False
        )
        flat = self.modulate((risen + skip).flatten(2).transpose(1, 2), sentence)
        return self.mix(flat.transpose(1, 2).unflatten(2, skip.shape[2:]).contiguous())


class Kernels(nn.Module):
    """Heat-maps as dot products of features with what queries ask for."""

    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU())
        self.last = nn.Linear(hidden, channels)

    def forward(self, queries: Tensor, features: Tensor) -> Tensor:
        """(B, K, hidden), (B, channels, H, W) -> logits (B, K, H, W)."""
        return torch.einsum("bkc,bchw->bkhw", self.last(self.inner(queries)), features)


class TextEncoder(nn.Module):
    """Instruction tokens -> context vectors."""

    def __init__(self, config: HeatmapConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(config.vocabulary), config.text_size)
        self.position = nn.Embedding(config.text_tokens, config.text_size)
        self.layers = nn.ModuleList(
            Attention(config.text_size, config.heads) for _ in range(config.text_layers)
        )
        self.project = nn.Sequential(
            nn.LayerNorm(config.text_size), nn.Linear(config.text_size, config.hidden_size)
        )

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) ids -> (B, T, hidden_size) and which of them are not padding (B, T)."""
        keep = ids != 0
        tokens = self.embed(ids) + self.position.weight[: ids.shape[1]]
        for layer in self.layers:
            tokens = layer(tokens, keep)
        return self.project(tokens), keep


class HeatmapKeypointModel(PreTrainedModel):
    """The embedded `KeypointModel`; see the module's description."""

    config_class = HeatmapConfig
    config: HeatmapConfig

    def __init__(self, config: HeatmapConfig) -> None:
        super().__init__(config)
        w4, w8 = config.widths
        hidden = config.hidden_size
        self.backbone = Backbone()
        # Two more channels hold each cell's x and y.
        self.skips = nn.ModuleList(
            Project(channels + 2, width)
            for channels, width in zip(TAP_CHANNELS, (w4, w8, hidden), strict=True)
        )
        self.position = nn.Embedding((config.image_size // 16) ** 2, hidden)
        self.queries = nn.Embedding(POINTS, hidden)
        self.text = TextEncoder(config)
        self.joint = nn.ModuleList(Attention(hidden, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(hidden)
        self.up8 = Up(hidden, w8, hidden)
        self.up4 = Up(w8, w4, hidden)
        self.modulate_all = Modulate(hidden, hidden)
        self.modulate_points = Modulate(hidden, hidden)
        channels = w4 + PLACE_CHANNELS
        self.first = Kernels(hidden, channels)
        self.local = nn.Linear(channels, hidden)
        self.relate = nn.ModuleList(Attention(hidden, config.heads) for _ in range(config.relate_layers))
        self.second = Kernels(hidden, channels + RELATIVE_CHANNELS)
        # Without the norm the residual stream grows until every unit of the head is off, for good.
        self.head = nn.Sequential(
            nn.LayerNorm(POINTS * hidden), nn.Linear(POINTS * hidden, hidden), nn.GELU()
        )
        self.presence = nn.Linear(hidden, PRESENCES)
        self.scalars = nn.Linear(hidden, VALUES - 2)
        self.axes = nn.Conv2d(w4, 2, 1)
        self.post_init()
        # The second answers start from the first ones.
        nn.init.zeros_(self.second.last.weight)
        nn.init.zeros_(self.second.last.bias)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear | nn.GroupNorm | nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)

    @classmethod
    def load(cls, directory: Path = BASE_WEIGHTS) -> Self:
        """The saved model in float32 whatever it is stored in, ready to predict.

        Raises:
            FileNotFoundError: no model lies there; the message names the directory.
            ValueError: the weights are not those of the configuration; the message names one at fault.
            DamagedFileError: a file is not as it was written; the message names it.
        """
        if not (directory / "config.json").is_file():
            raise FileNotFoundError(f"{directory}: no model here (config.json is missing)")
        check_sums(directory)
        model, info = cls.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            directory, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
        wrong = sorted({*info["missing_keys"], *info["unexpected_keys"]})
        if wrong:
            raise ValueError(f"{directory}: the weights do not fit config.json, e.g. {wrong[0]}")
        for parameter in model.parameters():
            # Out of the mapped file: its alignment would change the last bit of some sums.
            parameter.data = parameter.data.clone()
        return model.eval()

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *args: Any,  # noqa: ANN401  transformers' own
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Write the model, and checksums that `load` compares: safetensors load a flipped bit silently."""
        super().save_pretrained(save_directory, *args, **options)
        write_sums(Path(save_directory), ("config.json", "model.safetensors"))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Of the configuration's vocabulary."""
        tokenizer = build_tokenizer(self.config.vocabulary)
        tokenizer.enable_truncation(self.config.text_tokens)
        return tokenizer

    def token_ids(self, instructions: Sequence[str]) -> Tensor:
        """(B, T) ids, padded to the longest. An instruction without a word reads as unknown."""
        words = [text if text.strip() else UNKNOWN for text in instructions]
        return torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(words)])

    def forward(self, images: Tensor, ids: Tensor) -> HeatmapOutput:
        """Predict raw answers.

        Args:
            images: (B, 3, S, S), 0..255.
            ids: (B, T) from `token_ids`.
        """
        skip4, skip8, cells = self._see(images)
        tokens = cells.flatten(2).transpose(1, 2) + self.position.weight
        text, keep = self.text(ids)
        sentence = (text * keep[..., None]).sum(dim=1) / keep.sum(dim=1, keepdim=True).sqrt()
        queries = self.queries.weight.expand(len(images), -1, -1)
        asked = self.modulate_all(torch.cat([queries, tokens], dim=1), sentence)
        joined = torch.cat([asked, text], dim=1)
        seen = torch.cat([keep.new_ones(len(images), POINTS + tokens.shape[1]), keep], dim=1)
        for layer in self.joint:
            joined = layer(joined, seen)
        queries, tokens, text = self.norm(joined).split([POINTS, tokens.shape[1], text.shape[1]], dim=1)
        features = self.up8(tokens.transpose(1, 2).unflatten(2, cells.shape[2:]), skip8, sentence)
        features = self.up4(features, skip4, sentence)
        return self._answer(queries, text, keep, sentence, features)

    def _see(self, images: Tensor) -> list[Tensor]:
        """Features at strides 4, 8 and 16, with the decoder's widths."""
        taps = self.backbone(images)
        return [skip(torch.cat([tap, grid(tap)], dim=1)) for skip, tap in zip(self.skips, taps, strict=True)]

    def _answer(
        self, queries: Tensor, text: Tensor, keep: Tensor, sentence: Tensor, features: Tensor
    ) -> HeatmapOutput:
        """Answers of queries (B, POINTS, C) and text (B, T, C) in features (B, channels, H, W)."""
        located = torch.cat([features, places(features)], dim=1)
        first = self.first(queries, located)
        weights = first.detach().flatten(2).softmax(dim=2)
        local = torch.einsum("bkn,bcn->bkc", weights, located.flatten(2))
        found = self.modulate_points(queries + self.local(local), sentence)
        related = torch.cat([found, text], dim=1)
        seen = torch.cat([keep.new_ones(len(keep), POINTS), keep], dim=1)
        for layer in self.relate:
            related = layer(related, seen)
        points, axes = related[:, :POINTS], self.axes(features)
        seen_from = relative_places(first.detach(), axes.detach())
        heatmaps = first + self.second(points, torch.cat([located, seen_from], dim=1))
        summary = self.head(points.flatten(1))
        presence, scalars = self.presence(summary), self.scalars(summary)
        return HeatmapOutput(heatmaps, first, axes, presence, scalars, summary)

    @torch.inference_mode()
    def predict(self, images: Sequence[NDArray[np.uint8]], instructions: Sequence[str]) -> list[Prediction]:
        """One prediction per (image, instruction) pair; see `affordance.model.KeypointModel`."""
        if len(images) != len(instructions):
            raise ValueError(f"{len(images)} images but {len(instructions)} instructions")
        if not images:
            return []
        squares = torch.stack([to_square(image, self.config.image_size) for image in images])
        output = HeatmapOutput(*(part.cpu() for part in self._look(squares.to(self.device), instructions)))
        points, confidence = read_points(output.heatmaps)
        values = output.values()
        return [
            _prediction(points[i], confidence[i], values[i], output.presence[i], image.shape)
            for i, image in enumerate(images)
        ]

    def _look(self, squares: Tensor, instructions: Sequence[str]) -> HeatmapOutput:
        """Answers for images (B, 3, S, S), averaged over their mirrors."""
        seen = views(squares, instructions)
        output = self(seen.images, self.token_ids(seen.instructions).to(self.device))
        shares = output.heatmaps.flatten(2).softmax(dim=2).unflatten(2, output.heatmaps.shape[2:])
        heatmaps = average_maps(shares, seen).clamp(min=1e-12).log()
        axes = average_axes(output.axes, seen)
        presence, scalars, summary = (
            average(numbers, seen) for numbers in (output.presence, output.scalars, output.summary)
        )
        return HeatmapOutput(heatmaps, heatmaps, axes, presence, scalars, summary)


def _prediction(
    points: Tensor, confidence: Tensor, values: Tensor, presence: Tensor, shape: tuple[int, ...]
) -> Prediction:
    """One image's numbers as a prediction; numbers that are not finite make it invalid."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (points, values, presence)):
        return Prediction(affordance=None, error="the network's answer is not finite")
    affordance = decode(points, values, presence > 0, width=shape[1], height=shape[0])
    named = dict(zip(KEYPOINT_NAMES, confidence.tolist(), strict=True))
    return Prediction(affordance, {name: named[name] for name, _ in affordance.keypoints()})
