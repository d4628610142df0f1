"""Run directories: one process each, nothing lost, everything a script needs in summary.json."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from kalie.core.config import ConfigError
from kalie.core.loggers import LoggerConfig, MissingPackageError
from kalie.core.runs import Run, RunConfig, RunLockedError, directory_lock

HOLDER = """
import sys, time
from pathlib import Path
from kalie.core.runs import directory_lock
with directory_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@dataclass(frozen=True)
class JobConfig:
    run: RunConfig = field(default_factory=RunConfig)
    steps: int = 3
    seeds: int = 1


def job(tmp_path: Path, name: str = "", *, resume: bool = False, steps: int = 3, seeds: int = 1) -> Run:
    where = RunConfig(outputs=tmp_path, name=name, resume=resume)
    config = JobConfig(where, steps, seeds)
    return Run.open(
        "job",
        where,
        config,
        range(seeds),
        logger=LoggerConfig(tensorboard=False),
        may_change=["seeds"],
    )


def summary(path: Path) -> dict[str, Any]:
    return json.loads((path / "summary.json").read_text())


def test_run_leaves_config_metrics_and_summary(tmp_path: Path) -> None:
    with job(tmp_path, "first") as run:
        with run.stage("train"):
            run.log({"loss": 0.5}, step=1)
        run.add_row("success", 0.9, low=0.8, high=0.95, n=20, task="sweep", arm="full")
    path = tmp_path / "job" / "first"
    assert run.path == path
    assert yaml.safe_load((path / "config.yaml").read_text())["steps"] == 3
    assert json.loads((path / "metrics.jsonl").read_text())["loss"] == 0.5
    found = summary(path)
    assert found["rows"] == [
        {"task": "sweep", "arm": "full", "metric": "success", "value": 0.9, "low": 0.8, "high": 0.95, "n": 20}
    ]
    assert (found["status"], found["seeds"]) == ("finished", [0])
    assert found["peak_bytes"] > 10_000_000
    assert [stage["name"] for stage in found["stages"]] == ["train"]
    assert found["command"]


def test_latest_points_to_the_newest_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with job(tmp_path, name):
            pass
    link = tmp_path / "job" / "latest"
    assert os.readlink(link) == "b"
    assert sorted(path.name for path in (tmp_path / "job").iterdir()) == ["a", "b", "latest"]


def test_two_runs_in_one_second_get_two_directories(tmp_path: Path) -> None:
    paths = set()
    for _ in range(3):
        with job(tmp_path) as run:
            paths.add(run.path)
    assert len(paths) == 3


def test_when_the_work_raises_expect_summary_with_status_failed(tmp_path: Path) -> None:
    def fail() -> None:
        with job(tmp_path, "bad") as run:
            run.add_row("made before", 1.0)
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    found = summary(tmp_path / "job" / "bad")
    assert found["status"] == "failed"
    assert len(found["rows"]) == 1


def test_when_name_is_taken_expect_error(tmp_path: Path) -> None:
    with job(tmp_path, "a"):
        pass
    with pytest.raises(ConfigError, match=r"run\.name=a: .* exists; pass run\.resume=true"):
        job(tmp_path, "a")


@pytest.mark.parametrize("name", ["../up", "a/b", "latest", ".hidden", "a b", "/root"])
def test_when_name_is_no_folder_name_expect_error(name: str) -> None:
    with pytest.raises(ValueError, match="name="):
        RunConfig(name=name)


# Resume --------------------------------------------------------------------------------------------------


def test_resume_goes_on_in_the_same_directory_and_adds_up(tmp_path: Path) -> None:
    with job(tmp_path, "a") as first, first.stage("one"):
        first.log({"loss": 1.0}, step=1)
    with job(tmp_path, resume=True) as again:
        assert again.resumed
        assert again.path == first.path.resolve()
        with again.stage("two"):
            again.log({"loss": 0.5}, step=2)
    found = summary(again.path)
    assert [stage["name"] for stage in found["stages"]] == ["one", "two"]
    assert found["seconds"] >= sum(stage["seconds"] for stage in found["stages"])
    assert len((again.path / "metrics.jsonl").read_text().splitlines()) == 2
    assert os.readlink(tmp_path / "job" / "latest") == "a"


def test_when_nothing_to_resume_expect_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run"):
        job(tmp_path, resume=True)


def test_when_resumed_config_differs_expect_the_key(tmp_path: Path) -> None:
    with job(tmp_path, "a"):
        pass
    with pytest.raises(ConfigError, match=r"^steps: .* was made with 3, now it is 4"):
        job(tmp_path, "a", resume=True, steps=4)
    with job(tmp_path, "a", resume=True, seeds=5) as run:  # allowed by may_change
        assert run.resumed


def test_a_run_from_before_a_key_existed_resumes_with_the_key_s_default(tmp_path: Path) -> None:
    with job(tmp_path, "a"):
        pass
    config = yaml.safe_load((tmp_path / "job" / "a" / "config.yaml").read_text())
    del config["steps"]
    (tmp_path / "job" / "a" / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=r"^steps: .* was made with 3, now it is 4"):
        job(tmp_path, "a", resume=True, steps=4)
    with job(tmp_path, "a", resume=True) as run:
        assert run.resumed


def test_when_the_tracker_is_not_installed_expect_its_name_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingPackageError, match="wandb is not installed: pip install wandb"):
        Run.open("job", RunConfig(tmp_path), JobConfig(), logger=LoggerConfig(tracker="wandb"))
    assert list(tmp_path.iterdir()) == []


# E6 ------------------------------------------------------------------------------------------------------


def start_holder(folder: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_when_another_process_holds_the_run_expect_refusal_naming_it(tmp_path: Path) -> None:
    holder = start_holder(tmp_path)
    try:
        with (
            pytest.raises(RunLockedError, match=f"process {holder.pid} works in it"),
            directory_lock(tmp_path),
        ):
            pass
    finally:
        holder.kill()
        holder.communicate()


def test_when_the_holder_was_killed_expect_its_lock_taken_over(tmp_path: Path) -> None:
    holder = start_holder(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with directory_lock(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_when_the_same_process_opens_it_twice_expect_refusal(tmp_path: Path) -> None:
    with directory_lock(tmp_path), pytest.raises(RunLockedError), directory_lock(tmp_path):
        pass
    with directory_lock(tmp_path):
        pass


def test_when_a_killed_run_left_its_pid_behind_expect_no_false_refusal(tmp_path: Path) -> None:
    """In a container the next process often has the same number."""
    (tmp_path / ".lock").write_text(str(os.getpid()))
    with directory_lock(tmp_path):
        pass
