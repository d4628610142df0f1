"""Worker processes that end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def worker_pool(
    workers: int, initializer: Callable[..., None] | None = None, initargs: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """A pool of spawned processes (torch's threads do not survive a fork).

    A process that is killed cannot tell its workers, which would work on and write beside whoever resumes the
    run. So each of them watches it, and ends with it at once.

    Args:
        workers: how many.
        initializer: called in each process before its first task.
        initargs: of it.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _start, (initializer, initargs))


def follow_parent() -> None:
    """Let this process end as soon as the one that started it does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _start(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    follow_parent()
    if initializer is not None:
        initializer(*initargs)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - this is a worker
    parent.join()
    os._exit(1)
