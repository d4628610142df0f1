"""Calibration on photographs whose lens and poses are known: within 1 mm and 0.1 degree, or a refusal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kalie.perception.calibration import (
    Setup,
    calibrate_hand_eye,
    calibrate_intrinsics,
    pose_difference,
)
from kalie.perception.charuco import BoardView, CalibrationError, CharucoConfig, board_pose, detect
from kalie.perception.frame import FloatArray, Intrinsics

from .conftest import BOARD, LENS, Photographer, rigid, view_poses

MILLIMETRE, TENTH_DEGREE = 1e-3, np.radians(0.1)
CAMERA_ON_STAND = rigid([2.6, 0.1, -0.2], [0.6, 0.1, 0.9])  # base_from_camera
CAMERA_ON_HAND = rigid([0.05, -0.1, 1.5], [0.03, 0.05, 0.02])  # hand_from_camera
BOARD_ON_HAND = rigid([0.1, 3.0, 0.2], [-0.08, -0.12, 0.05])  # hand_from_board
BOARD_ON_TABLE = rigid([np.pi, 0.0, 0.3], [0.4, 0.1, 0.0])  # base_from_board


@pytest.fixture(scope="module")
def poses() -> list[FloatArray]:
    return view_poses(10)


@pytest.fixture(scope="module")
def views(photographer: Photographer, poses: list[FloatArray]) -> list[BoardView]:
    images = [photographer.photograph(LENS, pose) for pose in poses]
    return [detect(image, BOARD, f"{index}.png") for index, image in enumerate(images)]


def hand_poses(setup: Setup, camera_from_board: list[FloatArray]) -> list[FloatArray]:
    """The hand poses with which a robot with the true transforms would have seen the boards there."""
    if setup == "eye_to_hand":
        return [CAMERA_ON_STAND @ pose @ np.linalg.inv(BOARD_ON_HAND) for pose in camera_from_board]
    return [
        BOARD_ON_TABLE @ np.linalg.inv(pose) @ np.linalg.inv(CAMERA_ON_HAND) for pose in camera_from_board
    ]


def test_board_poses_are_within_a_millimetre_and_a_tenth_of_a_degree(
    views: list[BoardView], poses: list[FloatArray]
) -> None:
    for view, pose in zip(views, poses, strict=True):
        metres, radians = pose_difference(board_pose(view, LENS), pose)
        assert metres < MILLIMETRE
        assert radians < TENTH_DEGREE


def test_a_board_pose_without_distortion(photographer: Photographer, poses: list[FloatArray]) -> None:
    lens = replace(LENS, distortion=())
    view = detect(photographer.photograph(lens, poses[0]), BOARD, "plain.png")
    metres, radians = pose_difference(board_pose(view, lens), poses[0])
    assert metres < MILLIMETRE
    assert radians < TENTH_DEGREE


def test_intrinsics_are_recovered(views: list[BoardView]) -> None:
    result = calibrate_intrinsics(views)
    found = result.intrinsics
    assert result.rms < 0.2
    assert np.allclose([found.fx, found.fy], [LENS.fx, LENS.fy], rtol=3e-3)
    assert np.allclose([found.cx, found.cy], [LENS.cx, LENS.cy], atol=1.5)
    edge = np.array([[40.0, 40.0], [600.0, 440.0]])
    assert np.allclose(found.unproject(edge, np.ones(2)), LENS.unproject(edge, np.ones(2)), atol=5e-3)
    assert [residual.name for residual in result.residuals] == [view.name for view in views]


def test_a_lens_model_without_distortion_shows_in_the_residual(views: list[BoardView]) -> None:
    plain = calibrate_intrinsics(views, distortion_terms=0)
    assert plain.intrinsics.distortion == ()
    assert plain.rms > 3 * calibrate_intrinsics(views, distortion_terms=4).rms


@pytest.mark.parametrize("setup", ["eye_to_hand", "eye_in_hand"])
def test_hand_eye_is_within_a_millimetre_and_a_tenth_of_a_degree(
    views: list[BoardView], poses: list[FloatArray], setup: Setup
) -> None:
    result = calibrate_hand_eye(views, hand_poses(setup, poses), LENS, setup)
    camera = CAMERA_ON_STAND if setup == "eye_to_hand" else CAMERA_ON_HAND
    board = BOARD_ON_HAND if setup == "eye_to_hand" else BOARD_ON_TABLE
    for found, truth in ((result.parent_from_camera, camera), (result.carrier_from_board, board)):
        metres, radians = pose_difference(found, truth)
        assert metres < MILLIMETRE
        assert radians < TENTH_DEGREE
    assert result.rms < 0.2
    assert max(residual.metres for residual in result.residuals) < MILLIMETRE


def test_hand_eye_with_calibrated_intrinsics_is_within_two_millimetres(
    views: list[BoardView], poses: list[FloatArray]
) -> None:
    intrinsics = calibrate_intrinsics(views).intrinsics
    result = calibrate_hand_eye(views, hand_poses("eye_to_hand", poses), intrinsics, "eye_to_hand")
    metres, radians = pose_difference(result.parent_from_camera, CAMERA_ON_STAND)
    assert metres < 2 * MILLIMETRE
    assert radians < 3 * TENTH_DEGREE


def test_when_one_hand_pose_is_wrong_expect_it_named_by_its_residual(
    views: list[BoardView], poses: list[FloatArray]
) -> None:
    hands = hand_poses("eye_to_hand", poses)
    hands[4] = hands[4] @ rigid([0.0, 0.0, 0.1], [0.02, 0.0, 0.0])
    result = calibrate_hand_eye(views, hands, LENS, "eye_to_hand")
    worst = max(result.residuals, key=lambda residual: residual.pixels)
    assert worst.name == "4.png"
    metres, _ = pose_difference(result.parent_from_camera, CAMERA_ON_STAND)
    assert metres < 5 * MILLIMETRE


def test_when_the_hand_turns_about_one_axis_only_expect_a_refusal(views: list[BoardView]) -> None:
    hands = [rigid([0.0, 0.0, 0.2 * index], [0.4, 0.0, 0.3]) for index in range(len(views))]
    with pytest.raises(CalibrationError, match="two axes at least"):
        calibrate_hand_eye(views, hands, LENS, "eye_to_hand")


def test_when_there_are_too_few_views_expect_them_listed(views: list[BoardView]) -> None:
    with pytest.raises(CalibrationError, match=r"need 3 views .*, got 2 \(0.png, 1.png\)"):
        calibrate_intrinsics(views[:2])
    with pytest.raises(CalibrationError, match="got 0"):
        calibrate_hand_eye([], [], LENS, "eye_to_hand")


def test_when_image_sizes_differ_expect_the_view_named(views: list[BoardView]) -> None:
    odd = [*views[:4], replace(views[4], width=1280, height=960)]
    with pytest.raises(CalibrationError, match=r"4.png: the image is 1280x960, 0.png is 640x480"):
        calibrate_intrinsics(odd)
    small = Intrinsics(320, 240, 300.0, 300.0, 160.0, 120.0)
    with pytest.raises(CalibrationError, match=r"0.png: the image is 640x480, the intrinsics are of 320x240"):
        calibrate_hand_eye(views, [np.eye(4)] * len(views), small, "eye_to_hand")


def test_when_the_views_are_too_alike_expect_a_refusal(photographer: Photographer) -> None:
    flat = rigid([0, 0, 0], [-BOARD.columns * BOARD.square / 2, -BOARD.rows * BOARD.square / 2, 0.45])
    view = detect(photographer.photograph(LENS, flat), BOARD, "flat.png")
    rng = np.random.default_rng(0)
    same = [replace(view, pixels=view.pixels + rng.normal(0, 0.2, view.pixels.shape)) for _ in range(4)]
    with pytest.raises(CalibrationError, match="tilt the board more"):
        calibrate_intrinsics(same)


def test_when_no_board_is_in_the_image_expect_the_image_named() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    with pytest.raises(CalibrationError, match=r"empty.png: 0 of the board's 104 corners seen"):
        detect(noise, BOARD, "empty.png")


def test_when_another_board_is_shown_expect_a_refusal(
    photographer: Photographer, poses: list[FloatArray]
) -> None:
    other = replace(BOARD, dictionary="DICT_4X4_100")
    with pytest.raises(CalibrationError, match="DICT_4X4_100"):
        detect(photographer.photograph(LENS, poses[0]), other, "other.png")


def test_a_partly_hidden_board_is_used(photographer: Photographer, poses: list[FloatArray]) -> None:
    image = photographer.photograph(LENS, poses[0])
    image[:, :300] = 128
    view = detect(image, BOARD, "half.png")
    assert 8 <= len(view.ids) < 104
    metres, _ = pose_difference(board_pose(view, LENS), poses[0])
    assert metres < MILLIMETRE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": 2}, "must be at least 3"),
        ({"marker": 0.02}, "must be below square"),
        ({"columns": 20, "rows": 20}, "has 100 markers, the board needs 200"),
    ],
)
def test_when_a_board_cannot_exist_expect_a_refusal(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CharucoConfig(), **change)
