"""The arm's tasks as turns: what is read, what moves, what a failed try leads to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest

from kalie.affordance.parse import format_reply
from kalie.affordance.schema import Affordance, Keypoint
from kalie.control.safety import SafetyGate
from kalie.rl.envs import manipulation as module
from kalie.rl.envs.base import EnvironmentFailure
from kalie.rl.envs.check import Limits, check_env
from kalie.rl.envs.manipulation import (
    ManipulationEnv,
    demonstrator,
    oracle,
    random_points,
)
from kalie.rl.envs.manipulation_config import ManipulationConfig, Split, TaskName
from kalie.rl.envs.players import play
from kalie.rl.envs.registry import make_env
from kalie.sim import objects, retry
from kalie.sim.registry import TASK_NAMES
from kalie.sim.staging import StagingError

NOTHING = format_reply(Affordance())
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def shared() -> Iterator[ManipulationEnv]:
    env = ManipulationEnv(ManipulationConfig(task="drawer", image_size=64, step_cost=0.25))
    yield env
    env.close()


@pytest.fixture
def env(shared: ManipulationEnv) -> ManipulationEnv:
    shared.reset(seed=3)
    return shared


def test_it_keeps_the_contract() -> None:
    config = ManipulationConfig(task="drawer", tries=1, image_size=64)
    check_env(lambda: make_env(config), random_points, Limits(seeds=(0,), most_turns=2))


def test_the_variation_changes_how_much_varies_and_no_object() -> None:
    shown = []
    for variation in (None, "test"):
        env = ManipulationEnv(ManipulationConfig(task="drawer", image_size=64, variation=variation))
        shown.append(env.reset(seed=3))
        env.close()
    (plain, facts), (varied, same) = shown
    assert facts == same
    assert not np.array_equal(plain.images[0], varied.images[0])


def test_the_config_names_the_tasks_and_splits_of_the_simulator() -> None:
    assert get_args(TaskName) == TASK_NAMES
    assert set(get_args(Split)) == set(get_args(objects.Split))


def test_true_keypoints_succeed_at_the_first_try(env: ManipulationEnv) -> None:
    _, reward, terminated, truncated, info = env.step(oracle(env, RNG))
    assert (reward, terminated, truncated, info["success"]) == (0.75, True, False, True)
    assert info["reason"] == ""


def test_the_demonstrator_says_what_it_does_where_thoughts_are_asked_for(env: ManipulationEnv) -> None:
    answer = json.loads(demonstrator(pixels=1.5)(env, RNG))
    assert next(iter(answer)) == "thoughts"
    points = [answer[name] for name in ("grasp", "target") if answer[name] is not None]
    assert points
    assert all(str(point) in answer["thoughts"] for point in points)
    silent = ManipulationConfig(task="drawer", thoughts=False)
    env.config, asked = silent, env.config
    assert "thoughts" not in json.loads(oracle(env, RNG))
    env.config = asked


def test_an_answer_is_read_with_thoughts_and_primitive_or_without(env: ManipulationEnv) -> None:
    affordance = Affordance(grasp=Keypoint(0.25, 0.5), pre_height=0.1)
    flat = json.loads(format_reply(affordance))
    read: Any = env.read(json.dumps(flat))
    assert read["primitive"] is None
    assert read["affordance"]["grasp"] == pytest.approx([0.25, 0.5], abs=0.001)
    assert read["affordance"]["pre_height"] == pytest.approx(0.1)
    with_all: Any = env.read(json.dumps({"thoughts": "left", **flat, "primitive": "push"}))
    assert with_all == {**read, "primitive": "push"}


@pytest.mark.parametrize(
    ("response", "error"),
    [
        ("the drawer is on the left", "not one JSON object"),
        ('{"grasp": [1, 2]}', "function: missing"),
        (NOTHING[:-1] + ', "primitive": "throw"}', "primitive: 'throw' is none of"),
        (NOTHING[:-1] + ', "primitive": ["push"]}', "primitive"),
        (NOTHING[:-1] + ', "colour": "red"}', "unknown key 'colour'"),
        (NOTHING.replace('"grasp": null', '"grasp": [1, 1000]'), "grasp"),
    ],
)
def test_when_the_answer_is_invalid_expect_nothing_to_move_and_the_reason_told(
    env: ManipulationEnv, response: str, error: str
) -> None:
    before, shown = env.world_state(), env.observe().images[0]
    observation, reward, terminated, _, info = env.step(response)
    assert (reward, terminated, info["valid"]) == (-0.25, False, False)
    assert error in str(info["error"])
    assert "Try 1 failed: the answer is invalid" in observation.text
    assert env.world_state() == before
    assert np.array_equal(observation.images[0], shown)


def test_when_no_plan_exists_expect_a_failed_try_in_which_nothing_moves(env: ManipulationEnv) -> None:
    before = env.world_state()
    observation, reward, terminated, _, info = env.step(NOTHING)
    assert (reward, terminated, info["valid"]) == (-0.25, False, True)
    assert str(info["reason"]).startswith("plan: ")
    assert str(info["reason"]) in observation.text
    assert env.world_state() == before


def test_after_a_failed_motion_the_agent_sees_the_new_scene_and_can_succeed(env: ManipulationEnv) -> None:
    shown = next(failing(env))
    observation = env.observe()
    assert not np.array_equal(observation.images[0], shown)
    assert "Try 1 failed: " in observation.text
    home = env.world.joint_states()[0][:7]
    assert np.abs(home - np.array(retry.HOME)).max() < 0.02
    _, reward, terminated, _, info = env.step(oracle(env, RNG))
    assert (reward, terminated, info["success"]) == (0.75, True, True)


def failing(env: ManipulationEnv) -> Iterator[np.ndarray]:
    """The pictures before random first tries that move and fail."""
    for seed in range(20):
        shown = env.reset(seed=seed)[0].images[0]
        _, _, terminated, _, _ = env.step(random_points(env, np.random.default_rng([seed, 1])))
        if env.last is not None and env.last.simulated_seconds > 0 and not terminated:
            yield shown


def test_the_way_home_goes_through_the_safety_gate(
    env: ManipulationEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, check = [], SafetyGate.check

    def counting(self: SafetyGate, *commands: Any) -> Any:  # noqa: ANN401
        checked.append(commands)
        return check(self, *commands)

    monkeypatch.setattr(SafetyGate, "check", counting)
    steps = env.world.steps
    retry.come_home(env.world)
    moved = env.world.steps - steps
    assert len(checked) > 20
    assert moved > 0


def test_when_the_arm_cannot_come_home_expect_the_episode_to_end_without_success(
    env: ManipulationEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(world: object) -> None:
        raise retry.NoWayHome("the drawer is in the way")

    monkeypatch.setattr(module, "come_home", stuck)
    for seed in range(20):
        env.reset(seed=seed)
        _, reward, terminated, _, info = env.step(random_points(env, np.random.default_rng([seed, 1])))
        if "stuck" in info:
            assert (reward, terminated, info["success"]) == (-0.25, True, False)
            assert info["stuck"] == "the drawer is in the way"
            return
    pytest.fail("no random try moved the arm and failed")


def test_when_no_scene_can_be_staged_expect_an_environment_failure(
    env: ManipulationEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise StagingError("drawer: no usable scene")

    monkeypatch.setattr(module, "stage", fail)
    with pytest.raises(EnvironmentFailure, match="reset: drawer: no usable scene"):
        env.reset(seed=0)


def test_the_primitive_asked_for_is_the_one_that_is_planned(env: ManipulationEnv) -> None:
    """Every primitive names itself where it lacks keypoints."""
    limit, env.max_turns = env.max_turns, 10
    for primitive in retry.PRIMITIVES:
        step = env.step(NOTHING[:-1] + f', "primitive": "{primitive}"}}')
        assert str(step[4]["reason"]).startswith(f"plan: {primitive}: missing keypoint")
    env.max_turns = limit


def test_a_scene_can_be_asked_for(env: ManipulationEnv) -> None:
    first, info = env.reset(seed=0, options={"scene_seed": 11})
    again, _ = env.reset(seed=5, options={"scene_seed": 11})
    assert info["scene_seed"] == 11
    assert first.text == again.text
    assert np.array_equal(first.images[0], again.images[0])


def test_environments_in_threads_of_their_own_play_what_one_alone_plays() -> None:
    alone = played(0)
    together: dict[int, tuple[object, ...]] = {}

    def work(index: int) -> None:
        together[index] = played(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together[0] == alone
    assert together[1] != alone


def played(seed: int) -> tuple[object, ...]:
    """What two tries in an environment of this thread come to, and where everything ends up."""
    env = ManipulationEnv(ManipulationConfig(task="drawer", image_size=64, tries=2))
    env.reset(seed=seed)
    first = env.step(random_points(env, np.random.default_rng(1)))
    second = () if first[2] else env.step(oracle(env, RNG))[1:]
    state = str(env.world_state())
    env.close()
    return first[1:], second, state


def test_tries_run_out(env: ManipulationEnv) -> None:
    ends = [env.step("no")[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_random_points_are_valid_answers(env: ManipulationEnv) -> None:
    episode = play(env, random_points, 1)
    assert all(turn.valid for turn in episode.turns)
