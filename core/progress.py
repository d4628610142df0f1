"""Progress bars: library functions call `progress(done, total)`, the command line draws it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

ProgressCallback = Callable[[int, int], None]
SECONDS_PER_LINE = 60.0
log = logging.getLogger(__name__)


@contextmanager
def progress_bar(description: str, console: Console | None = None) -> Iterator[ProgressCallback]:
    """A bar on the terminal for the time of the block; elsewhere, as in a log file, a line each minute.

        with progress_bar("photographing") as progress:
            photograph(scenes, progress=progress)

    Args:
        description: what is being done.
        console: where to draw; standard error if None, so that output can be piped.

    Yields:
        a function of (done, total), to be called as often as one likes.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _lines(description)
        return
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        Remaining(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(description, total=None)

        def advance(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield advance


def _lines(description: str) -> ProgressCallback:
    started = told = monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal told
        now = monotonic()
        if now - told >= SECONDS_PER_LINE:
            told = now
            log.info(
                "%s: %d of %d after %s", description, done, total, timedelta(seconds=round(now - started))
            )

    return advance
