"""Calibration files: exact round trips, and errors that name the file and the key."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from kalie.perception.camera_files import (
    load_intrinsics,
    load_transform,
    read_image,
    read_session,
    save_intrinsics,
    save_transform,
)
from kalie.perception.charuco import CalibrationError

from .conftest import LENS, rigid


def written(folder: Path, value: object) -> Path:
    path = folder / "session.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_intrinsics_round_trip_exactly(tmp_path: Path) -> None:
    save_intrinsics(tmp_path / "intrinsics.json", LENS)
    assert load_intrinsics(tmp_path / "intrinsics.json") == LENS


def test_transforms_round_trip_exactly(tmp_path: Path) -> None:
    pose = rigid([0.3, -0.2, 1.0], [0.5, 0.1, 0.9])
    save_transform(tmp_path / "camera.json", "base_from_camera", pose)
    assert np.array_equal(load_transform(tmp_path / "camera.json", "base_from_camera"), pose)


def test_a_session_gives_images_and_poses(tmp_path: Path) -> None:
    pose = rigid([0.3, -0.2, 1.0], [0.5, 0.1, 0.9])
    path = written(
        tmp_path, {"views": [{"image": "a.png", "base_from_hand": pose.tolist()}, {"image": "b.png"}]}
    )
    first, second = read_session(path)
    assert first.image == tmp_path / "a.png"
    assert np.array_equal(np.asarray(first.base_from_hand), pose)
    assert second.base_from_hand is None


def test_images_are_read_as_rgb(tmp_path: Path) -> None:
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 2] = 200  # OpenCV writes BGR.
    cv2.imwrite(str(tmp_path / "red.png"), red)
    assert read_image(tmp_path / "red.png")[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected a JSON object"),
        ({}, "views: expected a list"),
        ({"views": []}, "views: expected a list"),
        ({"views": [{"image": 3}]}, r"views\[0\].image: expected a file name"),
        ({"views": [{"image": "a.png", "pose": []}]}, r"views\[0\].pose: no such key"),
        ({"views": [{"image": "a.png", "base_from_hand": [[1, 0], [0, 1]]}]}, "4 rows of 4 numbers"),
        ({"views": [{"image": "a.png", "base_from_hand": [["1", 0, 0, 0]] * 4}]}, "4 rows of 4 numbers"),
        ({"views": [{"image": "a.png", "base_from_hand": [[0, 0, 0, 0]] * 4}]}, "not a rigid transform"),
        (
            {"views": [{"image": "a.png", "base_from_hand": (2 * np.eye(4)).tolist()}]},
            "not a rigid transform",
        ),
    ],
)
def test_when_a_session_file_is_wrong_expect_file_and_key_named(
    tmp_path: Path, content: object, message: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(CalibrationError, match=message) as caught:
        read_session(path)
    assert str(path) in str(caught.value)


def test_when_a_pose_is_mirrored_expect_a_refusal(tmp_path: Path) -> None:
    mirrored = np.diag([1.0, 1.0, -1.0, 1.0]).tolist()
    path = written(tmp_path, {"views": [{"image": "a.png", "base_from_hand": mirrored}]})
    with pytest.raises(CalibrationError, match="not a rigid transform"):
        read_session(path)


def test_when_an_image_path_leaves_the_session_folder_expect_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave the folder"):
        read_session(written(tmp_path, {"views": [{"image": "../secret.png"}]}))


def test_when_the_file_is_missing_expect_it_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"none.json: no such file"):
        read_session(tmp_path / "none.json")
    with pytest.raises(CalibrationError, match=r"none.png: no such image"):
        read_image(tmp_path / "none.png")


def test_when_an_image_is_damaged_expect_it_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(CalibrationError, match=r"bad.png: not an image"):
        read_image(tmp_path / "bad.png")


def test_when_a_header_promises_a_monstrous_image_expect_it_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "huge.bmp"), np.zeros((8, 8, 3), np.uint8))
    data = bytearray((tmp_path / "huge.bmp").read_bytes())
    data[18:26] = struct.pack("<ii", 2**20 + 1, 2**20 + 1)
    (tmp_path / "huge.bmp").write_bytes(data)
    with pytest.raises(CalibrationError, match=r"huge.bmp: not an image"):
        read_image(tmp_path / "huge.bmp")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("fx", "600", "fx: expected a number"),
        ("fx", -1.0, "fx, fy must be positive"),
        ("width", 640.5, "whole numbers"),
        ("distortion", 0.1, "distortion: expected a list"),
        ("distortion", [0.1, 0.2], "0, 4, 5 or 8 numbers"),
    ],
)
def test_when_intrinsics_are_wrong_expect_file_and_key_named(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    save_intrinsics(tmp_path / "intrinsics.json", LENS)
    data = json.loads((tmp_path / "intrinsics.json").read_text())
    path = written(tmp_path, {**data, key: value})
    with pytest.raises(CalibrationError, match=message) as caught:
        load_intrinsics(path)
    assert str(path) in str(caught.value)


def test_when_the_wrong_transform_is_in_the_file_expect_what_it_holds(tmp_path: Path) -> None:
    save_transform(tmp_path / "camera.json", "hand_from_camera", np.eye(4))
    with pytest.raises(CalibrationError, match="base_from_camera: missing; the file holds hand_from_camera"):
        load_transform(tmp_path / "camera.json", "base_from_camera")
