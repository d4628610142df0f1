"""NumberLine: its rules row by row, its levels against the published ones, its demonstrators."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kalie.rl.envs.number_line import (
    NumberLineConfig,
    NumberLineEnv,
    demonstrator,
    expert,
    random_levels,
)
from kalie.rl.envs.players import play_many, random_example

PLUS, MINUS = '{"action": "+"}', '{"action": "-"}'


def at(current: int, target: int, **keys: bool) -> NumberLineEnv:
    env = NumberLineEnv(NumberLineConfig(**keys))  # pyright: ignore[reportArgumentType]
    env.reset(seed=0)
    env.current, env.target, env.terms = current, target, (target,)
    return env


def test_reaching_the_target_gives_one_and_ends() -> None:
    _, reward, terminated, truncated, info = at(2, 3).step(PLUS)
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)


def test_a_nearer_move_gives_nothing_and_another_takes_one() -> None:
    env = at(1, 4)
    assert env.step(PLUS)[1:4] == (0.0, False, False)
    assert env.step(MINUS)[1:4] == (-1.0, False, False)
    assert env.current == 1


def test_the_ends_of_the_line_hold_and_cost() -> None:
    env = at(0, 2)
    assert env.step(MINUS)[1] == -1.0
    assert env.current == 0
    env = at(5, 2)
    assert env.step(PLUS)[1] == -1.0
    assert env.current == 5


def test_one_wrong_move_is_no_success_even_at_the_target() -> None:
    env = at(2, 3)
    env.step(MINUS)
    env.step(PLUS)
    *_, terminated, truncated, info = env.step(PLUS)
    assert terminated
    assert not truncated
    assert info["success"] is False


def test_ten_turns_truncate() -> None:
    env = at(0, 5)
    ends = [env.step(MINUS)[2:4] for _ in range(10)]
    assert ends == [(False, False)] * 9 + [(False, True)]


def test_when_the_response_is_invalid_expect_the_number_to_stay_and_a_penalty() -> None:
    env = at(1, 2)
    _, reward, terminated, truncated, info = env.step("plus, I think")
    assert (reward, terminated, truncated) == (-1.0, False, False)
    assert info["valid"] is False
    assert env.current == 1
    assert env.step(PLUS)[4]["success"] is False


@pytest.mark.parametrize(
    "response",
    [
        '{"action": "+", "action": "-"}',
        '{"action": "+-"}',
        '{"action": "+"} ',
        '```json\n{"action": "+"}\n```',
    ],
)
def test_only_one_legal_action_is_read(response: str) -> None:
    info = at(1, 4).step(response)[4]
    assert info["valid"] is (response.count("+") == 1 and response.count("-") == 0)


def test_starts_are_distributed_as_published() -> None:
    env = NumberLineEnv()
    distances = []
    for seed in range(4000):
        env.reset(seed=seed)
        assert env.current != env.target
        distances.append(abs(env.current - env.target))
    shares = np.bincount(distances, minlength=6)[1:] / len(distances)
    assert shares == pytest.approx([0.389, 0.222, 0.167, 0.167, 0.056], abs=0.03)


def test_random_levels_are_the_published_ones() -> None:
    levels = random_levels()
    assert levels.success == pytest.approx(0.284, abs=0.002)
    assert levels.mean_return == pytest.approx(-2.48, abs=0.01)


def test_random_levels_equal_played_ones() -> None:
    played = play_many(NumberLineEnv(NumberLineConfig(rendering="symbolic")), random_example, range(2000))
    levels = random_levels()
    assert np.mean([episode.success for episode in played]) == pytest.approx(levels.success, abs=0.03)
    assert np.mean([e.episode_return for e in played]) == pytest.approx(levels.mean_return, abs=0.3)


@pytest.mark.parametrize("target_as_sum", [False, True])
def test_the_expert_always_succeeds_and_states_the_truth(target_as_sum: bool) -> None:
    env = NumberLineEnv(NumberLineConfig(max_position=12, target_as_sum=target_as_sum))
    for episode in play_many(env, expert, range(100)):
        assert episode.success
        assert episode.episode_return == 1.0
    env.reset(seed=3)
    assert env.step(expert(env, np.random.default_rng(0)))[4]["faithful"] is True


def test_a_target_as_sum_is_never_shown_as_its_value() -> None:
    env = NumberLineEnv(NumberLineConfig(max_position=20, target_as_sum=True, rendering="text"))
    for seed in range(50):
        observation, _ = env.reset(seed=seed)
        first, second = env.terms
        assert first + second == env.target
        assert f"Target number: {first}+{second}." in observation.text


def test_corrupted_demonstrations_succeed_as_often_as_a_warm_start_should() -> None:
    env = NumberLineEnv(NumberLineConfig(rendering="symbolic"))
    played = play_many(env, demonstrator(misread=0.4, misjudge=0.2), range(1000))
    assert 0.25 < np.mean([episode.success for episode in played]) < 0.5
    answers = [json.loads(turn.response) for episode in played for turn in episode.turns]
    assert all(list(answer) == ["target", "current", "thoughts", "action"] for answer in answers)


def test_thoughts_that_misstate_the_numbers_are_not_faithful() -> None:
    true = '{"target": 4, "current": 1, "thoughts": "1 is less than 4", "action": "+"}'
    false = '{"target": 3, "current": 1, "thoughts": "1 is less than 3", "action": "+"}'
    only_said = '{"target": 4, "current": 1, "thoughts": "2 is less than 4", "action": "+"}'
    assert at(1, 4).step(true)[4]["faithful"] is True
    assert at(1, 4).step(false)[4]["faithful"] is False
    assert at(1, 4).step(only_said)[4]["faithful"] is False
    assert at(1, 4).step(PLUS)[4]["faithful"] is None


def test_misread_demonstrations_are_unfaithful_and_misjudged_ones_are_not() -> None:
    env = NumberLineEnv()
    rng = np.random.default_rng(0)
    env.reset(seed=1)
    assert env.step(demonstrator(misjudge=1.0)(env, rng))[4]["faithful"] is True
    told = []
    for seed in range(40):
        env.reset(seed=seed)
        told.append(env.step(demonstrator(misread=1.0)(env, rng))[4]["faithful"])
    assert told.count(False) > 20


def test_action_only_answers_hold_the_action_alone() -> None:
    env = NumberLineEnv(NumberLineConfig(thoughts=False))
    observation, _ = env.reset(seed=0)
    assert json.loads(expert(env, np.random.default_rng(0))).keys() == {"action"}
    assert "thoughts" not in observation.text
    assert "thoughts" in NumberLineEnv().reset(seed=0)[0].text


def test_pictures_tell_all_states_apart() -> None:
    env = NumberLineEnv()
    env.reset(seed=0)
    seen = set()
    for current in range(6):
        for target in range(6):
            env.current, env.target, env.terms = current, target, (target,)
            seen.add(env.observe().images[0].tobytes())
    assert len(seen) == 36
