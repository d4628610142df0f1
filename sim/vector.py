"""Environments side by side in processes of their own, of which any may fail.

Gymnasium's `AsyncVectorEnv` raises in the caller when one worker raises, exits or hangs, and cannot go on.
Here that worker alone loses its episode, which is marked as failed, and another worker takes its place.

    make = partial(gymnasium.make, "kalie.sim.env:kalie/Sweep-v0")
    envs = WorkerVectorEnv(make, 4, options={"new_scene": True})
    observations, infos = envs.reset(seed=0)
    observations, rewards, terminated, truncated, infos = envs.step(envs.action_space.sample())
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any, NamedTuple, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from numpy.typing import NDArray

from ..perception.frame import FloatArray

BoolArray = NDArray[np.bool_]
Infos = dict[str, Any]
# Workers in a row that may fail before their first observation; then the environment itself is at fault.
TRIES = 3


class WorkerError(RuntimeError):
    """No worker could be started; the message says what the last one failed of."""


class WorkerFailure(Exception):
    """A worker's answer cannot be used; the message says why."""


class Step(NamedTuple):
    """What one environment answers."""

    observation: Any
    reward: SupportsFloat
    terminated: bool
    truncated: bool
    info: Infos


class WorkerVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """Steps `count` environments at once.

    An episode that ends is followed by the next one in the same step: the observation is the new episode's
    first, and `infos` has the old one's last as "final_obs" and "final_info". An episode whose worker raised,
    exited, did not answer in time, or answered with anything but a member of the observation space and a
    finite reward, is truncated, its reward is NaN, and `infos["failed"]` has the reason: it is no experience.

    Args:
        make: makes one environment; a function that a new process can import, or a `partial` of one.
        count: of environments.
        timeout: seconds that a worker may take for a step or reset.
        start_timeout: seconds that a new worker may take for making its environment and the first reset.
        options: for every reset at the end of an episode, e.g. {"new_scene": True}.

    Raises:
        WorkerError: the environment cannot be made.
    """

    def __init__(
        self,
        make: Callable[[], gym.Env[Any, Any]],
        count: int,
        timeout: float = 30.0,
        start_timeout: float = 60.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.num_envs = count
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self._make, self._options = make, dict(options or {})
        self._timeout, self._start_timeout = timeout, start_timeout
        # Neither a copy of this process with its threads, nor one that imports everything anew.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", f"{__package__}.env"])
        self._seeds = np.random.SeedSequence()
        self._workers = [_Worker(self._context, make) for _ in range(count)]
        self.single_observation_space, self.single_action_space = self._spaces()
        self.observation_space = batch_space(self.single_observation_space, count)
        self.action_space = batch_space(self.single_action_space, count)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Infos]:
        """Begin an episode in every environment; environment i gets the seed `seed + i`.

        Raises:
            WorkerError: workers fail again and again before their first observation.
        """
        if seed is not None:
            self._seeds = np.random.SeedSequence(seed)
        for index, worker in enumerate(self._workers):
            worker.send("reset", (None if seed is None else seed + index, options))
        steps = self._answers()
        return self._batch(steps), self._infos(steps)

    def step(self, actions: Any) -> tuple[Any, FloatArray, BoolArray, BoolArray, Infos]:  # noqa: ANN401
        """Move every environment on.

        Args:
            actions: one of each environment, a batch of `action_space`.

        Raises:
            WorkerError: workers fail again and again before their first observation.
        """
        for worker, action in zip(self._workers, iterate(self.action_space, actions), strict=True):
            worker.send("step", (action, self._options))
        steps = self._answers()
        rewards = np.array([step.reward for step in steps], dtype=np.float64)
        terminated, truncated = np.array([(step.terminated, step.truncated) for step in steps], dtype=bool).T
        return self._batch(steps), rewards, terminated, truncated, self._infos(steps)

    def close_extras(self, **kwargs: Any) -> None:  # noqa: ANN401 - Gymnasium's signature
        """End all workers at once; what they are doing is lost."""
        for worker in self._workers:
            worker.end()

    def _answers(self) -> list[Step]:
        deadline = time.monotonic() + self._timeout
        steps: list[Step | None] = []
        failures: dict[int, str] = {}
        for index, worker in enumerate(self._workers):
            try:
                steps.append(self._usable(worker.receive(deadline)))
            except WorkerFailure as failure:
                steps.append(None)
                failures[index] = str(failure)
        replaced = self._replace(failures)
        return [replaced[index] if step is None else step for index, step in enumerate(steps)]

    def _replace(self, failures: Mapping[int, str]) -> dict[int, Step]:
        """New workers for those that failed, all made at the same time, and their first observations."""
        steps: dict[int, Step] = {}
        reasons = dict(failures)
        for _ in range(TRIES):
            self._restart(reasons)
            deadline = time.monotonic() + self._start_timeout
            for index in list(reasons):
                try:
                    step = self._usable(self._workers[index].receive(deadline))
                except WorkerFailure as failure:
                    reasons[index] = str(failure)
                    continue
                info = step.info | {"failed": failures[index]}
                steps[index] = step._replace(reward=np.nan, truncated=True, info=info)
                del reasons[index]
        if reasons:
            raise WorkerError(f"worker {min(reasons)} failed {TRIES} times: {reasons[min(reasons)]}")
        return steps

    def _restart(self, indices: Mapping[int, str]) -> None:
        for index in indices:
            self._workers[index].end()
            self._workers[index] = _Worker(self._context, self._make)
            seed = int(self._seeds.spawn(1)[0].generate_state(1)[0])
            self._workers[index].send("reset", (seed, self._options))

    def _usable(self, step: Step) -> Step:
        if not self.single_observation_space.contains(step.observation):
            raise WorkerFailure(f"observation is not in {self.single_observation_space}")
        if not isinstance(step.reward, float | int | np.number) or not np.isfinite(step.reward):
            raise WorkerFailure(f"reward is not a finite number: {step.reward!r}")
        return step

    def _spaces(self) -> tuple[gym.Space[Any], gym.Space[Any]]:
        """Those of one environment, once all workers have made theirs."""
        deadline = time.monotonic() + self._start_timeout
        for worker in self._workers:
            worker.send("spaces", None)
        try:
            spaces = [worker.receive(deadline) for worker in self._workers]
        except WorkerFailure as failure:
            self.close()
            raise WorkerError(f"no environment could be made: {failure}") from None
        return spaces[0]

    def _batch(self, steps: list[Step]) -> Any:  # noqa: ANN401
        space = self.single_observation_space
        empty = create_empty_array(space, self.num_envs)
        return concatenate(space, [step.observation for step in steps], empty)

    def _infos(self, steps: list[Step]) -> Infos:
        infos: Infos = {}
        for index, step in enumerate(steps):
            infos = self._add_info(infos, step.info, index)
        return infos


