"""Run every timed comparison, each in a process of its own, as one run that `kalie report` can publish.

    python benchmarks/run_all.py [--panda-gym PYTHON] [--outputs DIR] [--quick]
    kalie report run=outputs/speed/latest document=docs/results.md name=speed

`make bench` does both, with panda-gym in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kalie.core.resources import usable_cores
from kalie.core.runs import Run, RunConfig

HERE = Path(__file__).parent
SCRIPTS = ("sim_speed", "control_speed", "synthesis_speed", "model_speed")


@dataclass(frozen=True)
class SpeedConfig:
    """What is written beside the figures.

    Attributes:
        cores: that this process may use.
        panda_gym: interpreter of the environment with panda-gym; empty leaves the comparison with it out.
        quick: whether the figures mean nothing.
    """

    cores: int
    panda_gym: str
    quick: bool


def rows(script: str, arguments: list[str]) -> list[dict[str, Any]]:
    """The rows that a script writes; its lines go to the terminal.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE / f"{script}.py"), "--out", str(out), *arguments]
        subprocess.run(command, check=True)  # noqa: S603
        return json.loads(out.read_text("utf-8"))["rows"]


def main() -> None:
    """Measure everything and write the run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--panda-gym", default="", metavar="PYTHON", help="interpreter that has panda-gym")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of all runs")
    parser.add_argument("--quick", action="store_true", help="few repeats: to see that it runs")
    options = parser.parse_args()
    config = SpeedConfig(usable_cores(), options.panda_gym, options.quick)
    quick = ["--quick"] if options.quick else []
    with Run.open("speed", RunConfig(options.outputs), config, seeds=[0]) as run:
        for script in SCRIPTS:
            peers = ["--panda-gym", options.panda_gym] if script == "sim_speed" and options.panda_gym else []
            with run.stage(script):
                measured = rows(script, [*quick, *peers])
            for row in measured:
                run.add_row(**row)


if __name__ == "__main__":
    main()
