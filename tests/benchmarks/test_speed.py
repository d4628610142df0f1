"""The timed comparisons: what a ratio means, and that their figures reach the results page."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import kalie
from kalie.cli.main import main

HERE = Path(kalie.__file__).parent / "benchmarks"
YARDSTICKS = ("bare renderer call", "the two bare calls that shadows need")


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("_measure")


@pytest.fixture
def run_all(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("run_all")


def quick(script: str, *arguments: str, out: Path) -> dict[str, Any]:
    """The rows of a script's quick run, by what was measured and its yardstick."""
    command = [sys.executable, str(HERE / f"{script}.py"), "--quick", "--out", str(out), *arguments]
    subprocess.run(command, check=True, capture_output=True)
    return {f"{row['what']}: {row['yardstick']}": row for row in json.loads(out.read_text("utf-8"))["rows"]}


def test_a_median_lies_between_the_order_statistics_of_the_sign_test(measure: ModuleType) -> None:
    """For n = 10 these are the second and the ninth value."""
    assert measure.median(np.random.default_rng(0).permutation(range(1, 11))) == (5.5, 2, 9, 10)
    assert measure.median([1.0, 2.0, 3.0]) == (2.0, None, None, 3)


def test_a_median_s_interval_holds_the_truth_as_often_as_it_says(measure: ModuleType) -> None:
    rng = np.random.default_rng(0)
    found = [measure.median(rng.exponential(size=25)) for _ in range(400)]
    held = np.mean([median.low <= np.log(2) <= median.high for median in found])
    assert 0.93 <= held <= 0.99


def test_a_ratio_of_times_is_ours_over_theirs_and_one_of_speeds_the_other_way(measure: ModuleType) -> None:
    def side(seconds: float) -> Callable[[int], float]:
        return lambda count: seconds * count

    sides = side(3e-3), "theirs", side(2e-3)
    times = measure.in_turns("step", *sides, measure.Aim("most", 1.2), rounds=8, block=5)
    assert (times.ours, times.theirs) == pytest.approx((3e-3, 2e-3))
    assert times.ratio.value == pytest.approx(1.5)
    assert not times.aim.met(times.ratio.value)
    assert "at most 1.2, missed" in times.line()
    speeds = measure.in_turns("steps a second", *sides, measure.Aim("least", 0.6), rounds=8)
    assert speeds.ratio.value == pytest.approx(2 / 3)
    assert speeds.aim.met(speeds.ratio.value)


def test_calls_are_timed_by_the_clock_that_is_named(measure: ModuleType) -> None:
    (slept,) = measure.wall_seconds(lambda: time.sleep(0.02), 1)
    assert slept >= 0.02
    assert measure.cpu_seconds(lambda: time.sleep(0.02), 1) < 0.01
    limited = measure.against_limit("sleep", [0.02, 0.03, 0.04], 0.06)
    assert limited.ratio.value == pytest.approx(0.5)
    assert limited.ours == pytest.approx(0.03)


def test_figures_reach_the_results_page(
    measure: ModuleType, run_all: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, list[str]]] = []

    def rows(script: str, arguments: list[str]) -> list[dict[str, Any]]:
        calls.append((script, arguments))
        return [measure.against_limit(script, [0.1234567] * 12, 0.25).row()]

    monkeypatch.setattr(run_all, "rows", rows)
    monkeypatch.setattr(
        sys, "argv", ["run_all.py", "--panda-gym", "there/python", "--outputs", str(tmp_path)]
    )
    run_all.main()
    assert dict(calls)["sim_speed"] == ["--panda-gym", "there/python"]
    assert dict(calls)["model_speed"] == []
    page = tmp_path / "results.md"
    page.write_text("<!-- begin speed -->\n<!-- end speed -->\n")
    assert main(["report", f"run={tmp_path / 'speed' / 'latest'}", f"document={page}", "name=speed"]) == 0
    line = "| control_speed | 123.5 | limit | 250.0 | at most 1 | ratio | 0.494 | [0.494, 0.494] | 12 |"
    assert line in page.read_text("utf-8").splitlines()
    kept = json.loads((tmp_path / "results" / "speed.json").read_text("utf-8"))
    assert len(kept["rows"]) == len(run_all.SCRIPTS)


def test_every_comparison_is_part_of_the_run(run_all: ModuleType) -> None:
    assert sorted(run_all.SCRIPTS) == sorted(path.stem for path in HERE.glob("*_speed.py"))


def test_the_simulator_stands_beside_its_yardsticks_with_shadows_and_without(tmp_path: Path) -> None:
    rows = quick("sim_speed", out=tmp_path / "rows.json")
    assert rows.keys() >= {
        "camera frame, no shadows: bare renderer call",
        "camera frame with shadows: bare renderer call",
        "camera frame with shadows: the two bare calls that shadows need",
        "environment step: raw Bullet, the same motion",
        "reset, scene restored: scene built anew",
    }
    assert all(row["value"] > 0 and row["metric"] == "ratio" for row in rows.values())
    # A second picture is drawn for the shadows.
    single, double = (rows[f"camera frame with shadows: {name}"] for name in YARDSTICKS)
    assert single["value"] > 1.4 * double["value"]
    assert rows["reset, scene restored: scene built anew"]["value"] < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("script", ["control_speed", "synthesis_speed", "model_speed"])
def test_every_comparison_runs(tmp_path: Path, script: str) -> None:
    assert quick(script, out=tmp_path / "rows.json")


@pytest.mark.slow
def test_the_backbone_is_measured_and_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    def measured(*more: str) -> dict[str, Any]:
        command = [sys.executable, str(HERE / "backbone.py"), "--quick", "--tasks", "sweep", *more]
        subprocess.run([*command, "--outputs", str(tmp_path), "--name", "a"], check=True)
        return json.loads((tmp_path / "backbone" / "a" / "summary.json").read_text("utf-8"))

    summary = measured("--seeds", "1")
    rows = [row for row in summary["rows"] if row["task"] == "sweep" and row["metric"] == "pck_5_percent"]
    assert {row["start"] for row in rows} == {"shipped", "imagenet", "random"}
    assert {(row["start"], row["other"]) for row in summary["rows"] if row["metric"] == "difference"} == {
        ("imagenet", "random"),
        ("shipped", "imagenet"),
    }
    kept = sorted((tmp_path / "backbone" / "a" / "cells").rglob("0.json"))
    before = [path.stat().st_mtime_ns for path in kept]
    assert len(measured("--seeds", "2", "--resume")["rows"]) == len(summary["rows"])
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert len(list((tmp_path / "backbone" / "a" / "cells").rglob("1.json"))) == len(kept) == 3
