"""How long a stage of work took, and how much memory it and its child processes held."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class StageUse:
    """What one stage used.

    Attributes:
        name: the stage.
        seconds: wall-clock time.
        peak_bytes: the largest sum of resident memory over this process and its children, sampled five times
            a second; pages shared between them count more than once, so it is an upper bound.
    """

    name: str
    seconds: float
    peak_bytes: int


def resident_bytes() -> int:
    """Resident memory of this process and all its children now."""
    process = psutil.Process()
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue  # It ended between the listing and the reading.
    return total


class MemoryWatch:
    """Samples `resident_bytes` in a thread from `start` to `stop`."""

    def __init__(self) -> None:
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory-watch", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def restart_peak(self) -> None:
        """Forget the peak so far."""
        self._peak = resident_bytes()

    def peak(self) -> int:
        """The largest sample since the last restart, this moment included."""
        self._peak = max(self._peak, resident_bytes())
        return self._peak

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, resident_bytes())


class StageTimer:
    """Times named stages, one after the other.

    Attributes:
        stages: what each finished stage used, in order.
    """

    def __init__(self) -> None:
        self.stages: list[StageUse] = []
        self._watch = MemoryWatch()
        self._watch.start()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block; a failed one is recorded too."""
        self._watch.restart_peak()
        begin = time.monotonic()
        try:
            yield
        finally:
            self.stages.append(StageUse(name, time.monotonic() - begin, self._watch.peak()))

    def peak(self) -> int:
        """The largest memory so far, in a stage or since the last one."""
        return max([self._watch.peak(), *(stage.peak_bytes for stage in self.stages)])

    def close(self) -> None:
        """Stop measuring."""
        self._watch.stop()


def usable_cores() -> int:
    """Cores that the scheduler gives this process; where the system does not tell, all of the machine's."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
