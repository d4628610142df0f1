from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from kalie.sim.env import InvalidAction, ManipulationEnv
from kalie.sim.registry import TASK_NAMES
from kalie.sim.task import TaskName


@pytest.fixture(scope="module")
def env() -> Iterator[ManipulationEnv]:
    env = ManipulationEnv("sweep")
    env.reset(seed=0)
    yield env
    env.close()


@pytest.mark.parametrize("name", TASK_NAMES)
def test_when_the_current_checker_runs_expect_every_environment_to_pass_without_warnings(name: str) -> None:
    env = gym.make(f"kalie/{name.capitalize()}-v0", render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=name != "sweep")
    env.close()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_when_an_action_is_not_finite_expect_refusal_and_a_finite_future(
    env: ManipulationEnv, bad: float
) -> None:
    env.reset(seed=1)
    steps = env.world.steps
    action = np.zeros(8, np.float32)
    action[3] = bad
    with pytest.raises(InvalidAction, match="finite"):
        env.step(action)
    assert env.world.steps == steps
    observation, _ = env.reset()
    assert all(np.isfinite(part).all() for part in observation.values())
    observation, *_ = env.step(np.zeros(8, np.float32))
    assert all(np.isfinite(part).all() for part in observation.values())


def test_when_an_action_has_the_wrong_shape_expect_refusal(env: ManipulationEnv) -> None:
    env.reset()
    with pytest.raises(InvalidAction, match="8"):
        env.step(np.zeros(7, np.float32))


def test_when_stepped_before_reset_expect_a_clear_error() -> None:
    env = gym.make("kalie/Sweep-v0")
    with pytest.raises(gym.error.ResetNeeded):
        env.step(env.action_space.sample())
    env.close()


def _roll(env: ManipulationEnv, seed: int | None, steps: int) -> bytes:
    """The bits of an episode in which the arm sweeps about: observations, rewards, every object's pose."""
    observation, _ = env.reset(seed=seed)
    rng, action, parts = np.random.default_rng(7), np.zeros(8), [*observation.values()]
    for step in range(steps):
        if step % 20 == 0:
            action = rng.uniform(-1, 1, 8)
        observation, reward, *_ = env.step(action.astype(np.float32))
        poses = [env.world.pose(placed) for placed in env.world.objects()]
        parts += [*observation.values(), np.array(reward), *poses]
    return b"".join(part.tobytes() for part in parts)


def _upset(env: ManipulationEnv, seed: int) -> None:
    """Throw everything about, so that contacts and overlapping boxes are unlike those of the scene."""
    rng = np.random.default_rng(seed)
    for placed in env.world.objects():
        linear, angular = rng.normal(0, 0.3, 3), rng.normal(0, 2, 3)
        env.world.bullet.resetBaseVelocity(placed.body, linear.tolist(), angular.tolist())
    env.world.step(30)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_when_a_seed_is_used_again_expect_the_same_bits_in_one_env_and_in_two(name: TaskName) -> None:
    env, other = ManipulationEnv(name), ManipulationEnv(name)
    first = _roll(env, 1, 60)
    for disturbance in range(3):
        _upset(env, disturbance)
        assert _roll(env, None, 60) == first
    _roll(env, 4, 5)
    assert _roll(env, 1, 60) == first
    _roll(other, 5, 5)
    assert _roll(other, 1, 60) == first
    env.close()
    other.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", TASK_NAMES)
def test_when_two_processes_share_a_seed_expect_the_same_bits_over_a_thousand_steps(name: TaskName) -> None:
    code = (
        "import hashlib, importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('roll', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        f"env = module.ManipulationEnv({name!r})\n"
        "for _ in range(2):\n"
        "    print('digest', hashlib.sha256(module._roll(env, 5, 1200)).hexdigest())\n"
    )
    printed = "".join(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    digests = [line for line in printed.splitlines() if line.startswith("digest")]
    assert len(digests) == 4
    assert len(set(digests)) == 1


def test_another_seed_gives_another_scene(env: ManipulationEnv) -> None:
    first, _ = env.reset(seed=0)
    second, _ = env.reset(seed=1)
    third, _ = env.reset(options={"new_scene": True})
    assert not np.array_equal(first["objects"], second["objects"])
    assert not np.array_equal(second["objects"], third["objects"])


def test_no_picture_is_drawn_unless_asked_for(env: ManipulationEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("a picture was drawn")

    env.reset()
    monkeypatch.setattr(env.world, "render_with_bodies", refuse)
    env.reset()
    env.step(np.zeros(8, np.float32))
    assert env.render() is None


def test_pictures_are_in_the_observation_when_asked_for() -> None:
    env = ManipulationEnv("sweep", image=True)
    observation, _ = env.reset(seed=0)
    assert observation["image"].shape == (256, 256, 3)
    assert observation["image"].std() > 5
    env.close()


def _resident_bytes() -> int:
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * 4096


def _growth(env: ManipulationEnv, resets: int) -> int:
    """Bytes by which the process grows over resets, after a hundred to warm up."""
    for _ in range(100):
        env.reset()
    before = _resident_bytes()
    for _ in range(resets):
        env.reset()
    return _resident_bytes() - before


def test_when_a_scene_is_reset_hundreds_of_times_expect_no_growth(env: ManipulationEnv) -> None:
    assert _growth(env, 500) < 1e6


@pytest.mark.slow
def test_when_ten_thousand_resets_are_done_expect_less_than_five_megabytes(env: ManipulationEnv) -> None:
    assert _growth(env, 10_000) < 5e6
