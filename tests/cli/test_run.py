"""`kalie run`: an episode kept; on bad input one line, and what is found before any work leaves no run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kalie.cli import run
from kalie.cli.main import main
from kalie.sim.staging import StagingError


@pytest.mark.parametrize(
    ("override", "code", "named"),
    [
        ("seed=-1", 2, "seed=-1 must not be negative"),
        ("weights=gone", 1, "gone: no model here"),
        ("model=heatmap model.weights=gone", 1, "gone: no model here"),
        ("objects=gone", 1, "gone: expected a Python file or a folder"),
    ],
)
def test_when_an_input_is_wrong_expect_its_name_and_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, code: int, named: str
) -> None:
    assert main(["run", *override.split(), f"run.outputs={tmp_path / 'outputs'}"]) == code
    streams = capsys.readouterr()
    assert named in streams.err
    assert "Traceback" not in streams.err
    assert not (tmp_path / "outputs").exists()


def test_when_no_scene_can_be_staged_expect_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage(*_: object) -> None:
        raise StagingError("sweep, split test, seed 0: no usable scene: no room")

    monkeypatch.setattr(run, "stage", stage)
    assert main(["run", f"run.outputs={tmp_path}"]) == 1
    streams = capsys.readouterr()
    assert streams.err.endswith("kalie: run: sweep, split test, seed 0: no usable scene: no room\n")
    assert "Traceback" not in streams.err


def test_an_episode_with_true_keypoints_is_filmed_judged_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "task=drawer", "seed=1", f"run.outputs={tmp_path}", "run.name=one"]) == 0
    folder = tmp_path / "run" / "one"
    episode = json.loads((folder / "episode.json").read_text("utf-8"))
    assert episode["success"] is True
    assert episode["reason"] == ""
    assert episode["task"] == "drawer"
    assert episode["measures"]["opening"] < 0.01
    assert f"“{episode['instruction']}” — success" in " ".join(capsys.readouterr().out.split())
    (row,) = json.loads((folder / "summary.json").read_text("utf-8"))["rows"]
    assert (row["metric"], row["value"]) == ("success", 1.0)
    assert (folder / "report" / "index.html").read_text("utf-8").count("data:video/mp4") == 1
