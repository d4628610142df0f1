"""A thread that works on the newest item, one at a time; for work that takes longer than a callback may."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
CLOSE_TIMEOUT = 10.0


class RateLimit:
    """Lets events pass at most so many times a second on average; what comes a little early still passes."""

    def __init__(self) -> None:
        self._due = -math.inf

    def allows(self, now: float, rate: float) -> bool:
        """Whether an event may pass now (s, steady clock) at `rate` a second; counts it if so."""
        if now < self._due:
            return False
        # Time that was not used is saved up to one period, so that jitter costs nothing.
        self._due = max(self._due + 1 / rate, now)
        return True


class FrameWorker(Generic[Item]):
    """Hands items to `work` in a thread of its own. Items that come while it works are dropped."""

    def __init__(self, work: Callable[[Item], None]) -> None:
        """Start the thread; `work` must not raise."""
        self._work, self._limit = work, RateLimit()
        self._item: list[Item] = []
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="frame_worker", daemon=True)
        self._thread.start()

    def offer(self, item: Item, max_rate: float) -> bool:
        """Hand over an item, unless it is dropped: the worker is busy, closed, or would exceed the rate."""
        with self._changed:
            if self._item or self._closed or not self._limit.allows(time.monotonic(), max_rate):
                return False
            self._item.append(item)
            self._changed.notify()
            return True

    def close(self) -> None:
        """End the thread after the item in work."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._item or self._closed)
                if self._closed:
                    return
                item = self._item[0]
            self._work(item)
            with self._changed:
                self._item.clear()
