"""`kalie convert`: KALIE's published labels become a data set, or nothing is written."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kalie.affordance.dataset import AffordanceDataset
from kalie.affordance.schema import Keypoint
from kalie.cli import convert
from kalie.cli.main import main
from kalie.perception.camera_files import save_intrinsics, save_transform
from kalie.perception.frame import Intrinsics, RgbdFrame
from kalie.perception.segmentation import InstanceMask, Segmentation, TextPrompt
from kalie.perception.segmenters import SEGMENTERS

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


def own(folder: Path, label: object = None, depth: np.ndarray | None = None) -> Path:
    """One photo of one's own with its label and, if given, its depth."""
    (folder / "photos").mkdir()
    Image.fromarray(np.full((8, 12, 3), 90, np.uint8)).save(folder / "photos" / "a.jpg")
    label = {"instruction": "go", "affordance": {"grasp": [0.5, 0.25]}} if label is None else label
    (folder / "photos" / "a.json").write_text(json.dumps(label))
    if depth is not None:
        np.save(folder / "photos" / "a.npy", depth)
    return folder / "photos"


def calibrated(folder: Path) -> str:
    (folder / "lens").mkdir()
    save_intrinsics(folder / "lens" / "intrinsics.json", Intrinsics(12, 8, 20.0, 20.0, 5.5, 3.5))
    save_transform(folder / "lens" / "extrinsics.json", "base_from_camera", np.eye(4))
    return f"calibration={folder / 'lens'}"


def test_a_folder_of_own_photos_becomes_a_data_set(tmp_path: Path) -> None:
    assert main(["convert", f"data={own(tmp_path)}", f"to={tmp_path / 'set'}"]) == 0
    (photo,) = AffordanceDataset.load(tmp_path / "set")
    assert (photo.id, photo.instruction, photo.affordance.grasp) == ("a", "go", Keypoint(0.5, 0.25))
    assert photo.provenance.parent == "a"
    assert photo.masks is None


class LeftHalf:
    """Sees the left half of the picture; remembers frames and prompts."""

    def __init__(self) -> None:
        self.seen: list[tuple[RgbdFrame, list[str]]] = []

    def segment(self, frame: RgbdFrame, prompts: Sequence[TextPrompt] = ()) -> Segmentation:
        self.seen.append((frame, [prompt.text for prompt in prompts]))
        mask = np.zeros(frame.depth.shape, bool)
        height, width = frame.depth.shape
        mask[:, : width // 2] = True
        return Segmentation((InstanceMask(mask, 0.9),), height, width)


@pytest.mark.parametrize(("segmenter", "names"), [("tabletop", []), ("grounded_sam", ["brush", "crumb"])])
def test_masks_of_own_photos_are_found_by_the_chosen_segmenter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segmenter: str, names: list[str]
) -> None:
    finder, built = LeftHalf(), []
    monkeypatch.setattr(convert, "build_segmenter", lambda config: built.append(config) or finder)
    depth = np.full((8, 12), 0.7, np.float32)
    needs = [calibrated(tmp_path)] if segmenter == "tabletop" else ["names=[brush,crumb]"]
    what = [f"data={own(tmp_path, depth=depth)}", f"to={tmp_path / 'set'}", f"segmenter={segmenter}"]
    assert main(["convert", *what, *needs]) == 0
    assert [type(config) for config in built] == [SEGMENTERS[segmenter]]
    ((frame, asked),) = finder.seen
    assert asked == names
    assert np.array_equal(frame.depth, depth) == (segmenter == "tabletop")  # a promptable one needs none
    (photo,) = AffordanceDataset.load(tmp_path / "set")
    assert photo.masks is not None
    assert photo.masks[:, :6].all()
    assert not photo.masks[:, 6:].any()


@pytest.mark.parametrize(
    ("label", "named"),
    [
        ("text", "a.json: expected an object with exactly the keys instruction, affordance"),
        ({"instruction": "go"}, "a.json: expected an object with exactly the keys"),
        ({"instruction": 3, "affordance": {}}, "a.json: expected a text as instruction"),
        ({"instruction": "go", "affordance": {"grasp": [1.5, 0]}}, "a.json: affordance: grasp"),
        ({"instruction": "go", "affordance": {"gras": [0.5, 0]}}, "a.json: affordance: unknown key 'gras'"),
    ],
)
def test_when_an_own_label_is_wrong_expect_its_file_and_no_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], label: object, named: str
) -> None:
    assert main(["convert", f"data={own(tmp_path, label)}", f"to={tmp_path / 'set'}"]) == 1
    assert named in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("depth", "named"),
    [
        (None, "a.jpg: has no depth (.npy) beside it"),
        (np.zeros((8, 12)), "a.jpg: depth: expected float32 (8, 12), got float64"),
        (np.zeros((9, 12), np.float32), "a.jpg: depth: expected float32 (8, 12), got float32 (9, 12)"),
        (np.full((8, 12), np.nan, np.float32), "a.jpg: "),
    ],
)
def test_when_own_depth_does_not_do_expect_the_photo_and_no_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], depth: np.ndarray | None, named: str
) -> None:
    what = [f"data={own(tmp_path, depth=depth)}", f"to={tmp_path / 'set'}", "segmenter=tabletop"]
    assert main(["convert", *what, calibrated(tmp_path)]) == 1
    assert named in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_when_the_label_or_the_photos_are_missing_expect_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = own(tmp_path)
    (photos / "a.json").unlink()
    assert main(["convert", f"data={photos}", f"to={tmp_path / 'set'}"]) == 1
    assert "a.jpg: has no label a.json beside it" in capsys.readouterr().err
    (photos / "a.jpg").unlink()
    assert main(["convert", f"data={photos}", f"to={tmp_path / 'set'}"]) == 1
    assert "photos: holds no photos" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "code", "named"),
    [
        (["segmenter=tabletop"], 2, "calibration: a value is required"),
        (["segmenter=grounded_sam", "calibration=lens"], 2, "calibration=lens is of segmenter=tabletop"),
        (["names=[brush]"], 2, "names=['brush'] is what a segmenter looks for"),
        (["segmenter=grounded_sam"], 1, "names: a value is required"),
        (["outside=absent"], 1, "outside=absent is of KALIE's JSON"),
    ],
)
def test_when_the_keys_of_own_photos_do_not_fit_expect_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], code: int, named: str
) -> None:
    assert main(["convert", f"data={own(tmp_path)}", f"to={tmp_path / 'set'}", *overrides]) == code
    assert named in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_published_photos_are_masked_by_the_names_they_come_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finder = LeftHalf()
    monkeypatch.setattr(convert, "build_segmenter", lambda _: finder)
    what = [f"data={published(tmp_path, (500, 500))}", f"to={tmp_path / 'set'}"]
    assert main(["convert", *what, "segmenter=grounded_sam", "names=[towel]"]) == 1
    assert "name their objects" in capsys.readouterr().err
    assert main(["convert", *what, "segmenter=grounded_sam"]) == 0
    assert [asked for _, asked in finder.seen] == [["brush"]]
    (photo,) = AffordanceDataset.load(tmp_path / "set")
    assert photo.masks is not None
    assert photo.masks[:, :4].all()


def test_when_the_data_set_exists_expect_refusal_before_any_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what = [f"data={published(tmp_path, (500, 500))}", f"to={tmp_path / 'set'}"]
    assert main(["convert", *what]) == 0
    assert main(["convert", *what, "segmenter=grounded_sam"]) == 1
    assert "set holds a data set already" in capsys.readouterr().err
