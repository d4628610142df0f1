"""EZPoints and Points24: their rules, their levels against the published ones, their demonstrators."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from kalie.rl.envs.formulas import solvable
from kalie.rl.envs.players import play_many, random_example
from kalie.rl.envs.points import (
    EZPointsConfig,
    EZPointsEnv,
    Points24Config,
    Points24Env,
    PointsEnv,
    demonstrator,
    expert,
)
from kalie.rl.envs.points_levels import ez_hands, ez_random_levels, points24_optimum, solvable_share


def dealt(env: PointsEnv, *ranks: int) -> PointsEnv:
    env.reset(seed=0)
    env.ranks = ranks
    return env


def rewards(env: PointsEnv, tokens: Sequence[str]) -> list[float]:
    return [env.step(json.dumps({"action": token}))[1] for token in tokens]


def last(env: PointsEnv, tokens: str) -> tuple[float, bool, bool, bool]:
    """Reward, terminated, truncated and success of the last of these tokens."""
    *before, final = tokens.split()
    rewards(env, before)
    _, reward, terminated, truncated, info = env.step(json.dumps({"action": final}))
    return reward, terminated, truncated, bool(info.get("success"))


@pytest.mark.parametrize(
    ("ranks", "tokens"),
    [((3, 9), "3 + 9 ="), ((3, 9), "9 + 3 ="), ((2, 6), "2 * 6 ="), ((12, 2), "10 + 2 =")],
)
def test_a_formula_worth_twelve_wins_ten(ranks: tuple[int, int], tokens: str) -> None:
    assert last(dealt(EZPointsEnv(), *ranks), tokens) == (10.0, True, False, True)


@pytest.mark.parametrize("tokens", ["3 =", "3 + =", "3 * 9 =", "=", "+ ="])
def test_another_formula_loses_one(tokens: str) -> None:
    assert last(dealt(EZPointsEnv(), 3, 9), tokens) == (-1.0, True, False, False)


def test_twelve_without_every_card_loses() -> None:
    env = dealt(Points24Env(), 4, 6, 1, 1)
    assert last(env, "4 * 6 =") == (-1.0, True, False, False)


def test_a_number_that_is_not_there_costs_one_and_leaves_the_formula() -> None:
    env = dealt(EZPointsEnv(), 6, 6)
    assert rewards(env, ["5", "6", "+", "6", "6"]) == [-1.0, 0.0, 0.0, 0.0, -1.0]
    assert env.formula == ("6", "+", "6")


def test_when_the_response_is_invalid_expect_the_formula_to_stay_and_a_penalty() -> None:
    env = dealt(EZPointsEnv(), 6, 6)
    env.step('{"action": "6"}')
    _, reward, terminated, _, info = env.step('{"action": "66"}')
    assert (reward, terminated, info["valid"]) == (-1.0, False, False)
    assert env.formula == ("6",)


@pytest.mark.parametrize(("make", "longest"), [(EZPointsEnv, 5), (Points24Env, 20)])
@pytest.mark.parametrize("response", ['{"action": "+"}', "garbage", '{"action": "9"}'])
def test_a_formula_past_its_longest_is_cut_off_with_a_penalty(
    make: type[EZPointsEnv] | type[Points24Env], longest: int, response: str
) -> None:
    env = dealt(make(), *((1, 1) if make is EZPointsEnv else (1, 1, 1, 1)))
    for _ in range(longest + 1):
        assert env.step(response)[2:4] == (False, False)
    _, reward, terminated, truncated, info = env.step(response)
    assert (reward, terminated, truncated, info["success"]) == (-1.0, False, True, False)


def test_equals_in_the_last_turn_allowed_still_wins() -> None:
    assert last(dealt(EZPointsEnv(), 3, 9), "5 5 3 + 9 =") == (10.0, True, False, True)
    assert last(dealt(EZPointsEnv(), 3, 9), "5 5 5 3 + 9 =") == (-1.0, False, True, False)


def test_eight_threes_needs_exact_fractions_and_wins() -> None:
    env = dealt(Points24Env(), 3, 3, 8, 8)
    assert last(env, "8 / ( 3 - 8 / 3 ) =") == (10.0, True, False, True)


def test_the_concatenation_loophole_is_closed_unless_opened() -> None:
    tokens = "2 4 * ( 4 - 3 ) ="
    assert last(dealt(Points24Env(), 2, 4, 4, 3), tokens)[3] is False
    opened = Points24Env(Points24Config(concatenate=True))
    assert last(dealt(opened, 2, 4, 4, 3), tokens)[3] is True


@pytest.mark.parametrize(("text", "token"), [("10", "10"), ("1", "1")])
def test_ten_is_never_read_as_one(text: str, token: str) -> None:
    env = dealt(EZPointsEnv(), 10, 1)
    assert env.step(json.dumps({"action": text}))[4]["action"] == token
    assert env.formula == (token,)


def test_every_hand_of_ez_points_can_be_solved_and_a_sixth_are_products() -> None:
    env = EZPointsEnv(EZPointsConfig(rendering="symbolic"))
    products = 0
    for seed in range(2000):
        env.reset(seed=seed)
        first, second = env.numbers()
        assert 12 in (first + second, first * second)
        products += first * second == 12
    assert products / 2000 == pytest.approx(1 / 6, abs=0.03)
    assert sum(share for share, _ in ez_hands()) == pytest.approx(1.0)


def test_random_levels_of_ez_points_are_near_the_published_ones() -> None:
    levels = ez_random_levels()
    assert levels.success == pytest.approx(0.0008, abs=0.0002)
    assert levels.mean_return == pytest.approx(-4.2, abs=0.05)


def test_random_return_of_ez_points_equals_the_played_one() -> None:
    played = play_many(EZPointsEnv(EZPointsConfig(rendering="symbolic")), random_example, range(2000))
    mean = np.mean([episode.episode_return for episode in played])
    assert mean == pytest.approx(ez_random_levels().mean_return, abs=0.2)


def test_the_solvable_share_of_points24_is_the_published_one() -> None:
    assert solvable_share() == pytest.approx(0.731, abs=0.0005)
    assert points24_optimum().mean_return == pytest.approx(10 * 0.731 - 0.269, abs=0.01)


def test_the_expert_solves_all_that_can_be_solved() -> None:
    for episode in play_many(EZPointsEnv(EZPointsConfig(rendering="symbolic")), expert, range(100)):
        assert episode.success
    env = Points24Env(Points24Config(rendering="symbolic"))
    for episode in play_many(env, expert, range(40)):
        assert episode.success is solvable(tuple(sorted(env_numbers(env, episode.seed))), 24)


def env_numbers(env: PointsEnv, seed: int) -> tuple[int, ...]:
    env.reset(seed=seed)
    return env.numbers()


def test_demonstrations_state_cards_and_formula_truly_unless_misread() -> None:
    env = EZPointsEnv()
    rng = np.random.default_rng(0)
    for seed in range(20):
        env.reset(seed=seed)
        assert env.step(expert(env, rng))[4]["faithful"] is True
        assert env.step(expert(env, rng))[4]["faithful"] is True
    told = []
    for seed in range(40):
        env.reset(seed=seed)
        told.append(env.step(demonstrator(misread=1.0)(env, rng))[4]["faithful"])
    assert told.count(False) > 30


def test_corrupted_demonstrations_win_between_floor_and_ceiling() -> None:
    env = EZPointsEnv(EZPointsConfig(rendering="symbolic"))
    played = play_many(env, demonstrator(misread=0.1, misjudge=0.1), range(300))
    assert 0.3 < np.mean([episode.success for episode in played]) < 0.9


def test_the_longest_formula_still_fits_the_picture() -> None:
    env = dealt(Points24Env(), 10, 11, 12, 13)
    env.formula = ("(",) * 13 + ("10", "+") * 4
    before = env.observe().images[0]
    env.formula = (*env.formula[:-1], "-")
    assert not np.array_equal(before, env.observe().images[0])
