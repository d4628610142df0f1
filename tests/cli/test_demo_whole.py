"""`kalie demo`, as small as it can be: everything that a user is promised is there when it ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kalie.affordance.heatmap import HeatmapKeypointModel
from kalie.cli.main import main

ARMS = {"zero_shot", "photos_augmented", "full", "full_1", "oracle"}
TINY = (
    "task=drawer",
    "budget.photos=2",
    "budget.images=4",
    "budget.finetune.training.steps=2",
    "budget.finetune.training.batch_size=2",
    "episodes=1",
    "workers=1",
    "run.name=tiny",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outputs = tmp_path_factory.mktemp("outputs")
    assert main(["demo", *TINY, f"run.outputs={outputs}"]) == 0
    return outputs / "demo" / "tiny"


def test_every_arm_is_scored_with_an_interval(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["status"] == "finished"
    assert summary["seeds"] == [0]
    rows = [row for row in summary["rows"] if row["metric"] == "success" and row["task"] == "drawer"]
    assert {row["arm"] for row in rows} == ARMS
    for row in rows:
        assert row["n"] == 1
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    (oracle,) = (row for row in rows if row["arm"] == "oracle")
    assert oracle["value"] == 1


def test_the_report_shows_pictures_videos_the_table_time_and_memory(folder: Path) -> None:
    page = (folder / "report" / "index.html").read_text("utf-8")
    assert page.count("data:video/mp4") == len(ARMS)
    # Two photos, at least one pair of a photo and its child, and every arm's answer to the scene.
    assert page.count("data:image/jpeg") >= 2 + 2 + len(ARMS)
    assert "<svg" in page
    for arm in ARMS:
        assert arm in page
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert {"photograph", "running the arm"} <= {stage["name"] for stage in summary["stages"]}
    for stage in summary["stages"]:
        assert stage["name"] in page
        assert stage["seconds"] > 0
        assert stage["peak_bytes"] > 0


def test_the_tuned_models_are_kept_and_answer(folder: Path) -> None:
    base = HeatmapKeypointModel.load()
    for arm in ARMS - {"zero_shot", "oracle"}:
        tuned = HeatmapKeypointModel.load(folder / "models" / arm)
        assert any((a != b).any() for a, b in zip(tuned.parameters(), base.parameters(), strict=True))
        (answer,) = tuned.predict([np.zeros((64, 64, 3), np.uint8)], ["close the left drawer"])
        assert answer.valid
