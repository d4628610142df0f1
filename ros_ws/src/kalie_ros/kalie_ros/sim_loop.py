"""The thread that advances a simulation, one control period after another, and owns all it touches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

# Periods that are made up for after a stall; what was lost beyond them stays lost.
CATCH_UP = 3
Answer = TypeVar("Answer")


class ControlLoop:
    """Calls `step` period after period while it runs, and carries out jobs from other threads in between.

    In real time a period takes its length on the steady clock. Otherwise a period begins as soon as a job
    that asks for one has come, or `hurries` says so, and at the latest when one length has passed.

    Args:
        step: advances one control period.
        period: its length, seconds.
        real_time: see above.
        hurries: whether to go on without waiting; asked when not in real time.
        failed: told of what `step` or a told job raised; the loop goes on.
    """

    def __init__(
        self,
        step: Callable[[], None],
        period: float,
        real_time: bool,
        hurries: Callable[[], bool],
        failed: Callable[[Exception], None],
    ) -> None:
        self._step, self._period, self._real_time = step, period, real_time
        self._hurries, self._failed = hurries, failed
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._running = self._asked = self._ended = False
        self._due = 0.0
        self._thread = threading.Thread(target=self._live, name="control loop", daemon=True)
        self._thread.start()

    def run(self, running: bool) -> None:
        """Begin or cease to step; returns when the step in progress is done."""
        self.call(lambda: self._set(running)).result()

    def tell(self, job: Callable[[], None], asks: bool = False) -> None:
        """Carry out a job between two periods, without an answer.

        Args:
            job: what to do.
            asks: whether a period is to begin for it at once, where time is not real.
        """
        self._enter(lambda: self._guard(job), asks)

    def call(self, job: Callable[[], Answer]) -> Future[Answer]:
        """Carry out a job between two periods and answer; after the loop's end it is canceled."""
        future: Future[Answer] = Future()

        def carry_out() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except Exception as error:  # noqa: BLE001 - it is the caller's, who gets it from the future
                    future.set_exception(error)

        if not self._enter(carry_out):
            future.cancel()
        return future

    def close(self) -> None:
        """Carry out what was asked for already, and end; a second call does nothing."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def _enter(self, job: Callable[[], None], asks: bool = False) -> bool:
        """Queue a job; False after the end."""
        with self._changed:
            if not self._ended:
                self._jobs.append(job)
                self._asked = self._asked or asks
                self._changed.notify()
            return not self._ended

    def _set(self, running: bool) -> None:
        self._running, self._due = running, time.monotonic()

    def _live(self) -> None:
        while True:
            with self._changed:
                if not self._jobs and not self._ended:
                    self._changed.wait(self._patience())
                jobs, self._jobs = self._jobs, deque()
                asked, self._asked, ended = self._asked, False, self._ended
            for job in jobs:
                job()
            if ended:
                return
            if self._running and self._is_time(asked):
                self._advance()

    def _patience(self) -> float | None:
        """Seconds to wait for a job; None = until one comes."""
        if not self._running:
            return None
        if not self._real_time and self._hurries():
            return 0.0
        return max(0.0, self._due - time.monotonic())

    def _is_time(self, asked: bool) -> bool:
        hurry = not self._real_time and (asked or self._hurries())
        return hurry or time.monotonic() >= self._due

    def _advance(self) -> None:
        now = time.monotonic()
        first = max(self._due, now - CATCH_UP * self._period) if self._real_time else now
        self._due = first + self._period
        self._guard(self._step)

    def _guard(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001 - whatever it is, the loop must live to hold the arm
            self._failed(error)
