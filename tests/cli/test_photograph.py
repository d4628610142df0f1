"""`kalie photograph` keeps every photo, and goes on with those that are missing."""

import json
from pathlib import Path

import numpy as np
import pytest

from kalie.affordance.dataset import AffordanceDataset
from kalie.affordance.labels import LabelledImage
from kalie.cli.main import main
from kalie.sim.annotate import Photographer


def command(folder: Path, *more: str) -> int:
    return main(["photograph", "task=drawer", "count=3", f"run.outputs={folder}", "run.name=one", *more])


def test_a_run_cut_off_keeps_its_photos_and_resumes_to_the_same_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(tmp_path / "whole") == 0
    take = Photographer.photo

    def interrupted(self: Photographer, index: int, seed: int) -> LabelledImage:
        if index == 2:
            raise KeyboardInterrupt
        return take(self, index, seed)

    with monkeypatch.context() as patch:
        patch.setattr(Photographer, "photo", interrupted)
        assert command(tmp_path / "cut") == 130
    folder = tmp_path / "cut" / "photograph" / "one" / "photos"
    assert len(AffordanceDataset.load(folder, allow_partial=True)) == 2
    assert command(tmp_path / "cut", "run.resume=true") == 0
    whole = AffordanceDataset.load(tmp_path / "whole" / "photograph" / "one" / "photos")
    for one, other in zip(whole, AffordanceDataset.load(folder), strict=True):
        assert (one.id, one.affordance, one.provenance) == (other.id, other.affordance, other.provenance)
        assert np.array_equal(one.rgb, other.rgb)


def test_a_finished_run_resumed_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(tmp_path) == 0
    run = tmp_path / "photograph" / "one"
    before = {path: path.read_bytes() for path in (run / "photos").iterdir()}
    rows = json.loads((run / "summary.json").read_text())["rows"]
    monkeypatch.setattr(Photographer, "photo", None)
    assert command(tmp_path, "run.resume=true") == 0
    assert {path: path.read_bytes() for path in (run / "photos").iterdir()} == before
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["rows"]) == ("finished", rows)


@pytest.mark.parametrize("override", ["seed=-1", "count=0"])
def test_when_a_key_is_wrong_expect_its_name_and_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    assert command(tmp_path / "out", override) == 2
    assert override in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_when_the_objects_are_not_there_expect_their_name_and_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path / "out", f"objects={tmp_path / 'gone'}") == 1
    assert "gone: expected a Python file or a folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
