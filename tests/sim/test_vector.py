from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from kalie.sim.vector import WorkerError, WorkerVectorEnv

# Workers are processes of their own: what they import must be on their path.
sys.path.insert(0, str(Path(__file__).parent))
import faulty_env
from faulty_env import END, EXIT, FAULTS, FINE, HANG, NAN, RAISE, REWARD, SHAPE

TIMEOUT = 0.4
REASONS = {
    RAISE: "RuntimeError: told to raise",
    EXIT: "exited with code 3",
    HANG: "no answer in time",
    SHAPE: "observation is not in Box",
    NAN: "observation is not in Box",
    REWARD: "reward is not a finite number",
}


@pytest.fixture
def envs() -> Iterator[WorkerVectorEnv]:
    envs = WorkerVectorEnv(faulty_env.FaultyEnv, 3, timeout=TIMEOUT)
    envs.reset(seed=10)
    yield envs
    envs.close()


def _act(envs: WorkerVectorEnv, *actions: int) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
    return envs.step(np.array(actions))


def _inject(envs: WorkerVectorEnv, fault: int, victim: int) -> None:
    """One worker fails; the others must not notice."""
    before, *_ = _act(envs, *[FINE] * 3)
    actions = [FINE] * 3
    actions[victim] = fault
    observations, rewards, terminated, truncated, infos = _act(envs, *actions)
    others = [index for index in range(3) if index != victim]
    assert infos["failed"][victim].startswith(REASONS[fault])
    assert infos["_failed"].tolist() == [index == victim for index in range(3)]
    assert truncated.tolist() == [index == victim for index in range(3)]
    assert not terminated.any()
    assert np.isnan(rewards[victim])
    assert observations[victim, 1] == 0
    np.testing.assert_array_equal(observations[others], before[others] + (0, 1))
    np.testing.assert_array_equal(rewards[others], 1)


@pytest.mark.parametrize("fault", FAULTS)
def test_when_a_worker_fails_expect_a_failed_episode_a_new_worker_and_the_others_to_go_on(
    envs: WorkerVectorEnv, fault: int
) -> None:
    _inject(envs, fault, fault % 3)
    observations, *_, infos = _act(envs, *[FINE] * 3)
    assert "failed" not in infos
    assert observations[fault % 3, 1] == 1


@pytest.mark.slow
def test_when_workers_fail_a_hundred_times_expect_no_deadlock_and_no_process_left(
    envs: WorkerVectorEnv,
) -> None:
    rng = np.random.default_rng(0)
    for count in range(100):
        _inject(envs, FAULTS[count % len(FAULTS)], int(rng.integers(3)))
    assert len(multiprocessing.active_children()) == 3
    envs.close()
    assert not multiprocessing.active_children()


def test_when_all_workers_fail_at_once_expect_all_replaced(envs: WorkerVectorEnv) -> None:
    observations, _, _, truncated, infos = _act(envs, RAISE, EXIT, HANG)
    assert truncated.all()
    assert infos["_failed"].all()
    # New workers have new seeds: an episode that failed is not tried again.
    assert len({*observations[:, 0].tolist(), 10, 11, 12}) == 6
    observations, *_ = _act(envs, FINE, FINE, FINE)
    np.testing.assert_array_equal(observations[:, 1], 1)


def test_when_an_environment_cannot_be_made_expect_an_error_that_says_why() -> None:
    with pytest.raises(WorkerError, match="RuntimeError: cannot be made"):
        WorkerVectorEnv(partial(faulty_env.FaultyEnv, broken=True), 2)


def test_an_episode_that_ends_is_followed_by_the_next_in_the_same_step(envs: WorkerVectorEnv) -> None:
    observations, rewards, terminated, truncated, infos = _act(envs, FINE, END, FINE)
    assert terminated.tolist() == [False, True, False]
    assert not truncated.any()
    np.testing.assert_array_equal(rewards, 1)
    np.testing.assert_array_equal(observations, [[10, 1], [11, 0], [12, 1]])
    np.testing.assert_array_equal(infos["final_obs"][1], [11, 1])


def test_tasks_run_side_by_side_as_they_do_alone() -> None:
    make = partial(gym.make, "kalie.sim.env:kalie/Sweep-v0")
    envs, alone = WorkerVectorEnv(make, 2), make()
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 2, 8)).astype(np.float32)
    observations, _ = envs.reset(seed=7)
    own, _ = alone.reset(seed=8)
    for action in actions:
        np.testing.assert_array_equal(observations["arm"][1], own["arm"])
        observations, *_ = envs.step(action)
        own, *_ = alone.step(action[1])
    envs.close()
    alone.close()
