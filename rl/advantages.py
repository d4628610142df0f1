"""Returns and advantages, as pure functions of arrays.

Only `terminated` stops bootstrapping; a truncated episode goes on in the value of what would have come next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Reals = Sequence[float] | NDArray[np.floating]
"""What losses and environments hand over, in whatever precision."""


class Advantages(NamedTuple):
    """Of each step: its advantage, and the return that its value is fitted to; float64 (T,) each."""

    advantages: Floats
    returns: Floats


def gae(
    rewards: Reals,
    values: Reals,
    last_value: float,
    terminated: bool,
    gamma: float,
    lam: float,
) -> Advantages:
    """Generalised advantage estimation over one episode (Schulman et al. 2016, eq. 11-16).

        delta_t = r_t + gamma V_{t+1} - V_t,   A_t = sum_k (gamma lam)^k delta_{t+k},   R_t = A_t + V_t

    Args:
        rewards: (T,).
        values: (T,) of the states that were acted in.
        last_value: of the state after the last step; not used when `terminated`.
        terminated: whether the episode ended in its own terms; otherwise a limit cut it.
        gamma: discount.
        lam: 0 for the one-step difference, 1 for the Monte-Carlo return.
    """
    known = np.asarray(values, np.float64)
    following = np.append(known[1:], 0.0 if terminated else last_value)
    deltas = np.asarray(rewards, np.float64) + gamma * following - known
    advantages = discounted_sums(deltas, gamma * lam)
    return Advantages(advantages, advantages + known)


def discounted_sums(rewards: Reals, gamma: float, last_value: float = 0.0) -> Floats:
    """R_t = r_t + gamma R_{t+1}, with R_T = `last_value`: Monte-Carlo returns, (T,) -> (T,)."""
    out = np.zeros(len(rewards), dtype=np.float64)
    following = last_value
    for step in range(len(rewards) - 1, -1, -1):
        following = rewards[step] + gamma * following
        out[step] = following
    return out


def whiten(values: Floats, epsilon: float = 1e-5) -> Floats:
    """Shifted to mean 0 and scaled to standard deviation 1; equal values become exactly 0.

    Args:
        values: (n,).
        epsilon: added to the standard deviation.
    """
    spread = values.std()
    if values.size < 2 or spread <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return np.zeros_like(values)
    return (values - values.mean()) / (spread + epsilon)


class Estimates(NamedTuple):
    """What an update fits.

    Attributes:
        episodes: of each, per step: `advantage` (whitened over all episodes), `return` and `old_value`, (T,).
        explained_variance: of the returns, by the values.
    """

    episodes: list[dict[str, Floats]]
    explained_variance: float


def estimate(
    rewards: Sequence[Reals],
    values: Sequence[NDArray[np.floating]],
    terminated: Sequence[bool],
    gamma: float,
    lam: float,
) -> Estimates:
    """`gae` of every episode, its advantages whitened over all of them.

    Args:
        rewards: of each episode, (T,).
        values: of each, (T + 1,), the state after the last step included.
        terminated: whether each ended in its own terms.
        gamma: discount.
        lam: see `gae`.
    """
    raw = [
        gae(reward, value[:-1], float(value[-1]), ended, gamma, lam)
        for reward, value, ended in zip(rewards, values, terminated, strict=True)
    ]
    ends = np.cumsum([len(one.advantages) for one in raw])[:-1]
    whitened = np.split(whiten(np.concatenate([one.advantages for one in raw])), ends)
    episodes = [
        {"advantage": advantage, "return": one.returns, "old_value": np.asarray(value[:-1], np.float64)}
        for advantage, one, value in zip(whitened, raw, values, strict=True)
    ]
    known, returns = (np.concatenate([one[name] for one in episodes]) for name in ("old_value", "return"))
    return Estimates(episodes, explained_variance(known, returns))


def explained_variance(values: Floats, returns: Floats) -> float:
    """1 - var(returns - values) / var(returns); 0 where returns do not vary."""
    spread = float(returns.var())
    return 1 - float((returns - values).var()) / spread if spread > 0 else 0.0
