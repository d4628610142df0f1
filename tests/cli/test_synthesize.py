"""`kalie synthesize`: from a data set of photos to a data set of photos and children, resumable."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from kalie.affordance.dataset import AffordanceDataset
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance, Keypoint
from kalie.cli.main import main
from kalie.cli.synthesize import VERB


def photo(index: int) -> LabelledImage:
    """A red bar and a blue disc on a grey table."""
    rgb, masks = np.full((96, 96, 3), 150, np.uint8), np.zeros((96, 96), np.uint8)
    for image, bar, disc in ((rgb, (200, 30, 30), (30, 40, 190)), (masks, 1, 2)):
        cv2.rectangle(image, (16, 40 + index), (44, 48 + index), bar, -1)
        cv2.circle(image, (68, 40), 7, disc, -1)
    affordance = Affordance(
        grasp=Keypoint(0.25, (44.5 + index) / 96), target=Keypoint(0.71, 0.42), pre_contact=Keypoint(0.6, 0.6)
    )
    name = f"shot{index}"
    return LabelledImage(name, rgb, "push the disc", affordance, Provenance("photo", name), masks)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    AffordanceDataset((photo(0), photo(1))).save(tmp_path / "photos")
    return tmp_path / "photos"


def command(photos: Path, *more: str) -> int:
    outputs = f"run.outputs={photos.parent / 'out'}"
    return main(["synthesize", f"photos={photos}", outputs, "run.name=one", "count=4", *more])


def test_a_run_leaves_a_data_set_a_working_folder_and_a_summary(photos: Path) -> None:
    assert command(photos) == 0
    run = photos.parent / "out" / "synthesize" / "one"
    data = AffordanceDataset.load(run / "dataset")
    assert [item.provenance.source for item in data] == ["photo"] * 2 + ["synthetic"] * 4
    assert len(list((run / "images").glob("shot*.json"))) == 4
    rows = json.loads((run / "summary.json").read_text())["rows"]
    assert {"metric": "images", "value": 4}.items() <= rows[0].items()


def test_an_interrupted_run_resumes_with_the_images_it_has(photos: Path) -> None:
    assert command(photos) == 0
    run = photos.parent / "out" / "synthesize" / "one"
    before = {path: path.stat().st_mtime_ns for path in (run / "images").glob("shot*.png")}
    for path in (run / "dataset").iterdir():
        path.unlink()
    assert command(photos, "run.resume=true") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(AffordanceDataset.load(run / "dataset")) == 6


def test_task_decides_the_binding_and_groups_choose_helpers() -> None:
    schema = VERB.schema("synthesize")
    config = schema.compose(["photos=x", "repainter=diffusion", "repainter.steps=7", "judge=chat",
                             "judge.url=http://localhost/v1", "judge.model=m"])  # fmt: skip
    assert config.repainter.steps == 7
    assert config.judge.model == "m"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("task=swep", "sweep"),
        ("repainter=painter", "repainter"),
        ("count=0", "count"),
        ("seed=-1", "seed"),
        ("compose.transform.scale=[0,1]", "scale"),
        ("judge=chat", "judge.url"),
    ],
)
def test_when_a_key_is_wrong_expect_its_name_and_no_run(
    photos: Path, capsys: pytest.CaptureFixture[str], override: str, named: str
) -> None:
    assert command(photos, override) == 2
    assert named in capsys.readouterr().err
    assert not (photos.parent / "out").exists()
