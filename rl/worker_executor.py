"""Rollouts in worker processes, whoever starts them: `processes` of this machine or of a Ray cluster.

Workers get a few episodes at a time and hand back each as it ends. When one dies, what it had handed back is
kept, and what it had not is given to its replacement.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from .base_policy import BasePolicy
from .executors import LocalExecutor, More, RolloutJob, Usage
from .policies import load_policy
from .rollout import Episode, Finished, RolloutError

log = logging.getLogger(__name__)

Weights: TypeAlias = Mapping[str, NDArray[np.generic]]
Worker: TypeAlias = Any
"""Whatever a `Workers` calls a worker; it has a hash."""


class WorkerLost(RuntimeError):
    """A worker's process died; it is `worker`."""

    def __init__(self, worker: Worker, message: str) -> None:
        super().__init__(message)
        self.worker = worker


class Workers(Protocol):
    """Starts processes that hold a `RolloutWorker` each, and speaks with them."""

    def start(self) -> Worker:
        """A new worker."""
        ...

    def share(self, weights: Weights) -> None:
        """The weights of the episodes that are run from now on."""
        ...

    def run(self, worker: Worker, episodes: Sequence[Episode]) -> None:
        """Let a worker run episodes."""
        ...

    def next(self) -> tuple[Worker, Finished | Usage | None]:
        """Wait for the next thing that a running worker hands back; None where it is done.

        Raises:
            WorkerLost: it died.
            Exception: whatever running the episodes raised in it.
        """
        ...

    def end(self, worker: Worker) -> None:
        """End a worker."""
        ...


class RolloutWorker:
    """What runs in a worker's process.

    Args:
        job: what to run.
    """

    def __init__(self, job: RolloutJob) -> None:
        self._policy = load_policy(job.model, job.seed)
        self._executor = LocalExecutor(job, self._policy)

    def run(self, weights: Weights, episodes: Sequence[Episode]) -> Iterator[Finished | Usage]:
        """Take over weights, run episodes, and at the end say what it took."""
        self._policy.load_trained({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
        yield from self._executor.run(episodes)
        yield self._executor.usage


class WorkerExecutor:
    """See `executors.Executor`.

    Args:
        workers: starts them.
        count: how many at a time.
        replacements: how many may die in one run before the job stops.
        slots: of a worker.
        policy: whose weights the workers copy before every run.
    """

    def __init__(
        self, workers: Workers, count: int, replacements: int, slots: int, policy: BasePolicy
    ) -> None:
        self.usage = Usage()
        self._workers = workers
        self._count = count
        self._replacements = replacements
        self._slots = slots
        self._policy = policy
        self._idle = [workers.start() for _ in range(count)]
        self._running: dict[Worker, dict[int, Episode]] = {}

    def run(self, episodes: Iterable[Episode], more: More = None) -> Iterator[Finished]:
        """See `Executor`; `more` is not possible here.

        Raises:
            RolloutError: an environment broke its contract, or too many workers died.
        """
        if more is not None:
            raise ValueError("worker processes begin every episode that they are given")
        self._abandon()
        self.usage = Usage()
        self._workers.share(self._policy.trained_arrays())
        todo = deque(self._chunks(list(episodes)))
        lost = 0
        while todo or self._running:
            while todo and self._idle:
                self._hand_out(todo.popleft())
            try:
                worker, found = self._workers.next()
            except WorkerLost as error:
                lost += 1
                todo.appendleft(self._replace(error, lost))
                continue
            if isinstance(found, Finished):
                self._running[worker].pop(found.index)
                yield found
            elif isinstance(found, Usage):
                self.usage.add(found)
            else:
                del self._running[worker]
                self._idle.append(worker)

    def close(self) -> None:
        """End the workers."""
        for worker in [*self._idle, *self._running]:
            self._workers.end(worker)
        self._idle, self._running = [], {}

    def _abandon(self) -> None:
        """Replace the workers that an earlier run, which was not finished, left running."""
        for worker in self._running:
            self._workers.end(worker)
            self._idle.append(self._workers.start())
        self._running = {}

    def _chunks(self, episodes: Sequence[Episode]) -> list[list[Episode]]:
        """As many episodes at a time as fill a worker's slots, fewer when there are few."""
        share = -(-len(episodes) // self._count)
        size = max(1, min(self._slots, share))
        return [list(episodes[first : first + size]) for first in range(0, len(episodes), size)]

    def _hand_out(self, chunk: list[Episode]) -> None:
        worker = self._idle.pop()
        self._running[worker] = {item.index: item for item in chunk}
        self._workers.run(worker, chunk)

    def _replace(self, error: WorkerLost, lost: int) -> list[Episode]:
        """Start a new worker in the place of a dead one; the episodes that it had not handed back."""
        left = list(self._running.pop(error.worker).values())
        if lost > self._replacements:
            raise RolloutError(f"{lost} workers died, the last: {error}") from error
        log.warning("a worker died (%s); %d of its episodes run again", error, len(left))
        self._idle.append(self._workers.start())
        return left
