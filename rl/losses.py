"""Losses that several algorithms share, as pure functions of tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class PolicyLoss(NamedTuple):
    """A policy's loss and what it shows.

    Attributes:
        loss: scalar.
        clipped: share of samples whose ratio was clipped.
        drift: mean of (ratio - 1) - log ratio, an estimate of the divergence from the sampling policy.
    """

    loss: Tensor
    clipped: Tensor
    drift: Tensor


def clipped_policy_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    clip: float,
    drop_unclipped_above: float = 0.0,
) -> PolicyLoss:
    """-mean min(rho A, clip(rho, 1 - clip, 1 + clip) A), rho = exp(new - old) (Schulman et al. 2017, eq. 7).

    Args:
        log_probs: (n,) under the policy that is trained.
        old_log_probs: (n,) under the one that sampled.
        advantages: (n,).
        clip: epsilon.
        drop_unclipped_above: where a ratio of the batch exceeds it, only the clipped term counts (RL4VLM
            does so above 10); 0 never does.
    """
    log_ratio = log_probs - old_log_probs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    gain = clipped * advantages
    if not drop_unclipped_above or not bool((ratio.detach() > drop_unclipped_above).any()):
        gain = torch.minimum(ratio * advantages, gain)
    outside = ((ratio - 1).abs() > clip).float().mean()
    return PolicyLoss(-gain.mean(), outside.detach(), ((ratio - 1) - log_ratio).mean().detach())


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """1/2 mean max((V - R)^2, (V_old + clip(V - V_old, -clip, clip) - R)^2).

    Args:
        values: (n,) now.
        old_values: (n,) when the batch was collected.
        returns: (n,) that they are fitted to.
        clip: largest change of a value that the second term follows; 0 leaves only the first.
    """
    error = (values - returns).square()
    if clip:
        near = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns).square())
    return 0.5 * error.mean()


def kl_to_reference(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    """The estimates r - 1 - log r, r = pi_ref / pi, of KL(pi || pi_ref) from samples of pi, (n,).

    Never negative, unbiased, of low variance (Schulman 2020, "Approximating KL divergence", k3).

    Args:
        log_probs: (n,) under the policy.
        reference_log_probs: (n,) under the reference.
    """
    log_ratio = reference_log_probs - log_probs
    return log_ratio.exp() - 1 - log_ratio


def entropy(log_probs: Tensor) -> Tensor:
    """-sum p log p of distributions, (..., V) -> (...).

    Args:
        log_probs: finite; of what has probability 0, the least number there is.
    """
    return _Entropy.apply(log_probs)  # pyright: ignore[reportReturnType]  torch does not type it


class _Entropy(torch.autograd.Function):
    """Remembers its argument alone: over a large vocabulary p and p log p would take as much again, twice."""

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor) -> Tensor:  # noqa: ANN401  of no public type
        ctx.save_for_backward(log_probs)
        return -log_probs.exp().mul_(log_probs).sum(-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        (log_probs,), (gradient,) = ctx.saved_tensors, gradients
        return log_probs.exp().mul_(log_probs + 1).mul_(-gradient[..., None])
