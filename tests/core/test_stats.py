"""Intervals agree with SciPy and with hand computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, ttest_1samp

from kalie.core.stats import bootstrap_mean, mean_of_runs, paired_difference, wilson


def test_wilson_matches_hand_computation() -> None:
    """64 of 75, the paper's pooled result, with z = 1.959964."""
    z, n, p = 1.959963984540054, 75, 64 / 75
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert wilson(64, 75) == pytest.approx((p, centre - half, centre + half, 75), abs=1e-12)


def test_wilson_matches_the_published_example() -> None:
    """Newcombe 1998, table I: 81 of 263."""
    assert wilson(81, 263)[1:3] == pytest.approx((0.2553, 0.3662), abs=5e-5)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.99))
def test_wilson_matches_scipy(case: tuple[int, int], confidence: float) -> None:
    successes, n = case
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    found = wilson(successes, n, confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_when_counts_make_no_share_expect_error(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        wilson(successes, n)


def test_bootstrap_matches_scipy() -> None:
    values = np.random.default_rng(0).normal(2.0, 1.0, 60)
    expected = bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    found = bootstrap_mean(values.tolist(), resamples=20_000)
    assert found.value == values.mean()
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.01)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.01)


def test_bootstrap_is_exactly_repeatable_and_depends_on_the_seed() -> None:
    values = [0.0, 1.0, 1.0, 0.3, 0.2]
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1, resamples=50) != bootstrap_mean(values, seed=2, resamples=50)


def test_bootstrap_of_equal_values_has_no_width() -> None:
    assert bootstrap_mean([0.5] * 7) == (0.5, 0.5, 0.5, 7)


@pytest.mark.parametrize("values", [[], [float("nan")], [1.0, float("inf")]])
def test_when_values_have_no_mean_expect_error(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean(values)


def test_the_mean_of_runs_has_student_s_interval() -> None:
    means = [0.8, 0.9, 0.7, 0.85, 0.75]
    value, low, high, n = mean_of_runs(means, n=500)
    expected = ttest_1samp(means, 0.0).confidence_interval(0.95)
    assert (value, n) == (pytest.approx(0.8), 500)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    with pytest.raises(ValueError, match="needs two"):
        mean_of_runs([0.8], n=100)


def test_pairing_removes_what_both_share() -> None:
    """Scores vary wildly between episodes, the difference is always 0.1: only pairing sees it."""
    second = {
        ("sweep", seed, episode): float(seed * 3 + episode) for seed in range(3) for episode in range(5)
    }
    first = {key: value + 0.1 for key, value in second.items()}
    found = paired_difference(first, second)
    assert found == pytest.approx((0.1, 0.1, 0.1, 15))
    assert bootstrap_mean(list(first.values())).low < bootstrap_mean(list(second.values())).value


def test_pairing_goes_by_key_not_by_order() -> None:
    first = {"a": 1.0, "b": 0.0}
    assert paired_difference(first, {"b": 0.0, "a": 1.0}) == (0.0, 0.0, 0.0, 2)


def test_when_episodes_differ_expect_one_named() -> None:
    with pytest.raises(ValueError, match=r"1 episodes are not in both, such as \('sweep', 3\)"):
        paired_difference({("sweep", 3): 1.0, "x": 0.0}, {"x": 1.0})
