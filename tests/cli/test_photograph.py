"""`kalie photograph` keeps every photo, and goes on with those that are missing."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kalie.affordance.dataset import AffordanceDataset
from kalie.affordance.labels import LabelledImage
from kalie.cli import photograph
from kalie.cli.main import main
from kalie.perception.frame import RgbdFrame
from kalie.perception.segmentation import InstanceMask, Segmentation, TextPrompt
from kalie.perception.segmenters import GroundedSamConfig
from kalie.sim.annotate import Photographer


def command(folder: Path, *more: str) -> int:
    count = [] if any(item.startswith("count=") for item in more) else ["count=3"]
    return main(["photograph", "task=drawer", *count, f"run.outputs={folder}", "run.name=one", *more])


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


class OneMask:
    """Finds the left half of every picture; remembers what it looked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def segment(self, frame: RgbdFrame, prompts: Sequence[TextPrompt] = ()) -> Segmentation:
        self.asked.append([prompt.text for prompt in prompts])
        mask = np.zeros(frame.depth.shape, bool)
        height, width = frame.depth.shape
        mask[:, : width // 2] = True
        return Segmentation((InstanceMask(mask, 0.9),), height, width)


def test_the_chosen_segmenter_finds_the_masks_and_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder, built = OneMask(), []
    assert command(tmp_path / "tabletop", "count=1") == 0
    monkeypatch.setattr(photograph, "build_segmenter", lambda config: built.append(config) or finder)
    chosen = ["segmenter=grounded_sam", "segmenter.box_threshold=0.4", "names=[drawer]"]
    assert command(tmp_path / "named", "count=1", *chosen) == 0
    assert built == [GroundedSamConfig(box_threshold=0.4)]
    assert finder.asked == [["drawer"]]
    folders = [tmp_path / name / "photograph" / "one" / "photos" for name in ("tabletop", "named")]
    (plain,), (named,) = (AffordanceDataset.load(folder) for folder in folders)
    assert named.affordance == plain.affordance
    assert np.array_equal(named.rgb, plain.rgb)
    assert named.masks is not None
    assert named.masks[:, :128].all()
    assert plain.masks is not None
    assert not np.array_equal(named.masks, plain.masks)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["segmenter=grounded_sam"], "names: a value is required"),
        (["names=[drawer]"], "segmenter=tabletop finds every object and reads no names"),
        (["segmenter=segment_anything"], "segmenter.checkpoint: a value is required"),
        (
            ["segmenter=segment_anything", "segmenter.checkpoint=c", "names=[a]"],
            "segmenter.detector: a value is required",
        ),
    ],
)
def test_when_segmenter_and_names_do_not_fit_expect_the_key_and_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], named: str
) -> None:
    assert command(tmp_path / "out", *overrides) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