class _Worker:
    """One process with one environment, and the pipe to it."""

    def __init__(self, context: ForkServerContext, make: Callable[[], Any]) -> None:
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def send(self, command: str, argument: object) -> None:
        """Ask for something; whether the worker lives shows in the answer."""
        with suppress(OSError):
            self._connection.send((command, argument))

    def receive(self, deadline: float) -> Any:  # noqa: ANN401
        """The answer.

        Raises:
            WorkerFailure: there is none by the deadline (monotonic, s), or the environment raised.
        """
        try:
            if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                raise WorkerFailure("no answer in time")
            error, answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(1.0)
            raise WorkerFailure(f"exited with code {self._process.exitcode}") from None
        if error:
            raise WorkerFailure(error)
        return answer

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(make: Callable[[], gym.Env[Any, Any]], connection: Connection) -> None:
    """A worker's whole life: make an environment and answer until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    try:
        env = make()
        while True:
            connection.send(("", _answer(env, *connection.recv())))
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent reports it
        with suppress(OSError):
            connection.send((f"{type(error).__name__}: {error}", None))


def _answer(env: gym.Env[Any, Any], command: str, argument: Any) -> Any:  # noqa: ANN401
    if command == "spaces":
        return env.observation_space, env.action_space
    if command == "reset":
        seed, options = argument
        observation, info = env.reset(seed=seed, options=options)
        return Step(observation, 0.0, False, False, info)
    action, options = argument
    observation, reward, terminated, truncated, info = env.step(action)
    step = Step(observation, reward, terminated, truncated, info)
    if not (terminated or truncated):
        return step
    observation, info = env.reset(options=options)
    final = {"final_obs": step.observation, "final_info": step.info}
    return step._replace(observation=observation, info=info | final)
