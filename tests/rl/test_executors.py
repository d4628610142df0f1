"""Executors: workers elsewhere give the same trajectories, and losing one loses nothing that was finished."""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from kalie.core.config import ConfigError
from kalie.core.loggers import MissingPackageError
from kalie.rl.env_host import MakeEnv
from kalie.rl.envs.number_line import NumberLineConfig
from kalie.rl.envs.registry import make_env
from kalie.rl.executors import (
    Executor,
    ExecutorConfig,
    LocalExecutor,
    LocalExecutorConfig,
    RayExecutorConfig,
    RolloutJob,
    check_executor,
    make_executor,
)
from kalie.rl.generation import HFGeneratorConfig
from kalie.rl.models import TinyLMConfig
from kalie.rl.policy import Policy
from kalie.rl.rollout import Finished, RolloutConfig, RolloutError, episodes
from kalie.rl.types import Observation

from . import letters
from .letters import LettersEnv

MODEL = TinyLMConfig(hidden=32, layers=1, heads=2, window=0)
missing = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


def needs_ray(test: Callable[..., None]) -> Callable[..., None]:
    """A test with a cluster: half a minute for its processes to start."""
    return pytest.mark.slow(missing(test))


def job(env: MakeEnv = LettersEnv) -> RolloutJob:
    generator = HFGeneratorConfig(slots=3, max_new_tokens=6)
    return RolloutJob(MODEL, 0, generator, RolloutConfig(failure_share=0.5), env, "letters")


def run(executor: Executor, count: int = 10) -> list[Any]:
    finished = sorted(executor.run(episodes(0, "train", 0, count)), key=lambda item: item.index)
    executor.close()
    return [said(item) for item in finished]


def said(item: Finished) -> Any:  # noqa: ANN401  anything
    turns = [(t.text, t.response_ids.tolist(), t.reward) for t in item.trajectory.turns]
    return item.index, item.trajectory.seed, turns


def moved_policy() -> Policy:
    """A policy that differs from the one a worker would load by itself."""
    policy = Policy.load(MODEL, 0)
    with torch.no_grad():
        for weight in policy.trained().values():
            weight.mul_(1.3)
    return policy


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # Ray makes its workers so nice that beside other jobs they do not start within a test's patience.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  its name
    ray = importlib.import_module("ray")
    # Workers cannot import the tests, so what they need of them travels by value.
    ray.cloudpickle.register_pickle_by_value(letters)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(num_cpus=3, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


@needs_ray
def test_two_ray_workers_give_the_trajectories_of_one_process(cluster: None) -> None:
    policy = moved_policy()
    local = run(LocalExecutor(job(), policy))
    executor = make_executor(RayExecutorConfig(workers=2), job(), policy)
    assert run(executor) == local
    assert len(local) == 10
    assert executor.usage.counts.turns == 30
    assert executor.usage.tokens_sampled == sum(len(ids) for _, _, turns in local for _, ids, _ in turns)


class DiesOnce(LettersEnv):
    """Kills its whole process at the second turn of one episode, if nobody has done so before."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self._mark = mark

    def step(self, action: str) -> Any:  # noqa: ANN401  anything
        if self._turn == 1 and not self._mark.exists():
            self._mark.write_text("once")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


@needs_ray
def test_when_a_worker_is_killed_expect_every_episode_and_none_twice(cluster: None, tmp_path: Path) -> None:
    policy = moved_policy()
    mark = tmp_path / "killed"
    executor = make_executor(RayExecutorConfig(workers=2), job(lambda: DiesOnce(mark)), policy)
    assert run(executor) == run(LocalExecutor(job(), policy))
    assert mark.exists()


class Broken(LettersEnv):
    def step(self, action: str) -> Any:  # noqa: ANN401  anything
        return Observation(""), float("nan"), False, False, {"valid": True, "action": action}


@needs_ray
def test_when_an_environment_breaks_its_contract_in_a_worker_expect_the_same_error(cluster: None) -> None:
    executor = make_executor(RayExecutorConfig(workers=1), job(Broken), moved_policy())
    with pytest.raises(RolloutError, match="the reward is nan"):
        run(executor)


@needs_ray
def test_when_workers_keep_dying_expect_an_error(cluster: None, tmp_path: Path) -> None:
    class Dies(DiesOnce):
        def step(self, action: str) -> Any:  # noqa: ANN401  anything
            self._mark.unlink(missing_ok=True)
            return super().step(action)

    config = RayExecutorConfig(workers=1, replacements=1)
    executor = make_executor(config, job(lambda: Dies(tmp_path / "mark")), moved_policy())
    with pytest.raises(RolloutError, match="2 workers died"):
        run(executor)


line = partial(make_env, NumberLineConfig(rendering="text"))


def processes(env: MakeEnv = line, count: int = 2, replacements: int = 3) -> Executor:
    config = LocalExecutorConfig(processes=count, replacements=replacements)
    return make_executor(config, job(env), moved_policy())


@pytest.mark.slow
def test_two_local_processes_give_the_trajectories_of_one() -> None:
    local = LocalExecutor(job(line), moved_policy())
    executor = processes()
    assert run(executor) == run(local)
    assert executor.usage.counts == local.usage.counts
    assert executor.usage.tokens_sampled == local.usage.tokens_sampled


@pytest.mark.slow
def test_when_a_local_process_is_killed_expect_every_episode_and_none_twice() -> None:
    executor = processes()
    found = []
    for item in executor.run(episodes(0, "train", 0, 12)):
        if not found:
            multiprocessing.active_children()[0].kill()
        found.append(said(item))
    executor.close()
    local = LocalExecutor(job(line), moved_policy())
    assert sorted(found) == run(local, 12)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_when_local_processes_keep_dying_expect_an_error() -> None:
    executor = processes(partial(os._exit, 3), replacements=1)
    with pytest.raises(RolloutError, match=r"2 workers died, the last: exit code 3"):
        run(executor)
    executor.close()


@pytest.mark.slow
def test_when_an_environment_breaks_its_contract_in_a_local_process_expect_the_same_error() -> None:
    executor = processes(dict, count=2)  # pyright: ignore[reportArgumentType]  no environment at all
    with pytest.raises(RolloutError, match="raised AttributeError"):
        run(executor)
    executor.close()


def test_when_ray_is_not_installed_expect_the_extra_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"kalie\[ray\]"):
        make_executor(RayExecutorConfig(), job(), Policy.load(MODEL, 0))


@pytest.mark.parametrize("config", [RayExecutorConfig(), LocalExecutorConfig(processes=2)])
def test_when_workers_are_to_count_turns_expect_a_config_error(config: ExecutorConfig) -> None:
    check_executor(LocalExecutorConfig(), counts_turns=True)
    check_executor(config, counts_turns=False)
    with pytest.raises(ConfigError, match=r"set algorithm\.episodes"):
        check_executor(config, counts_turns=True)


def test_usage_counts_what_the_engine_did(policy: Policy) -> None:
    executor = LocalExecutor(replace(job(), make_env=lambda: LettersEnv(failing=(3,))), policy)
    finished = list(executor.run(episodes(0, "train", 0, 14)))
    usage = executor.usage
    assert usage.counts.begun == 14
    assert len(finished) + len(usage.counts.given_up) == 14
    assert usage.tokens_read > 0
