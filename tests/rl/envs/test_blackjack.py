"""Blackjack: its rules, its levels against the published ones, its players."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kalie.rl.envs.blackjack import (
    BlackjackConfig,
    BlackjackEnv,
    demonstrator,
    expert,
    hand_of,
    hit_below_17,
    stand,
)
from kalie.rl.envs.blackjack_values import (
    CARDS,
    Hand,
    HitChance,
    below_17_policy,
    best_policy,
    dealer_totals,
    dealt,
    drawn,
    levels,
    random_policy,
    stand_policy,
)
from kalie.rl.envs.players import Player, play_many, random_example

HIT, STAND = '{"action": "hit"}', '{"action": "stand"}'


def with_cards(player: list[int], dealer: int) -> BlackjackEnv:
    env = BlackjackEnv()
    env.reset(seed=0)
    env.player, env.dealer = player, [dealer]
    return env


@pytest.mark.parametrize(
    ("ranks", "hand"),
    [
        ((1, 6), Hand(17, True)),
        ((1, 1), Hand(12, True)),
        ((1, 6, 10), Hand(17, False)),
        ((13, 12), Hand(20, False)),
        ((1, 10), Hand(21, True)),
        ((1, 1, 10), Hand(12, False)),
        ((10, 10, 5), Hand(25, False)),
    ],
)
def test_hands_are_summed_with_one_ace_as_eleven_where_that_fits(ranks: tuple[int, ...], hand: Hand) -> None:
    assert hand_of(ranks) == hand


def test_drawing_agrees_with_summing() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        ranks = [int(rank) for rank in rng.integers(1, 14, rng.integers(1, 7))]
        hand = Hand(0, False)
        for rank in ranks:
            hand = drawn(hand, min(rank, 10))
        assert hand == hand_of(ranks)


def test_going_bust_loses_at_once() -> None:
    env = with_cards([10, 10, 1], 5)
    while True:
        _, reward, terminated, _, info = env.step(HIT)
        if env.hand.total > 21:
            break
        assert (reward, terminated) == (0.0, False)
    assert (reward, terminated, info["success"]) == (-1.0, True, False)


def test_standing_compares_with_a_dealer_who_draws_to_seventeen() -> None:
    outcomes = set()
    for seed in range(200):
        env = BlackjackEnv(BlackjackConfig(rendering="symbolic"))
        env.reset(seed=seed)
        ours = env.hand.total
        _, reward, terminated, _, info = env.step(STAND)
        theirs = info["dealer_sum"]
        assert isinstance(theirs, int)
        assert theirs >= 17
        assert terminated
        assert reward == (1.0 if theirs > 21 else float(np.sign(ours - theirs)))
        assert info["success"] is (reward == 1.0)
        outcomes.add(reward)
    assert outcomes == {-1.0, 0.0, 1.0}


def test_when_the_response_is_invalid_expect_the_hands_to_stay_and_a_penalty() -> None:
    env = with_cards([10, 5], 9)
    _, reward, terminated, _, info = env.step('{"action": "hit me"}')
    assert (reward, terminated, info["valid"]) == (-1.0, False, False)
    assert env.player == [10, 5]


def test_chances_sum_to_one() -> None:
    assert sum(CARDS.values()) == pytest.approx(1.0)
    assert sum(dealt().values()) == pytest.approx(1.0)
    for card in CARDS:
        totals = dealer_totals(drawn(Hand(0, False), card))
        assert sum(totals.values()) == pytest.approx(1.0)
        assert set(totals) <= set(range(17, 23))


@pytest.mark.parametrize(
    ("policy", "published"),
    [
        (random_policy, 0.281),
        (stand_policy, 0.383),
        (below_17_policy, 0.409),
        (best_policy("win"), 0.432),
    ],
)
def test_win_rates_are_near_the_published_ones(policy: HitChance, published: float) -> None:
    assert levels(policy).success == pytest.approx(published, abs=0.003)


def test_the_best_mean_return_is_the_published_one() -> None:
    assert levels(best_policy("mean")).mean_return == pytest.approx(-0.0466, abs=0.0001)


def test_no_policy_of_a_thousand_beats_the_optimum() -> None:
    rng = np.random.default_rng(0)
    ceiling = levels(best_policy("win")).success
    for _ in range(50):
        flipped: Callable[[Hand, int], bool] = _flipping(rng)
        changed = levels(
            lambda hand, dealer, flip=flipped: best_policy("win")(hand, dealer) != flip(hand, dealer)
        )
        assert changed.success <= ceiling + 1e-12


def _flipping(rng: np.random.Generator) -> Callable[[Hand, int], bool]:
    flips = {(hand, dealer): bool(rng.random() < 0.1) for hand in _hands() for dealer in CARDS}
    return lambda hand, dealer: flips[hand, dealer]


def _hands() -> list[Hand]:
    return [Hand(total, usable) for total in range(2, 22) for usable in (False, True)]


@pytest.mark.parametrize(
    ("player", "policy"),
    [
        (random_example, random_policy),
        (stand, stand_policy),
        (hit_below_17, below_17_policy),
        (expert, best_policy("win")),
    ],
)
def test_played_win_rates_equal_the_exact_ones(player: Player, policy: HitChance) -> None:
    env = BlackjackEnv(BlackjackConfig(rendering="symbolic"))
    played = play_many(env, player, range(3000))
    assert np.mean([episode.success for episode in played]) == pytest.approx(levels(policy).success, abs=0.03)


def test_demonstrations_state_the_hands_truly_unless_misread() -> None:
    rng = np.random.default_rng(0)
    env, told = BlackjackEnv(), []
    for seed in range(60):
        env.reset(seed=seed)
        assert env.step(expert(env, rng))[4]["faithful"] is True
        env.reset(seed=seed)
        told.append(env.step(demonstrator(misread=1.0)(env, rng))[4]["faithful"])
    assert told.count(False) > 40


def test_pictures_tell_sums_apart() -> None:
    pictures = {with_cards([rank, 5], 7).observe().images[0].tobytes() for rank in range(1, 14)}
    assert len(pictures) == 13
