"""Where the cells of a map lie: in the image, and as seen from the points that heat-maps point at."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .encoding import FUNCTION, GRASP, POINTS, TARGET, axis_angle

# Heat-map cells on each side of the peak that the read-out averages.
WINDOW = 2
# Of the waves that tell a cell's place, half periods across the image.
FREQUENCIES = (1, 2, 4, 8)
PLACE_CHANNELS = 2 + 4 * len(FREQUENCIES)
# The same of the waves that tell where a cell lies as seen from a point.
RELATIVE_FREQUENCIES = (1, 2, 4, 8, 16)
# Directions along which a cell is seen from the second point of each pair.
DIRECTED = ((GRASP, FUNCTION), (GRASP, TARGET))
RELATIVE_CHANNELS = len(RELATIVE_FREQUENCIES) * (4 * (POINTS + len(DIRECTED)) + 2)


def places(features: Tensor) -> Tensor:
    """Each cell's place as sines and cosines, (B, PLACE_CHANNELS, H, W).

    In these a single peak anywhere is a dot product away, which it is not in x and y alone.
    """
    xy = grid(features)
    waves = [math.pi * frequency * xy for frequency in FREQUENCIES]
    return torch.cat([xy, *(wave.sin() for wave in waves), *(wave.cos() for wave in waves)], dim=1)


def relative_places(heatmaps: Tensor, axes: Tensor) -> Tensor:
    """Each cell's place as seen from what heat-maps point at, as waves, (B, RELATIVE_CHANNELS, H, W).

    Seen from every point along the image's axes; from the second point of each of the pairs `DIRECTED` along
    and across the line from the first; and from the grasp along and across its closing axis, which has no
    sign, so that only waves without one tell of it.

    Args:
        heatmaps: (B, POINTS, H, W) logits.
        axes: (B, 2, H, W), see `HeatmapOutput`.
    """
    height, width = heatmaps.shape[-2:]
    points, _ = read_points(heatmaps)
    x = (torch.arange(width, device=heatmaps.device) + 0.5) / width
    y = (torch.arange(height, device=heatmaps.device) + 0.5) / height
    cells = torch.stack(torch.meshgrid(x, y, indexing="xy"))
    offsets = 2 * (cells - points[..., None, None])
    ways = torch.stack([points[:, end] - points[:, start] for start, end in DIRECTED], dim=1)
    ways = ways / ways.norm(dim=2, keepdim=True).clamp(min=1e-3)
    weights = heatmaps[:, GRASP].flatten(1).softmax(dim=1)
    closing = axis_angle(torch.einsum("bn,bcn->bc", weights, axes.flatten(2)))
    closing = torch.stack([closing.cos(), closing.sin()], dim=1)[:, None]
    ends = [end for _, end in DIRECTED]
    signed = torch.cat([offsets, _turned(offsets[:, ends], ways)], dim=1).flatten(1, 2)
    unsigned = _turned(offsets[:, [GRASP]], closing).flatten(1, 2)
    waves = []
    for frequency in RELATIVE_FREQUENCIES:
        phase = math.pi * frequency * signed
        waves += [phase.sin(), phase.cos(), (math.pi * frequency * unsigned).cos()]
    return torch.cat(waves, dim=1)


def _turned(offsets: Tensor, ways: Tensor) -> Tensor:
    """Offsets (B, N, 2, H, W) as coordinates along and across unit directions (B, N, 2)."""
    along = torch.einsum("bnchw,bnc->bnhw", offsets, ways)
    across = torch.einsum("bnchw,bnc->bnhw", offsets, torch.stack([-ways[..., 1], ways[..., 0]], dim=-1))
    return torch.stack([along, across], dim=2)


def grid(features: Tensor) -> Tensor:
    """Each cell's x and y, (B, 2, H, W) from -1 to 1."""
    count, _, height, width = features.shape
    x = torch.linspace(-1, 1, width, device=features.device, dtype=features.dtype)
    y = torch.linspace(-1, 1, height, device=features.device, dtype=features.dtype)
    return torch.stack(torch.meshgrid(x, y, indexing="xy")).expand(count, -1, -1, -1)


def read_points(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Points and confidences from heat-map logits.

    The point is the mean of the probabilities in a window about the peak; the confidence is their sum.

    Args:
        heatmaps: (B, K, H, W) logits.

    Returns:
        points (B, K, 2), fractions of the image; confidences (B, K) in [0, 1].
    """
    height, width = heatmaps.shape[-2:]
    flat = heatmaps.flatten(2).softmax(dim=2)
    peak = flat.argmax(dim=2, keepdim=True)
    x = torch.arange(width, device=flat.device).repeat(height)
    y = torch.arange(height, device=flat.device).repeat_interleave(width)
    near = ((x - peak % width).abs() <= WINDOW) & ((y - peak // width).abs() <= WINDOW)
    mass = flat * near
    total = mass.sum(dim=2)
    points = torch.stack([(mass * (x + 0.5)).sum(2) / width, (mass * (y + 0.5)).sum(2) / height], dim=-1)
    return points / total[..., None], total.clamp(0, 1)
