"""The rollout engine: deterministic whatever the slots, strict with environments, patient with machinery."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kalie.rl.decoder import SlotDecoder
from kalie.rl.envs.base import EnvironmentFailure, Step
from kalie.rl.policy import Policy
from kalie.rl.rollout import Finished, RolloutConfig, RolloutCounts, RolloutEngine, RolloutError, episodes
from kalie.rl.types import Observation

from .letters import LettersEnv


def rollout(
    policy: Policy,
    make_env: Callable[[], Any] = LettersEnv,
    slots: int = 4,
    count: int = 10,
    more: Callable[[RolloutCounts], bool] | None = None,
    **config: Any,  # noqa: ANN401  anything
) -> tuple[list[Finished], RolloutCounts]:
    engine = RolloutEngine(
        make_env, policy, SlotDecoder(policy, slots, 6, 1.0), RolloutConfig(**config), "kalie/Letters-v0"
    )
    finished = sorted(engine.run(episodes(0, "train", 0, count), more), key=lambda item: item.index)
    engine.close()
    return finished, engine.counts


def said(finished: list[Finished]) -> list[Any]:
    return [
        (
            item.index,
            item.trajectory.seed,
            [(t.text, t.response_ids.tolist(), t.reward) for t in item.trajectory.turns],
        )
        for item in finished
    ]


def test_same_seed_same_trajectories_whatever_the_slots_threads_and_order(policy: Policy) -> None:
    reference = said(rollout(policy)[0])
    assert len({repr(item[2]) for item in reference}) > 5
    changes: tuple[dict[str, Any], ...] = (
        {"slots": 1},
        {"slots": 16},
        {"step_seconds": 0},
        {"in_order": False},
        {"in_order": False, "slots": 2},
    )
    for change in changes:
        assert said(rollout(policy, **change)[0]) == reference


def test_turns_hold_what_was_shown_sampled_and_given(policy: Policy) -> None:
    finished, counts = rollout(policy)
    assert counts.begun == 10
    assert counts.turns == 30
    for item in finished:
        trajectory = item.trajectory
        assert [turn.terminated for turn in trajectory.turns] == [False, False, True]
        assert not any(turn.truncated for turn in trajectory.turns)
        for turn in trajectory.turns:
            assert turn.text == policy.text(turn.response_ids.tolist())
            assert turn.observation.text in policy.tokenizer.decode(turn.prompt_ids)
            assert turn.valid == (turn.action is not None)
            assert turn.reward == (
                -0.1 if not turn.valid else float(turn.action == turn.observation.text[-1])
            )
        assert trajectory.final_observation.text.startswith("say ")
        assert "success" in trajectory.turns[-1].info


def test_an_episode_ends_at_the_turn_limit_as_truncated_not_terminated(policy: Policy) -> None:
    for item in rollout(policy, max_turns=2)[0]:
        assert [turn.truncated for turn in item.trajectory.turns] == [False, True]
        assert not any(turn.terminated for turn in item.trajectory.turns)
    for item in rollout(policy, lambda: LettersEnv(truncate=True), max_turns=9)[0]:
        assert [turn.truncated for turn in item.trajectory.turns] == [False, False, True]


def test_no_episode_is_begun_once_there_are_enough_turns(policy: Policy) -> None:
    finished, counts = rollout(policy, slots=2, count=1000, more=lambda counts: counts.turns < 15)
    assert 15 <= counts.turns <= 15 + 2 * 3
    assert counts.begun == len(finished)


def test_when_an_environment_fails_expect_the_episode_retried_then_excluded_and_never_reward_0(
    policy: Policy,
) -> None:
    whole, _ = rollout(policy, count=14)
    some, counts = rollout(policy, lambda: LettersEnv(failing=(3,)), count=14, failure_share=0.5, attempts=2)
    lost = [item.index for item in whole if item.trajectory.seed % 7 == 3]
    assert lost
    assert sorted(counts.given_up) == lost
    assert counts.retried == len(lost)
    assert said(some) == [item for item in said(whole) if item[0] not in lost]


def test_when_an_environment_fails_once_expect_the_same_trajectory_as_without(policy: Policy) -> None:
    broken = threading.Event()

    class FailsOnce(LettersEnv):
        def step(self, action: str) -> Step:
            if not broken.is_set() and self._turn == 1:
                broken.set()
                raise EnvironmentFailure("timeout")
            return super().step(action)

    found, counts = rollout(policy, FailsOnce)
    assert counts.retried == 1
    assert said(found) == said(rollout(policy)[0])


def test_when_too_many_episodes_fail_expect_the_job_to_stop(policy: Policy) -> None:
    with pytest.raises(RolloutError, match=r"episodes failed: the browser died"):
        rollout(policy, lambda: LettersEnv(failing=(0, 1, 2, 3)), count=40, attempts=1)


def test_when_an_environment_hangs_expect_it_left_behind_and_the_others_to_go_on(policy: Policy) -> None:
    hanging = threading.Event()

    class Hangs(LettersEnv):
        def step(self, action: str) -> Step:
            if not hanging.is_set():
                hanging.set()
                time.sleep(30)
            return super().step(action)

    begin = time.monotonic()
    found, counts = rollout(policy, Hangs, step_seconds=0.5)
    assert time.monotonic() - begin < 20
    assert counts.retried == 1
    assert said(found) == said(rollout(policy)[0])


def broken(change: Callable[[Step], Any]) -> Callable[[], LettersEnv]:
    """The environment with its second step's return changed."""

    class Broken(LettersEnv):
        def step(self, action: str) -> Any:  # noqa: ANN401  anything
            turn = self._turn
            result = super().step(action)
            return change(result) if turn == 1 else result

    return Broken


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: (s[0], float("nan"), *s[2:]), "the reward is nan"),
        (lambda s: (s[0], float("inf"), *s[2:]), "the reward is inf"),
        (lambda s: (s[0], None, *s[2:]), "the reward None is no number"),
        (lambda s: (s[0], True, *s[2:]), "the reward True is no number"),
        (lambda s: (s[0], "1", *s[2:]), "the reward '1' is no number"),
        (lambda s: ("say a", *s[1:]), "the observation is a str"),
        (lambda s: (Observation(None), *s[1:]), "the observation is"),  # pyright: ignore[reportArgumentType]
        (lambda s: (*s[:2], 1, *s[3:]), "terminated is 1, not a bool"),
        (lambda s: (*s[:4], {"action": None}), "info lacks valid"),
        (lambda s: (*s[:4], {"valid": True}), "info lacks valid"),
        (lambda s: s[:4], "not enough values"),
        (lambda s: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_when_an_environment_breaks_its_contract_expect_an_error_naming_it_the_seed_and_the_turn(
    policy: Policy, change: Callable[[Step], Any], message: str
) -> None:
    seed = episodes(0, "train", 0, 1)[0].env_seed
    with pytest.raises(RolloutError, match=rf"kalie/Letters-v0, seed {seed}, turn 2: .*{message}"):
        rollout(policy, broken(change), slots=1, count=1)


def test_numpy_rewards_and_flags_are_taken(policy: Policy) -> None:
    make = broken(lambda s: (s[0], np.float32(0.5), np.bool_(s[2]), np.bool_(s[3]), s[4]))
    (item, *_), _ = rollout(policy, make)
    assert item.trajectory.turns[1].reward == 0.5
    assert type(item.trajectory.turns[1].terminated) is bool


def test_an_engine_can_be_left_in_the_middle_and_run_again(policy: Policy) -> None:
    engine = RolloutEngine(LettersEnv, policy, SlotDecoder(policy, 4, 6, 1.0), RolloutConfig(), "letters")
    next(engine.run(episodes(0, "train", 0, 10)))
    again = sorted(engine.run(episodes(0, "train", 0, 10)), key=lambda item: item.index)
    assert said(again) == said(rollout(policy)[0])


def test_streams_and_indices_give_different_episodes() -> None:
    seeds = {e.env_seed for s in ("train", "evaluation") for e in episodes(0, s, 0, 500)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)
    first, second = (e.rng().random() for e in episodes(0, "train", 0, 2))
    assert first != second
    assert first == episodes(0, "train", 0, 1)[0].rng().random()
