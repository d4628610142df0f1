"""Rollouts in processes of a Ray cluster; imported where `executor=ray` asks for it.

Workers get a few episodes at a time and hand back each as it ends. When one dies, what it had handed back is
kept, and what it had not is given to its replacement.
"""

from __future__ import annotations

import importlib
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.loggers import MissingPackageError
from .executors import LocalExecutor, More, RayExecutorConfig, RolloutJob, Usage
from .policy import Policy
from .rollout import Episode, Finished, RolloutError

log = logging.getLogger(__name__)


class RolloutWorker:
    """What runs in a worker's process.

    Args:
        job: what to run.
    """

    def __init__(self, job: RolloutJob) -> None:
        self._policy = Policy.load(job.model, job.seed)
        self._executor = LocalExecutor(job, self._policy)

    def run(
        self, weights: Mapping[str, NDArray[np.generic]], episodes: Sequence[Episode]
    ) -> Iterator[Finished | Usage]:
        """Take over weights, run episodes, and at the end say what it took."""
        self._policy.load_trained({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
        yield from self._executor.run(episodes)
        yield self._executor.usage


@dataclass
class _Chunk:
    """Episodes that a worker was given, and what it has not handed back of them."""

    worker: Any
    left: dict[int, Episode]


class RayExecutor:
    """See `executors.Executor`.

    Args:
        config: the cluster and its workers.
        job: what to run.
        policy: whose weights the workers copy before every run.

    Raises:
        MissingPackageError: Ray is not installed.
    """

    def __init__(self, config: RayExecutorConfig, job: RolloutJob, policy: Policy) -> None:
        self._ray = _ray()
        self.usage = Usage()
        self._config = config
        self._job = job
        self._policy = policy
        if not self._ray.is_initialized():
            self._ray.init(address=config.address or None, log_to_driver=False, include_dashboard=False)
        actor: Any = self._ray.remote(num_cpus=config.cpus, num_gpus=config.gpus)(RolloutWorker)
        self._make_worker = lambda: actor.remote(job)
        self._idle = [self._make_worker() for _ in range(config.workers)]

    def run(self, episodes: Iterable[Episode], more: More = None) -> Iterator[Finished]:
        """See `Executor`; `more` is not possible here.

        Raises:
            RolloutError: an environment broke its contract, or too many workers died.
        """
        if more is not None:
            raise ValueError("a Ray executor begins every episode that it is given")
        self.usage = Usage()
        weights = self._ray.put({name: w.cpu().numpy() for name, w in self._policy.trained().items()})
        todo = deque(self._chunks(list(episodes)))
        running: dict[Any, _Chunk] = {}
        lost = 0
        while todo or running:
            while todo and self._idle:
                part, worker = todo.popleft(), self._idle.pop()
                stream = worker.run.options(num_returns="streaming").remote(weights, part)
                running[stream] = _Chunk(worker, {item.index: item for item in part})
            (stream, *_), _ = self._ray.wait(list(running), num_returns=1)
            try:
                found = self._next(stream)
            except self._ray.exceptions.RayActorError as error:
                lost += 1
                todo.appendleft(self._replace(running.pop(stream), lost, error))
                continue
            if isinstance(found, Finished):
                running[stream].left.pop(found.index)
                yield found
            elif isinstance(found, Usage):
                self.usage.add(found)
            else:
                self._idle.append(running.pop(stream).worker)

    def close(self) -> None:
        """End the workers."""
        for worker in self._idle:
            self._ray.kill(worker)
        self._idle = []

    def _chunks(self, episodes: Sequence[Episode]) -> list[list[Episode]]:
        """As many episodes at a time as fill a worker's slots, fewer when there are few."""
        share = -(-len(episodes) // self._config.workers)
        size = max(1, min(self._job.generator.slots, share))
        return [list(episodes[first : first + size]) for first in range(0, len(episodes), size)]

    def _next(self, stream: Any) -> Finished | Usage | None:  # noqa: ANN401  Ray's
        """The next thing that a worker hands back; None after the last."""
        try:
            return self._ray.get(next(stream))
        except StopIteration:
            return None
        except self._ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None

    def _replace(self, chunk: _Chunk, lost: int, error: Exception) -> list[Episode]:
        """Start a new worker in the place of a dead one; the episodes that it had not handed back."""
        if lost > self._config.replacements:
            raise RolloutError(f"{lost} Ray workers died, the last: {error}") from error
        log.warning("a Ray worker died; %d of its episodes run again", len(chunk.left))
        self._idle.append(self._make_worker())
        return list(chunk.left.values())


def _ray() -> Any:  # noqa: ANN401  an optional package
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise MissingPackageError("executor=ray needs Ray: pip install 'kalie[ray]'") from error
