"""Floors and ceilings of the agents' environments, as one run that `kalie report` can publish.

    python benchmarks/environment_levels.py light [--episodes N] [--outputs DIR]
    kalie report run=outputs/environments/latest document=docs/environments.md name=environments

    python benchmarks/environment_levels.py arm [--episodes N] [--outputs DIR]

The first takes a minute; the second about a second and a half an episode of each player and task.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from kalie.core.runs import Run, RunConfig
from kalie.rl.envs.levels import Level, arm_table, exact_levels, light_tables, played_levels
from kalie.rl.envs.manipulation_config import ManipulationConfig, TaskName

Part = Literal["light", "arm"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)
log = logging.getLogger("environment_levels")


@dataclass(frozen=True)
class LevelsConfig:
    """What is played.

    Attributes:
        part: light (every environment that needs no simulator) or arm.
        episodes: of each player, of each task.
    """

    part: Part
    episodes: int


def add(run: Run, levels: Iterable[Level]) -> None:
    """Write levels into the run."""
    for level in levels:
        labels = {"env": level.env, "player": level.player, "role": level.role}
        run.add_row(level.metric, level.value, level.low, level.high, level.n, **labels)


def measure_light(run: Run, episodes: int) -> None:
    """Compute what can be computed, and play the rest."""
    with run.stage("exact"):
        add(run, exact_levels())
    for name, (env, entries) in light_tables().items():
        with run.stage(name):
            add(run, played_levels(name, env, entries, episodes, log.info))


def measure_arm(run: Run, episodes: int) -> None:
    """Play every task of the arm, with one try."""
    for task in TASKS:
        name = f"manipulation task={task} tries=1"
        with run.stage(task):
            env = ManipulationConfig(task=task, tries=1)
            add(run, played_levels(name, env, arm_table(), episodes, log.info))


def main() -> None:
    """Measure and write the run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=get_args(Part))
    parser.add_argument(
        "--episodes", type=int, default=0, help="of each player; 1000 light ones, 30 of the arm"
    )
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of all runs")
    options = parser.parse_args()
    light = options.part == "light"
    config = LevelsConfig(options.part, options.episodes or (1000 if light else 30))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    verb, measure = ("environments", measure_light) if light else ("environments_arm", measure_arm)
    with Run.open(verb, RunConfig(options.outputs), config, seeds=[0, config.episodes - 1]) as run:
        measure(run, config.episodes)


if __name__ == "__main__":
    main()
