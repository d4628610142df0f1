"""How many episodes an algorithm needs for another's return, from runs whose figures are known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import kalie

SCRIPT = Path(kalie.__file__).parent / "benchmarks" / "sample_efficiency.py"


def write_run(folder: Path, returns: Sequence[float], episodes: int, seed: int = 0) -> None:
    """A run that was evaluated before its training and after every `episodes` episodes."""
    folder.mkdir(parents=True)
    lines = [{"step": 0, "evaluation/return": returns[0]}]
    for update, value in enumerate(returns[1:], start=1):
        lines.append(
            {"step": update, "rollout/total_episodes": update * episodes, "evaluation/return": value}
        )
    (folder / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (folder / "summary.json").write_text(json.dumps({"seeds": [seed]}))


def compare(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_the_factor_is_the_other_s_episodes_over_those_to_its_final_return(tmp_path: Path) -> None:
    # The quick one passes -6 for a moment after 20 episodes, and for good after 30.
    for seed, shift in enumerate((-0.5, 0.5)):
        quick = [value + shift for value in (-10.0, -8.0, -6.0, -5.0, -4.0)]
        slow = [value + shift for value in (-10.0, -9.0, -5.5, -8.0, -6.0, -6.0)]
        write_run(tmp_path / "runs" / f"quick_{seed}", [*quick[:2], quick[2], -7.0, *quick[3:]], 10, seed)
        write_run(tmp_path / "runs" / f"slow_{seed}", slow, 100, seed + 1)
    done = compare(tmp_path, "quick=runs/quick_*", "slow=runs/slow_*", "--last", "2", "--name", "x")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "outputs/sample_efficiency/x/summary.json").read_text())
    assert summary["seeds"] == [0, 1, 2]
    assert "<svg" in (tmp_path / "outputs/sample_efficiency/x/report/index.html").read_text()
    rows = summary["rows"]
    found = {(row["metric"], row["algorithm"]): row["value"] for row in rows}
    assert found["final", "slow"] == pytest.approx(-6)
    assert found["final", "quick"] == pytest.approx(-4.5)
    assert found["episodes", "slow"] == 500
    assert found["episodes_to", "quick"] == 40
    assert found["factor", "quick"] == pytest.approx(500 / 40)
    # Its own curve has -6 for good from the evaluation after 400 episodes on.
    assert found["factor_first", "quick"] == pytest.approx(400 / 40)
    low, high = next((row["low"], row["high"]) for row in rows if row["metric"] == "final")
    assert low < -4.5 < high


def test_a_level_that_was_never_reached_has_no_factor(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path / f"low_{seed}", [-10.0, -9.0], 10)
        write_run(tmp_path / f"high_{seed}", [-10.0, -2.0], 10)
    assert compare(tmp_path, "low=low_*", "high=high_*", "--name", "x").returncode == 0
    rows = json.loads((tmp_path / "outputs/sample_efficiency/x/summary.json").read_text())["rows"]
    assert {row["metric"] for row in rows} == {"start", "final", "episodes"}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("x", "'x' is not NAME=PATTERN"),
        ("x=nothing_*", "nothing_*: 0 runs; an interval needs two"),
        ("x=run_*", "different numbers of evaluations"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, argument: str, message: str) -> None:
    write_run(tmp_path / "run_0", [-10.0, -9.0], 10)
    write_run(tmp_path / "run_1", [-10.0, -9.0, -8.0], 10)
    done = compare(tmp_path, argument)
    assert done.returncode == 2
    assert message in done.stderr
