"""How many episodes each algorithm needs for the return that another ends with.

    python benchmarks/sample_efficiency.py archer='outputs/train/archer_*' ppo='outputs/train/ppo_*'
    kalie report run=outputs/sample_efficiency/latest document=docs/results.md name=sample_efficiency

Every NAME=PATTERN is an algorithm with its runs of `kalie train`, one of each seed, all evaluated after the
same updates. A curve is the mean over seeds of the evaluations' returns, against the training episodes until
then. Of the first algorithm and each other:

* final: the mean return of the last `--last` evaluations, of each seed; Student's interval over seeds
* episodes: of the training, in all
* episodes_to: how many the first algorithm had played when its curve reached the other's final return and did
  not fall below it at the next evaluation; nothing where it never did
* factor: the other's episodes in all, over these
* factor_first: the episodes after which the other's own curve first had its final return, over these: what
  is left of the factor when the other's training stops as soon as it could
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kalie.core.plots import line_chart
from kalie.core.report import Report
from kalie.core.runs import Run, RunConfig
from kalie.core.stats import mean_of_runs

Floats = NDArray[np.float64]
RETURN, EPISODES = "evaluation/return", "rollout/total_episodes"


@dataclass(frozen=True)
class EfficiencyConfig:
    """Keys of the run.

    Attributes:
        runs: pattern of each algorithm's runs.
        last: evaluations at the end whose mean is a run's final return.
    """

    runs: Mapping[str, str]
    last: int


@dataclass(frozen=True, eq=False)
class Curves:
    """One algorithm's evaluations.

    Attributes:
        seeds: of the runs.
        episodes: played in training until each, the mean over seeds, (T,).
        returns: (seeds, T).
    """

    seeds: tuple[int, ...]
    episodes: Floats
    returns: Floats

    @property
    def mean(self) -> Floats:
        """Over seeds, (T,)."""
        return self.returns.mean(axis=0)

    def final(self, last: int) -> Floats:
        """Of each seed, (seeds,)."""
        return self.returns[:, -last:].mean(axis=1)

    def episodes_to(self, level: float) -> float | None:
        """Episodes after which the mean reached a level, and kept it at the next evaluation."""
        above = self.mean >= level
        kept = above & np.append(above[1:], True)
        return float(self.episodes[int(np.argmax(kept))]) if kept.any() else None


def curve(run: Path) -> tuple[list[float], list[float]]:
    """Training episodes and returns of one run's evaluations.

    Raises:
        ValueError: it has none.
    """
    episodes, returns = [], []
    played = 0.0
    for line in (run / "metrics.jsonl").read_text("utf-8").splitlines():
        metrics = json.loads(line)
        played = metrics.get(EPISODES, played)
        if RETURN in metrics:
            episodes.append(played)
            returns.append(metrics[RETURN])
    if not returns:
        raise ValueError(f"{run}: no evaluations")
    return episodes, returns


def curves(pattern: str) -> Curves:
    """Those of the runs that a pattern names.

    Raises:
        ValueError: fewer than two, or they were not evaluated equally often.
    """
    runs = sorted(path for path in Path().glob(pattern) if path.is_dir())
    if len(runs) < 2:
        raise ValueError(f"{pattern}: {len(runs)} runs; an interval needs two")
    found = [curve(run) for run in runs]
    lengths = {str(run): len(returns) for run, (_, returns) in zip(runs, found, strict=True)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{pattern}: runs have different numbers of evaluations: {lengths}")
    episodes, returns = (np.array([one[part] for one in found]) for part in (0, 1))
    return Curves(tuple(map(seed_of, runs)), episodes.mean(axis=0), returns)


def seed_of(run: Path) -> int:
    """The seed of one run."""
    return json.loads((run / "summary.json").read_text("utf-8"))["seeds"][0]


def add_rows(run: Run, known: Mapping[str, Curves], last: int) -> None:
    """Final returns of all, then what the first needed to get there."""
    for name, one in known.items():
        run.add_row("start", *mean_of_runs([*one.returns[:, 0]], one.returns.shape[0]), algorithm=name)
        run.add_row("final", *mean_of_runs([*one.final(last)], one.returns.shape[0]), algorithm=name)
        run.add_row("episodes", one.episodes[-1], algorithm=name)
    first, *others = known
    for name in others:
        level = float(known[name].final(last).mean())
        needed, own = known[first].episodes_to(level), known[name].episodes_to(level)
        if needed is not None:
            run.add_row("episodes_to", needed, algorithm=first, level_of=name)
        if needed:  # 0 where the start was as good already
            run.add_row("factor", float(known[name].episodes[-1]) / needed, algorithm=first, level_of=name)
            if own is not None:
                run.add_row("factor_first", own / needed, algorithm=first, level_of=name)


def write_report(path: Path, known: Mapping[str, Curves]) -> None:
    """The curves, each the mean over its seeds."""
    report = Report("Sample efficiency", subtitle=", ".join(known))
    lines = {name: ([*one.episodes], [*one.mean]) for name, one in known.items()}
    report.section("Returns").plot(line_chart(lines, "training episodes", "return, mean over seeds"))
    report.write(path)


def main() -> None:
    """Compare and write the run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="NAME=PATTERN")
    parser.add_argument("--last", type=int, default=3, help="evaluations that make the final return")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of all runs")
    parser.add_argument("--name", default="", help="of the run; the time of the start when left out")
    options = parser.parse_args()
    if wrong := [item for item in options.runs if "=" not in item]:
        parser.error(f"{wrong[0]!r} is not NAME=PATTERN")
    patterns = dict(item.split("=", 1) for item in options.runs)
    config = EfficiencyConfig(patterns, options.last)
    try:
        known = {name: curves(pattern) for name, pattern in patterns.items()}
    except (ValueError, OSError) as error:
        parser.error(str(error))
    seeds = sorted({seed for one in known.values() for seed in one.seeds})
    with Run.open("sample_efficiency", RunConfig(options.outputs, options.name), config, seeds) as run:
        add_rows(run, known, options.last)
        write_report(run.path / "report" / "index.html", known)


if __name__ == "__main__":
    main()
