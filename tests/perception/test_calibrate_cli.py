"""`kalie calibrate`: photos and poses in, files and a report out; wrong input is named, nothing is left."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from kalie.cli.main import main
from kalie.perception.calibration import pose_difference
from kalie.perception.camera_files import load_intrinsics, load_transform, read_image, save_intrinsics
from kalie.perception.charuco import CharucoConfig, detect

from .conftest import LENS, Photographer, rigid, view_poses

CAMERA = rigid([2.6, 0.1, -0.2], [0.6, 0.1, 0.9])
BOARD_ON_HAND = rigid([0.1, 3.0, 0.2], [-0.08, -0.12, 0.05])


@pytest.fixture(scope="module")
def session(photographer: Photographer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("session")
    views = []
    for index, pose in enumerate(view_poses(8)):
        cv2.imwrite(str(folder / f"{index}.png"), photographer.photograph(LENS, pose))
        hand = CAMERA @ pose @ np.linalg.inv(BOARD_ON_HAND)
        views.append({"image": f"{index}.png", "base_from_hand": hand.tolist()})
    (folder / "session.json").write_text(json.dumps({"views": views}))
    return folder / "session.json"


def test_files_report_and_summary_are_written(session: Path, tmp_path: Path) -> None:
    save_intrinsics(tmp_path / "known.json", LENS)
    run = [f"run.outputs={tmp_path}", "run.name=one", f"intrinsics={tmp_path / 'known.json'}"]
    assert main(["calibrate", f"session={session}", *run]) == 0
    folder = tmp_path / "calibrate" / "one"
    metres, radians = pose_difference(load_transform(folder / "extrinsics.json", "base_from_camera"), CAMERA)
    assert metres < 1e-3
    assert radians < np.radians(0.1)
    assert load_intrinsics(folder / "intrinsics.json") == LENS
    page = (folder / "report" / "index.html").read_text()
    assert page.count("data:image/jpeg") == 8
    assert "distance (mm)" in page
    rows = json.loads((folder / "summary.json").read_text())["rows"]
    assert {row["metric"] for row in rows} == {"hand_eye_rms_pixels", "hand_eye_worst_view_metres"}
    assert len(json.loads((folder / "residuals.json").read_text())["views"]) == 8


def test_intrinsics_alone_need_no_hand_poses(session: Path, tmp_path: Path) -> None:
    views = [{"image": f"{index}.png"} for index in range(8)]
    plain = session.with_name("plain.json")
    plain.write_text(json.dumps({"views": views}))
    run = [f"run.outputs={tmp_path}", "run.name=one", "setup=intrinsics"]
    assert main(["calibrate", f"session={plain}", *run]) == 0
    found = load_intrinsics(tmp_path / "calibrate" / "one" / "intrinsics.json")
    assert found.fx == pytest.approx(LENS.fx, rel=5e-3)
    assert not (tmp_path / "calibrate" / "one" / "extrinsics.json").exists()


def test_the_drawn_board_prints_at_its_size_and_is_found_whole(tmp_path: Path) -> None:
    path, board = tmp_path / "new" / "board.png", CharucoConfig(columns=5, rows=7, square=0.03, marker=0.022)
    keys = ["board.columns=5", "board.rows=7", "board.square=0.03", "board.marker=0.022", "dpi=200"]
    assert main(["calibrate", f"draw={path}", *keys]) == 0
    with Image.open(path) as picture:
        inches = [size / dots for size, dots in zip(picture.size, picture.info["dpi"], strict=True)]
        assert picture.info["dpi"][0] == pytest.approx(200, rel=0.01)
    assert [0.0254 * side for side in inches] == pytest.approx([5 * 0.03, 7 * 0.03], rel=1e-4)
    # Paper is white around it.
    view = detect(np.pad(read_image(path), ((40, 40), (40, 40), (0, 0)), constant_values=255), board, "board")
    assert len(view.ids) == 4 * 6
    metres_per_pixel = 0.0254 * inches[0] / picture.size[0]
    steps = np.diff(view.pixels[np.argsort(view.ids)][:4, 0]) * metres_per_pixel
    assert steps == pytest.approx(0.03, rel=1e-3)


def test_the_drawn_page_has_the_size_of_the_board(tmp_path: Path) -> None:
    assert main(["calibrate", f"draw={tmp_path / 'board.pdf'}", "dpi=100"]) == 0
    page = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", (tmp_path / "board.pdf").read_bytes())
    assert page is not None
    assert [float(side) / 72 * 25.4 for side in page.groups()] == pytest.approx([180, 280], abs=0.01)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ([], "session: pass session=FILE to calibrate, or draw=FILE"),
        (["session=a.json", "draw=b.png"], "session: pass session=FILE to calibrate, or draw=FILE"),
        (["draw=board.jpg"], "draw=board.jpg: must end in .png or .pdf"),
        (["draw=board.png", "dpi=20"], "dpi=20 must lie between 72 and 1200"),
    ],
)
def test_when_what_to_do_is_unclear_expect_the_key_named(
    keys: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", *keys]) == 2
    assert named in capsys.readouterr().err


def test_when_hand_poses_are_missing_expect_the_view_named(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = session.with_name("bare.json")
    bare.write_text(json.dumps({"views": [{"image": "0.png"}]}))
    assert main(["calibrate", f"session={bare}", f"run.outputs={tmp_path}"]) == 1
    assert "bare.json: views[0].base_from_hand: missing" in capsys.readouterr().err
    assert not (tmp_path / "calibrate").exists()


def test_when_an_image_shows_no_board_expect_it_named_and_nothing_written(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(session.with_name("grey.png")), np.full((480, 640), 128, np.uint8))
    blank = session.with_name("blank.json")
    blank.write_text(json.dumps({"views": [{"image": "0.png"}, {"image": "grey.png"}]}))
    assert main(["calibrate", f"session={blank}", "setup=intrinsics", f"run.outputs={tmp_path}"]) == 1
    assert "grey.png: 0 of the board's 104 corners seen" in capsys.readouterr().err
    assert not (tmp_path / "calibrate").exists()


def test_when_the_session_is_missing_expect_it_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", f"session={tmp_path / 'none.json'}"]) == 1
    assert "none.json: no such file" in capsys.readouterr().err


def test_when_keys_contradict_expect_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "session=a.json", "setup=intrinsics", "intrinsics=b.json"]) == 2
    assert "leave intrinsics=null" in capsys.readouterr().err
