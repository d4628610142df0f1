"""Returns and advantages equal hand computations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalie.rl.advantages import discounted_sums, gae, whiten

FLOATS = st.floats(-10, 10, allow_nan=False)


def test_gae_matches_hand_computation() -> None:
    # gamma .9, lam .8: d2 = 2 - .3 = 1.7; d1 = 0 + .9*.3 - .2 = .07; d0 = 1 + .9*.2 - .5 = .68
    out = gae([1, 0, 2], [0.5, 0.2, 0.3], last_value=100.0, terminated=True, gamma=0.9, lam=0.8)
    a2 = 1.7
    a1 = 0.07 + 0.72 * a2
    a0 = 0.68 + 0.72 * a1
    np.testing.assert_allclose(out.advantages, [a0, a1, a2], rtol=1e-12)
    np.testing.assert_allclose(out.returns, [a0 + 0.5, a1 + 0.2, a2 + 0.3], rtol=1e-12)


def test_a_truncated_episode_bootstraps_and_a_terminated_one_does_not() -> None:
    ended = gae([1.0], [0.0], last_value=10.0, terminated=True, gamma=0.9, lam=0.95)
    cut = gae([1.0], [0.0], last_value=10.0, terminated=False, gamma=0.9, lam=0.95)
    assert ended.advantages[0] == 1.0
    assert cut.advantages[0] == 1.0 + 0.9 * 10.0


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=8), FLOATS, st.floats(0, 1))
def test_gae_with_lambda_1_is_the_monte_carlo_return_less_the_value(
    steps: list[tuple[float, float]], last: float, gamma: float
) -> None:
    rewards, values = [list(part) for part in zip(*steps, strict=True)]
    out = gae(rewards, values, last, False, gamma, 1.0)
    np.testing.assert_allclose(out.returns, discounted_sums(rewards, gamma, last), atol=1e-9)


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=8), FLOATS, st.floats(0, 1))
def test_gae_with_lambda_0_is_the_one_step_difference(
    steps: list[tuple[float, float]], last: float, gamma: float
) -> None:
    rewards, values = [list(part) for part in zip(*steps, strict=True)]
    out = gae(rewards, values, last, False, gamma, 0.0)
    following = [*values[1:], last]
    wanted = [r + gamma * n - v for r, n, v in zip(rewards, following, values, strict=True)]
    np.testing.assert_allclose(out.advantages, wanted, atol=1e-9)


def test_discounted_sums_match_hand_computation() -> None:
    np.testing.assert_allclose(discounted_sums([1, 2, 3], 0.5), [1 + 1 + 0.75, 2 + 1.5, 3])
    np.testing.assert_allclose(discounted_sums([1], 0.5, last_value=4), [3])


def test_whitened_values_have_mean_0_and_deviation_1() -> None:
    out = whiten(np.array([1.0, 2.0, 6.0]), epsilon=0.0)
    assert out.mean() == pytest.approx(0)
    assert out.std() == pytest.approx(1)


@pytest.mark.parametrize("values", [[3.0], [0.1] * 7, [1e9] * 3, [0.0, 0.0]])
def test_equal_values_whiten_to_exactly_0(values: list[float]) -> None:
    assert whiten(np.array(values)).tolist() == [0.0] * len(values)
