"""`kalie convert`: KALIE's published labels become a data set, or nothing is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kalie.affordance.dataset import AffordanceDataset
from kalie.affordance.schema import Keypoint
from kalie.cli.main import main

KEYS = ("Grasp Point", "Function Point", "Target Point", "Pre-contact Point", "Post-contact Point")


def published(folder: Path, target: tuple[int, int]) -> Path:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "a.png")
    points = {**{key: ["012", "999"] for key in KEYS}, "Target Point": target}
    entry = {"img": "a.png", "points": json.dumps(points), "other": {"task": "Sweep.", "objects": ["brush"]}}
    path = folder / "data_jsonformat.json"
    path.write_text(json.dumps({"entry_0": entry}))
    return path


def test_published_labels_become_a_data_set(tmp_path: Path) -> None:
    path = published(tmp_path, (500, 500))
    assert main(["convert", f"data={path}", f"to={tmp_path / 'set'}"]) == 0
    (photo,) = AffordanceDataset.load(tmp_path / "set")
    assert (photo.id, photo.instruction) == ("entry_0", "Sweep.")
    assert photo.affordance.target == Keypoint(0.5005, 0.5005)


def test_when_a_point_is_off_the_image_expect_its_name_and_no_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = published(tmp_path, (1004, 5))
    assert main(["convert", f"data={path}", f"to={tmp_path / 'set'}"]) == 1
    assert "entry_0: Target Point" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
    assert main(["convert", f"data={path}", f"to={tmp_path / 'set'}", "outside=absent"]) == 0
    assert AffordanceDataset.load(tmp_path / "set")[0].affordance.target is None
