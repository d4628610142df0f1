"""One environment in a thread of its own: a step has a time limit, and a hung one can be left behind."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

from .envs.base import AgentEnv, EnvironmentFailure
from .types import Observation

MakeEnv: TypeAlias = Callable[[], AgentEnv]
"""Builds an environment; what workers elsewhere are sent, so it must be picklable there."""

Call: TypeAlias = "Callable[[AgentEnv], Any]"


class EnvHost:
    """Runs an environment's calls one after the other.

    Args:
        make_env: builds the environment, in the thread that will use it.
        limit_s: seconds a call may take; 0 for no limit, and no thread.
    """

    def __init__(self, make_env: MakeEnv, limit_s: float) -> None:
        self._make_env = make_env
        self._limit = limit_s
        self._env: AgentEnv | None = None
        self._calls: queue.SimpleQueue[tuple[Call, Future[Any]] | None] = queue.SimpleQueue()
        if limit_s:
            # A daemon: a call that never returns must not keep the process from ending.
            threading.Thread(target=self._work, name="environment", daemon=True).start()

    def reset(self, seed: int) -> Future[Any]:
        """Begin an episode."""
        return self._submit(lambda env: env.reset(seed=seed))

    def step(self, response: str) -> Future[Any]:
        """Take a step."""
        return self._submit(lambda env: env.step(response))

    def close(self) -> None:
        """Close the environment, without waiting for a call that hangs."""
        if self._limit:
            self._submit(lambda env: env.close())
            self._calls.put(None)
        elif self._env is not None:
            self._env.close()

    def wait(self, future: Future[Any]) -> Any:  # noqa: ANN401  what the environment returned
        """A call's result.

        Raises:
            EnvironmentFailure: it took too long.
            Exception: whatever the environment raised.
        """
        try:
            return future.result(timeout=self._limit or None)
        except TimeoutError as error:
            if future.done():
                raise  # the environment's own
            raise EnvironmentFailure(f"no answer within {self._limit:g} s") from error

    def _submit(self, call: Call) -> Future[Any]:
        future: Future[Any] = Future()
        if self._limit:
            self._calls.put((call, future))
        else:
            self._run(call, future)
        return future

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            self._run(*item)

    def _run(self, call: Call, future: Future[Any]) -> None:
        try:
            if self._env is None:
                self._env = self._make_env()
            future.set_result(call(self._env))
        except Exception as error:  # noqa: BLE001  handed to whoever waits
            future.set_exception(error)


def as_observation(value: object) -> Observation:
    """The value, which must be an observation.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, Observation) or not isinstance(value.text, str):
        raise TypeError(f"the observation is a {type(value).__name__}, not an Observation")
    return value
