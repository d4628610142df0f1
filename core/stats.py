"""Intervals for the numbers we report: a share's, a mean's, that of several runs, a paired difference's."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple, TypeVar

import numpy as np

RESAMPLES = 10_000
KeyT = TypeVar("KeyT", bound=Hashable)


class Interval(NamedTuple):
    """An estimate with its confidence interval, from `n` observations."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The Wilson score interval of a share (Wilson 1927, eq. 4 of Newcombe 1998, method 3).

    Raises:
        ValueError: `n` is not positive or `successes` not in [0, n].
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is no share")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # The bounds of 0 and n successes are exactly 0 and 1; rounding must not say otherwise.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(share, low, high, n)


def bootstrap_mean(
    values: Sequence[float], seed: int = 0, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """The mean with its percentile bootstrap interval (Efron & Tibshirani 1993, ch. 13).

    Raises:
        ValueError: no values, or one that is not finite.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0 or not np.isfinite(data).all():
        raise ValueError(f"a mean needs finite values; {data.size} given")
    rng = np.random.default_rng(seed)
    # In blocks, so that long data do not need resamples x n numbers at once.
    means = np.concatenate([_resampled_means(data, rng, size) for size in _blocks(resamples, data.size)])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(data.mean()), float(low), float(high), data.size)


def _resampled_means(data: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    return data[rng.integers(data.size, size=(size, data.size))].mean(axis=1)


def _blocks(resamples: int, size: int) -> list[int]:
    block = max(1, 2_000_000 // size)
    return [min(block, resamples - start) for start in range(0, resamples, block)]


def mean_of_runs(means: Sequence[float], n: int, confidence: float = 0.95) -> Interval:
    """The mean of independent runs' figures; Student's interval is of their spread, not of the episodes'.

    Args:
        means: one figure of each run.
        n: observations of all runs together.
        confidence: of the interval.

    Raises:
        ValueError: fewer than two runs.
    """
    from scipy.special import stdtrit  # not at the top: whoever needs a share should not wait for SciPy

    if len(means) < 2:
        raise ValueError(f"an interval over runs needs two of them; {len(means)} given")
    data = np.asarray(means, dtype=np.float64)
    half = stdtrit(data.size - 1, 0.5 + confidence / 2) * data.std(ddof=1) / math.sqrt(data.size)
    return Interval(float(data.mean()), float(data.mean() - half), float(data.mean() + half), n)


def paired_difference(
    first: Mapping[KeyT, float],
    second: Mapping[KeyT, float],
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """How much better `first` is than `second` on the same episodes: mean difference, paired bootstrap.

    Args:
        first: score by episode, the key holding whatever makes an episode the same one (task, seed, number).
        second: score by the same keys.
        seed: of the resampling.
        confidence: of the interval.
        resamples: number of bootstrap samples.

    Raises:
        ValueError: the two do not have the same episodes.
    """
    if unpaired := first.keys() ^ second.keys():
        raise ValueError(f"{len(unpaired)} episodes are not in both, such as {next(iter(unpaired))!r}")
    return bootstrap_mean([first[key] - second[key] for key in first], seed, confidence, resamples)
