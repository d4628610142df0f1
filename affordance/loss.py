"""What the heat-map model is trained to do: pure functions of tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .encoding import GRASP, POINTS, Batch
from .heatmap import HeatmapOutput

# Standard deviation of a target heat-map, in cells.
SIGMA = 1.0
FIRST_WEIGHT = 0.5
PRESENCE_WEIGHT = 0.5
VALUES_WEIGHT = 1.0


class Loss(NamedTuple):
    """The total and its parts, scalars."""

    total: Tensor
    heatmaps: Tensor
    presence: Tensor
    values: Tensor


def affordance_loss(output: HeatmapOutput, batch: Batch) -> Loss:
    """Heat-map cross-entropy + presence cross-entropy + Huber error of the scalars, weighted."""
    heatmaps = heatmap_loss(output.heatmaps, batch.points, batch.in_view)
    first = heatmap_loss(output.first, batch.points, batch.in_view)
    presence = functional.binary_cross_entropy_with_logits(output.presence, batch.presence)
    known = batch.presence.clone()
    known[:, -1] *= batch.in_view[:, GRASP]
    values = values_loss(values_at_truth(output, batch.points), batch.values, known)
    total = heatmaps + FIRST_WEIGHT * first + PRESENCE_WEIGHT * presence + VALUES_WEIGHT * values
    return Loss(total, heatmaps, presence, values)


def heatmap_loss(heatmaps: Tensor, points: Tensor, in_view: Tensor) -> Tensor:
    """Kullback-Leibler divergence of each map's softmax from a Gaussian about its point, mean over points.

    Args:
        heatmaps: (B, K, H, W) logits.
        points: (B, K, 2) fractions of the image.
        in_view: bool (B, K); the others do not count.
    """
    targets = gaussians(points, heatmaps.shape[-2], heatmaps.shape[-1]).flatten(2)
    logs = heatmaps.flatten(2).log_softmax(dim=2)
    divergence = (torch.xlogy(targets, targets) - targets * logs).sum(dim=2)
    return (divergence * in_view).sum() / in_view.sum().clamp(min=1)


def gaussians(points: Tensor, height: int, width: int) -> Tensor:
    """Normalised Gaussians (B, K, height, width) about points (B, K, 2) in fractions of the image."""
    x = torch.arange(width, device=points.device) + 0.5 - points[..., :1] * width
    y = torch.arange(height, device=points.device) + 0.5 - points[..., 1:] * height
    squares = x.square()[..., None, :] + y.square()[..., :, None]
    maps = torch.exp(-squares / (2 * SIGMA**2))
    return maps / maps.sum(dim=(-2, -1), keepdim=True)


def values_at_truth(output: HeatmapOutput, points: Tensor) -> Tensor:
    """(B, VALUES), the closing axis read where the true grasp is: it is learned before the grasp is found."""
    weights = gaussians(points[:, GRASP : GRASP + 1], *output.axes.shape[-2:])[:, 0]
    return torch.cat([output.scalars, torch.einsum("bhw,bchw->bc", weights, output.axes)], dim=1)


def values_loss(values: Tensor, truth: Tensor, presence: Tensor) -> Tensor:
    """Huber error of the scalars that are present, mean over them; the closing axis counts as one."""
    errors = functional.smooth_l1_loss(values, truth, reduction="none", beta=0.1)
    per_scalar = torch.cat([errors[:, :-2], errors[:, -2:].sum(dim=1, keepdim=True)], dim=1)
    present = presence[:, POINTS:]
    return (per_scalar * present).sum() / present.sum().clamp(min=1)
