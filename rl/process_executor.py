"""Workers in processes of this machine; imported where `executor.processes` asks for them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from ..core.workers import follow_parent
from .executors import RolloutJob, Usage
from .rollout import Episode, Finished
from .worker_executor import RolloutWorker, Weights, WorkerLost


@dataclass(frozen=True, eq=False)
class ProcessWorker:
    """A process, and this end of the pipe to it."""

    process: BaseProcess
    pipe: Connection


class ProcessWorkers:
    """See `worker_executor.Workers`; the processes end with this one, however it ends.

    Args:
        job: what they run.
        threads: of torch in each.
    """

    def __init__(self, job: RolloutJob, threads: int) -> None:
        self._job = job
        self._threads = threads
        # torch's threads do not survive a fork.
        self._context = multiprocessing.get_context("spawn")
        self._weights: Weights = {}
        self._running: dict[Connection, ProcessWorker] = {}

    def start(self) -> ProcessWorker:
        """See `Workers`."""
        here, there = self._context.Pipe()
        process = self._context.Process(target=_work, args=(there, self._job, self._threads), daemon=True)
        process.start()
        there.close()
        return ProcessWorker(process, here)  # pyright: ignore[reportArgumentType]  Windows has another pipe

    def share(self, weights: Weights) -> None:
        """See `Workers`."""
        self._weights = weights

    def run(self, worker: ProcessWorker, episodes: Sequence[Episode]) -> None:
        """See `Workers`."""
        self._running[worker.pipe] = worker
        with suppress(OSError):  # It is dead, which `next` tells.
            worker.pipe.send((self._weights, episodes))

    def next(self) -> tuple[ProcessWorker, Finished | Usage | None]:
        """See `Workers`."""
        pipe = next(one for one in wait(list(self._running)) if isinstance(one, Connection))
        worker = self._running[pipe]
        try:
            found = pipe.recv()
        except (EOFError, OSError) as error:
            del self._running[pipe]
            worker.process.join()
            raise WorkerLost(worker, f"exit code {worker.process.exitcode}") from error
        if isinstance(found, Exception):
            raise found
        if found is None:
            del self._running[pipe]
        return worker, found

    def end(self, worker: ProcessWorker) -> None:
        """See `Workers`."""
        self._running.pop(worker.pipe, None)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def _work(pipe: Connection, job: RolloutJob, threads: int) -> None:
    """Answer until the process that started this one closes the pipe, or ends."""
    follow_parent()
    torch.set_num_threads(threads)
    worker = RolloutWorker(job)
    while True:
        try:
            weights, episodes = pipe.recv()
        except EOFError:
            return
        try:
            for found in worker.run(weights, episodes):
                pipe.send(found)
        except Exception as error:  # noqa: BLE001  handed to whoever waits
            pipe.send(error)
        else:
            pipe.send(None)
