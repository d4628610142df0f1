"""Workers in processes of a Ray cluster; imported where `executor=ray` asks for them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from ..core.loggers import MissingPackageError
from .executors import RayExecutorConfig, RolloutJob, Usage
from .rollout import Episode, Finished
from .worker_executor import RolloutWorker, Weights, WorkerLost


class RayWorkers:
    """See `worker_executor.Workers`; a worker is a Ray actor.

    Args:
        config: the cluster and its workers.
        job: what they run.

    Raises:
        MissingPackageError: Ray is not installed.
    """

    def __init__(self, config: RayExecutorConfig, job: RolloutJob) -> None:
        self._ray = _ray()
        if not self._ray.is_initialized():
            self._ray.init(address=config.address or None, log_to_driver=False, include_dashboard=False)
        self._actor: Any = self._ray.remote(num_cpus=config.cpus, num_gpus=config.gpus)(RolloutWorker)
        self._job = job
        self._weights: Any = None
        self._streams: dict[Any, Any] = {}

    def start(self) -> Any:  # noqa: ANN401  Ray's
        """See `Workers`."""
        return self._actor.remote(self._job)

    def share(self, weights: Weights) -> None:
        """See `Workers`; they go into Ray's object store once."""
        self._weights = self._ray.put(weights)

    def run(self, worker: Any, episodes: Sequence[Episode]) -> None:  # noqa: ANN401
        """See `Workers`."""
        stream = worker.run.options(num_returns="streaming").remote(self._weights, episodes)
        self._streams[stream] = worker

    def next(self) -> tuple[Any, Finished | Usage | None]:
        """See `Workers`."""
        (stream, *_), _ = self._ray.wait(list(self._streams), num_returns=1)
        worker = self._streams[stream]
        try:
            return worker, self._ray.get(next(stream))
        except StopIteration:
            del self._streams[stream]
            return worker, None
        except self._ray.exceptions.RayActorError as error:
            del self._streams[stream]
            raise WorkerLost(worker, str(error)) from error
        except self._ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None

    def end(self, worker: Any) -> None:  # noqa: ANN401
        """See `Workers`."""
        self._streams = {stream: whose for stream, whose in self._streams.items() if whose is not worker}
        self._ray.kill(worker)


def _ray() -> Any:  # noqa: ANN401  an optional package
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise MissingPackageError("executor=ray needs Ray: pip install 'kalie[ray]'") from error
