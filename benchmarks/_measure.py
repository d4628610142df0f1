"""What the timed comparisons share: a measurement beside its yardstick, in one run, and how it is written."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

Seconds = NDArray[np.float64]

# Calls before the first that counts.
WARM_UP = 2
AIMS: dict[str, str] = {"most": "at most", "least": "at least"}


class Median(NamedTuple):
    """A median with its distribution-free 95 % interval, None where too few values allow one."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Aim:
    """Which ratios are wanted: up to a bound, or from it on."""

    side: Literal["most", "least"]
    bound: float

    def met(self, ratio: float) -> bool:
        """Whether a ratio is one of them."""
        return ratio <= self.bound if self.side == "most" else ratio >= self.bound

    def __str__(self) -> str:
        return f"{AIMS[self.side]} {self.bound:g}"


@dataclass(frozen=True)
class Measured:
    """One measurement beside its yardstick.

    Attributes:
        what: was measured.
        ours: seconds.
        yardstick: what it is held against.
        theirs: seconds.
        ratio: of ours to theirs, or of their speed to ours where `what` says so.
        aim: for the ratio; None where none was set.
    """

    what: str
    ours: float
    yardstick: str
    theirs: float
    ratio: Median
    aim: Aim | None = None

    def row(self) -> dict[str, str | float | int | None]:
        """As a tidy row of a run's summary."""
        return {
            "what": self.what,
            "ours_ms": _digits(1e3 * self.ours),
            "yardstick": self.yardstick,
            "yardstick_ms": _digits(1e3 * self.theirs),
            "aim": str(self.aim or ""),
            "metric": "ratio",
            **self.ratio._asdict(),
        }

    def line(self) -> str:
        """As a line of text."""
        missed = self.aim is not None and not self.aim.met(self.ratio.value)
        aim = f" ({self.aim}{', missed' if missed else ''})" if self.aim else ""
        return (
            f"{self.what:44} {1e3 * self.ours:10.4g} ms   {self.yardstick:38} {1e3 * self.theirs:10.4g} ms   "
            f"ratio {self.ratio.value:6.3f}{aim}"
        )


def median(values: Sequence[float] | Seconds) -> Median:
    """The median, between the order statistics that hold it in 95 of 100 samples (binomial)."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n, middle = len(ordered), float(np.median(ordered))
    below = int(binom.ppf(0.025, n, 0.5))
    if below < 1:
        return Median(middle, None, None, n)
    return Median(middle, float(ordered[below - 1]), float(ordered[n - below]), n)


def wall_seconds(call: Callable[[], object], repeats: int) -> list[float]:
    """Wall time of every call after the warm-up."""
    for _ in range(WARM_UP):
        call()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return seconds


def cpu_seconds(call: Callable[[], object], count: int) -> float:
    """CPU seconds of so many calls: what else the machine does counts little."""
    begin = time.process_time()
    for _ in range(count):
        call()
    return time.process_time() - begin


def against_limit(what: str, seconds: Sequence[float], limit: float) -> Measured:
    """Measured times against the longest that is allowed."""
    ratio = median([value / limit for value in seconds])
    return Measured(what, limit * ratio.value, "limit", limit, ratio, Aim("most", 1.0))


class Yardstick(NamedTuple):
    """Something to be held against.

    Attributes:
        name: of it.
        seconds: of so many calls.
        aim: for the ratio; one with a least value is for the speeds, theirs in time over ours.
    """

    name: str
    seconds: Callable[[int], float]
    aim: Aim | None


def in_turns(
    what: str,
    ours: Callable[[int], float],
    yardstick: str,
    theirs: Callable[[int], float],
    aim: Aim | None,
    rounds: int,
    block: int = 1,
) -> Measured:
    """Two sides that take turns in blocks of calls.

    Args:
        what: was measured.
        ours: seconds of so many calls of our side.
        yardstick: the other side's name.
        theirs: seconds of so many calls of it.
        aim: for the ratio; see `Yardstick`.
        rounds: turns of each side.
        block: calls in a turn.
    """
    return all_in_turns(what, ours, [Yardstick(yardstick, theirs, aim)], rounds, block)[0]


def all_in_turns(
    what: str, ours: Callable[[int], float], yardsticks: Sequence[Yardstick], rounds: int, block: int = 1
) -> list[Measured]:
    """Our side beside each of some others; all take turns. See `in_turns`."""
    sides = [ours, *(yardstick.seconds for yardstick in yardsticks)]
    for side in sides:
        side(block)  # A warm-up.
    turns = [[side(block) for side in sides] for _ in range(rounds)]
    mine, *others = np.array(turns).T
    return [
        _beside(what, mine / block, yardstick, other / block)
        for yardstick, other in zip(yardsticks, others, strict=True)
    ]


def _beside(what: str, ours: Seconds, yardstick: Yardstick, theirs: Seconds) -> Measured:
    of_speeds = yardstick.aim is not None and yardstick.aim.side == "least"
    ratio = median(theirs / ours if of_speeds else ours / theirs)
    middles = float(np.median(ours)), yardstick.name, float(np.median(theirs))
    return Measured(what, *middles, ratio, yardstick.aim)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Arguments that every comparison takes."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--out", type=Path, help="JSON file that gets the rows")
    made.add_argument("--quick", action="store_true", help="few repeats: to see that it runs, not to measure")
    return made


def report(measured: Sequence[Measured], out: Path | None) -> None:
    """Print the measurements, and write their rows where a file is given."""
    for item in measured:
        sys.stdout.write(item.line() + "\n")
    if out is not None:
        out.write_text(json.dumps({"rows": [item.row() for item in measured]}, indent=1) + "\n", "utf-8")


def _digits(value: float) -> float:
    """Rounded to the four digits that are worth printing."""
    return float(f"{value:.4g}")
