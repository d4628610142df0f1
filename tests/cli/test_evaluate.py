"""`kalie evaluate`: every answer counted and kept, numbers with intervals, a report with pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kalie.affordance.dataset import AffordanceDataset, DatasetWriter
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.metrics import WORST
from kalie.affordance.model import Prediction
from kalie.affordance.schema import Affordance, Keypoint
from kalie.cli import evaluate
from kalie.cli.evaluate import shown
from kalie.cli.main import main


def photo(index: int) -> LabelledImage:
    """An object in the middle, grasped there; a free point below."""
    masks = np.zeros((20, 20), np.uint8)
    masks[8:12, 8:12] = 1
    label = Affordance(grasp=Keypoint(0.5, 0.5), pre_contact=Keypoint(0.5, 0.9))
    rgb = np.full((20, 20, 3), index, np.uint8)
    return LabelledImage(f"p{index}", rgb, "take it", label, Provenance("photo", f"p{index}"), masks)


def right_by(offset: float) -> Prediction:
    return Prediction(
        Affordance(grasp=Keypoint(0.5 + offset, 0.5), pre_contact=Keypoint(0.5 + offset, 0.9)),
        {"grasp": 0.7, "pre_contact": 0.5},
    )


class Scripted:
    """Answers a picture by its brightness; remembers what it was asked."""

    def __init__(self, answers: Sequence[Prediction]) -> None:
        self.answers, self.asked = answers, []

    def predict(self, images: Sequence[np.ndarray], instructions: Sequence[str]) -> list[Prediction]:
        assert len(images) == len(instructions)
        self.asked += [int(image[0, 0, 0]) for image in images]
        return [self.answers[int(image[0, 0, 0])] for image in images]


ANSWERS = [
    right_by(0.0),
    right_by(0.03),
    right_by(0.15),
    Prediction(None, error="not JSON", text="I think <b>"),
]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    AffordanceDataset(tuple(photo(index) for index in range(4))).save(tmp_path / "data")
    scripted = Scripted(ANSWERS)
    monkeypatch.setattr(evaluate, "build_model", lambda *_: scripted)
    return scripted


def command(folder: Path, *more: str, data: str = "data") -> int:
    return main(["evaluate", f"data={folder / data}", f"run.outputs={folder}", "run.name=one", *more])


def test_numbers_are_those_counted_by_hand(tmp_path: Path, model: Scripted) -> None:
    assert command(tmp_path) == 0
    found = json.loads((tmp_path / "evaluate" / "one" / "summary.json").read_text())["rows"]
    rows = {(row["metric"], row.get("keypoint", "")): row for row in found}
    grasp = {name: rows[name, "grasp"] for name, keypoint in rows if keypoint == "grasp"}
    assert [grasp[f"pck_{level}"]["value"] for level in ("0.02", "0.05", "0.10")] == [0.25, 0.5, 0.5]
    assert grasp["mean_error_thousandths"]["value"] == pytest.approx(1000 * (0.03 + 0.15 + WORST) / 4)
    assert grasp["median_error_thousandths"]["value"] == pytest.approx(90)
    assert (grasp["on_part"]["value"], grasp["on_part"]["n"]) == (0.5, 4)
    assert ("on_part", "pre_contact") not in rows  # it lies on no object
    assert rows["invalid", "all"]["value"] == 0.25
    assert rows["pck_0.05", "all"]["value"] == 0.5
    assert rows["all_within_10", "all"]["value"] == 0.5
    assert ("pck_0.05", "target") not in rows  # no label has it
    for row in found:
        if row["metric"] not in ("median_error_thousandths", "presence"):
            assert row["low"] <= row["value"] <= row["high"]
            assert row["high"] - row["low"] > 0.05


def test_the_report_shows_the_worst_answers_and_why_some_are_none(tmp_path: Path, model: Scripted) -> None:
    assert command(tmp_path) == 0
    page = (tmp_path / "evaluate" / "one" / "report" / "index.html").read_text()
    assert "not JSON" in page
    assert "I think &lt;b&gt;" in page
    assert page.count("data:image/jpeg") == 8
    samples = [photo(index) for index in range(4)]
    assert shown(ANSWERS, samples) == [3, 2, 1, 0]
    many = shown([right_by(index / 100) for index in range(40)], [photo(0)] * 40)
    assert len(many) == len(set(many)) == evaluate.SHOWN
    assert many[:6] == [39, 38, 37, 36, 35, 34]
    assert many[-1] == 0


def test_a_run_cut_off_keeps_its_answers_and_asks_for_the_missing_ones(
    tmp_path: Path, model: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "CHUNK", 2)
    model.answers = ANSWERS[:2]
    with pytest.raises(IndexError):
        command(tmp_path)
    model.answers = ANSWERS
    model.asked.clear()
    assert command(tmp_path, "run.resume=true") == 0
    assert model.asked == [2, 3]
    kept = json.loads((tmp_path / "evaluate" / "one" / "answers" / "p1.json").read_text())
    assert Prediction.from_json(kept) == ANSWERS[1]


def test_when_the_data_set_is_cut_off_expect_its_name_and_the_way_on(
    tmp_path: Path, model: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = DatasetWriter(tmp_path / "cut", shard_size=1)
    writer.extend([photo(0), photo(1)])
    assert command(tmp_path, data="cut") == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "cut off mid-write" in error
    assert "2 finished shards (allow_partial=true)" in error
    assert not (tmp_path / "evaluate").exists()
    assert command(tmp_path, "allow_partial=true", data="cut") == 0
    assert sorted(model.asked) == [0, 1]


def test_when_there_are_no_images_expect_one_line(
    tmp_path: Path, model: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    AffordanceDataset(()).save(tmp_path / "none")
    assert command(tmp_path, data="none") == 1
    assert "none: no labelled images" in capsys.readouterr().err


def test_images_without_masks_have_no_right_part(tmp_path: Path, model: Scripted) -> None:
    bare = AffordanceDataset(tuple(replace(photo(index), masks=None) for index in range(4)))
    bare.save(tmp_path / "bare")
    assert command(tmp_path, data="bare") == 0
    rows = json.loads((tmp_path / "evaluate" / "one" / "summary.json").read_text())["rows"]
    assert "on_part" not in {row["metric"] for row in rows}
