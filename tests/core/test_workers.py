"""Worker processes do their tasks, and end with the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kalie.core.workers import worker_pool


def stay(folder: str) -> None:
    """Say who this is, and work for long."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def test_workers_start_with_the_initialiser_and_answer(tmp_path: Path) -> None:
    with worker_pool(2, os.chdir, (tmp_path,)) as pool:
        answers = [pool.submit(os.getcwd) for _ in range(3)]
        assert {answer.result() for answer in answers} == {str(tmp_path.resolve())}


def test_when_the_parent_is_killed_expect_its_workers_to_end(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, __file__, str(tmp_path)])
    workers = [psutil.Process(int(name)) for name in names(tmp_path, 2)]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def names(folder: Path, count: int) -> list[str]:
    """Files in a folder, once there are so many."""
    for _ in range(600):
        if len(found := os.listdir(folder)) == count:
            return found
        time.sleep(0.1)
    return pytest.fail(f"not {count} workers in a minute")


if __name__ == "__main__":
    with worker_pool(2) as pool:
        list(pool.map(stay, [sys.argv[1]] * 2))
