"""Camera calibration: intrinsics from ChArUco views, and the camera's place on or beside the robot.

Hand-eye calibration solves `AX = ZB` for all views at once (Shah, 2013, as in OpenCV) and then refines both
unknown transforms by minimising the reprojection error of every corner, robustly, so that a bad view does not
pull the answer and shows in its residual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from .charuco import BoardView, CalibrationError, board_pose, check_size, reprojection
from .frame import FloatArray, Intrinsics

Setup = Literal["eye_to_hand", "eye_in_hand"]
DistortionTerms = Literal[0, 4, 5]
LEAST_VIEWS = 3
# Boards less tilted to each other leave the focal length open (Zhang, 2000, section 4).
LEAST_TILT = np.radians(5.0)
# A hand that turns less, or about one axis only, leaves the camera's place on it open.
LEAST_TURN = np.radians(5.0)


@dataclass(frozen=True)
class ViewResidual:
    """How well one view agrees with the calibration.

    Attributes:
        name: of the image.
        pixels: root mean square reprojection error of its corners.
        metres: distance of the board from where the calibration expects it (hand-eye only).
        radians: its turn from there (hand-eye only).
    """

    name: str
    pixels: float
    metres: float = 0.0
    radians: float = 0.0


@dataclass(frozen=True)
class IntrinsicsResult:
    """Calibrated intrinsics.

    Attributes:
        intrinsics: of the images' size.
        rms: root mean square reprojection error, pixels.
        focal_deviation: standard deviation of fx and fy, pixels; large when the views are too alike.
        residuals: one per view.
    """

    intrinsics: Intrinsics
    rms: float
    focal_deviation: tuple[float, float]
    residuals: tuple[ViewResidual, ...]


@dataclass(frozen=True)
class HandEyeResult:
    """Where the camera is.

    Attributes:
        setup: eye_to_hand (the camera stands, the hand holds the board) or eye_in_hand (the reverse).
        parent_from_camera: (4, 4), the parent being the robot base (eye_to_hand) or the hand (eye_in_hand).
        carrier_from_board: (4, 4), the carrier being the hand (eye_to_hand) or the robot base (eye_in_hand).
        rms: root mean square reprojection error, pixels.
        residuals: one per view.
    """

    setup: Setup
    parent_from_camera: FloatArray
    carrier_from_board: FloatArray
    rms: float
    residuals: tuple[ViewResidual, ...]

    @property
    def parent_from_camera_name(self) -> str:
        """What `parent_from_camera` is called in files: "base_from_camera" or "hand_from_camera"."""
        return "base_from_camera" if self.setup == "eye_to_hand" else "hand_from_camera"

    def camera_from_board(self, base_from_hand: Sequence[FloatArray]) -> list[FloatArray]:
        """Where each view's board is, by the calibration and the hand pose: (4, 4) each."""
        camera_from_parent = _inverse(self.parent_from_camera)
        carriers = [_parent_from_carrier(pose, self.setup) for pose in base_from_hand]
        return [camera_from_parent @ pose @ self.carrier_from_board for pose in carriers]


def calibrate_intrinsics(
    views: Sequence[BoardView], distortion_terms: DistortionTerms = 5
) -> IntrinsicsResult:
    """Intrinsics from views of one board (Zhang, 2000, as in OpenCV).

    Args:
        views: at least 3, of one image size, with the board tilted differently.
        distortion_terms: how many coefficients (k1, k2, p1, p2[, k3]) are estimated.

    Raises:
        CalibrationError: the views are too few or too alike, or one (named) differs in size.
    """
    _check_count(views)
    first = views[0]
    for view in views[1:]:
        if (view.width, view.height) != (first.width, first.height):
            sizes = f"{view.width}x{view.height}, {first.name} is {first.width}x{first.height}"
            raise CalibrationError(f"{view.name}: the image is {sizes}; calibrate one size at a time")
    points = [view.points.astype(np.float32) for view in views]
    pixels = [view.pixels.astype(np.float32) for view in views]
    size = (first.width, first.height)
    rms, matrix, distortion, turns, _, deviations, _, errors = cv2.calibrateCameraExtended(
        points, pixels, size, np.eye(3), np.zeros(5), flags=_flags(distortion_terms)
    )
    _check_tilts(np.array(turns, dtype=np.float64).reshape(-1, 3))
    intrinsics = Intrinsics(
        *size,
        fx=float(matrix[0, 0]),
        fy=float(matrix[1, 1]),
        cx=float(matrix[0, 2]),
        cy=float(matrix[1, 2]),
        distortion=tuple(float(value) for value in distortion.reshape(-1)[:distortion_terms]),
    )
    residuals = [ViewResidual(view.name, float(e)) for view, e in zip(views, errors.reshape(-1), strict=True)]
    focal_deviation = (float(deviations[0, 0]), float(deviations[1, 0]))
    return IntrinsicsResult(intrinsics, float(rms), focal_deviation, tuple(residuals))


def calibrate_hand_eye(
    views: Sequence[BoardView], base_from_hand: Sequence[FloatArray], intrinsics: Intrinsics, setup: Setup
) -> HandEyeResult:
    """Where the camera is, from views of a board and the robot's hand poses.

    Args:
        views: at least 3.
        base_from_hand: (4, 4) per view, from the robot's forward kinematics.
        intrinsics: of the images.
        setup: eye_to_hand (camera fixed, board on the hand) or eye_in_hand (camera on the hand, board fixed).

    Raises:
        CalibrationError: too few views, sizes that differ, or a hand that turned about one axis only.
    """
    _check_count(views)
    for view in views:
        check_size(view, intrinsics)
    _check_turns(base_from_hand)
    boards = [board_pose(view, intrinsics) for view in views]
    # Both setups are one problem, for every view:
    # camera_from_board = camera_from_parent @ parent_from_carrier @ carrier_from_board.
    parent_from_carrier = [_parent_from_carrier(pose, setup) for pose in base_from_hand]
    start = _robot_world_hand_eye(boards, parent_from_carrier)
    camera_from_parent, carrier_from_board = _refine(views, parent_from_carrier, intrinsics, *start)
    predicted = [camera_from_parent @ pose @ carrier_from_board for pose in parent_from_carrier]
    residuals = tuple(
        _residual(view, intrinsics, board, expected)
        for view, board, expected in zip(views, boards, predicted, strict=True)
    )
    errors = [reprojection(view, intrinsics, pose) for view, pose in zip(views, predicted, strict=True)]
    rms = _rms(np.concatenate(errors))
    return HandEyeResult(setup, _inverse(camera_from_parent), carrier_from_board, rms, residuals)


def pose_difference(a: FloatArray, b: FloatArray) -> tuple[float, float]:
    """Distance (metres) and angle (radians) between two transforms (4, 4)."""
    turn = Rotation.from_matrix(a[:3, :3].T @ b[:3, :3]).magnitude()
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3])), float(turn)


def _flags(distortion_terms: DistortionTerms) -> int:
    if distortion_terms == 0:
        fixed = cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
        return fixed | cv2.CALIB_ZERO_TANGENT_DIST
    return cv2.CALIB_FIX_K3 if distortion_terms == 4 else 0


def _check_count(views: Sequence[BoardView]) -> None:
    if len(views) < LEAST_VIEWS:
        names = ", ".join(view.name for view in views) or "none"
        raise CalibrationError(f"need {LEAST_VIEWS} views of the board at least, got {len(views)} ({names})")


def _check_tilts(turns: FloatArray) -> None:
    """Refuse boards (rotation vectors (N, 3)) that are all parallel."""
    normals = Rotation.from_rotvec(turns).as_matrix()[:, :, 2]
    tilt = float(np.arccos(np.clip(normals @ normals.T, -1.0, 1.0)).max())
    if tilt < LEAST_TILT:
        raise CalibrationError(
            f"the boards of all {len(turns)} views are parallel within {np.degrees(tilt):.1f} degrees; "
            "tilt the board more, in different directions"
        )


def _check_turns(poses: Sequence[FloatArray]) -> None:
    """Refuse hand poses whose turns relative to the first do not span two axes (Tsai and Lenz, 1989)."""
    turns = Rotation.from_matrix([poses[0][:3, :3].T @ pose[:3, :3] for pose in poses]).as_rotvec()
    spread = np.linalg.svd(turns, compute_uv=False)
    # A turn of one view alone gives a singular value of its angle.
    if spread[1] < LEAST_TURN:
        raise CalibrationError(
            f"the hand's turns about a second axis are {np.degrees(spread[1]):.1f} degrees in all, need "
            f"{np.degrees(LEAST_TURN):.0f}; turn it about two axes at least between views"
        )


def _robot_world_hand_eye(
    camera_from_board: Sequence[FloatArray], parent_from_carrier: Sequence[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Closed form of (camera_from_parent, carrier_from_board).

    OpenCV's `world`, `base`, `gripper` and `cam` are our board, carrier, parent and camera.
    """
    board_from_carrier, camera_from_parent = np.eye(4), np.eye(4)
    rotation_bc, translation_bc, rotation_cp, translation_cp = cv2.calibrateRobotWorldHandEye(
        [pose[:3, :3] for pose in camera_from_board],
        [pose[:3, 3] for pose in camera_from_board],
        [pose[:3, :3] for pose in parent_from_carrier],
        [pose[:3, 3] for pose in parent_from_carrier],
        method=cv2.CALIB_ROBOT_WORLD_HAND_EYE_SHAH,
    )
    board_from_carrier[:3, :3], board_from_carrier[:3, 3] = rotation_bc, translation_bc.reshape(3)
    camera_from_parent[:3, :3], camera_from_parent[:3, 3] = rotation_cp, translation_cp.reshape(3)
    return camera_from_parent, _inverse(board_from_carrier)


def _refine(
    views: Sequence[BoardView],
    parent_from_carrier: Sequence[FloatArray],
    intrinsics: Intrinsics,
    camera_from_parent: FloatArray,
    carrier_from_board: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Both transforms of least robust reprojection error; a corner counts less beyond one pixel."""

    def transforms(parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
        camera = _rigid(parameters[:6]) @ camera_from_parent
        return camera, carrier_from_board @ _rigid(parameters[6:])

    def errors(parameters: FloatArray) -> FloatArray:
        camera, board = transforms(parameters)
        pairs = zip(views, parent_from_carrier, strict=True)
        stacked = [reprojection(view, intrinsics, camera @ pose @ board) for view, pose in pairs]
        # A point behind the camera, far from any answer, counts as badly wrong instead of as NaN.
        return np.nan_to_num(np.concatenate(stacked).reshape(-1), nan=1e4)

    solution = least_squares(errors, np.zeros(12), loss="soft_l1", x_scale="jac")
    return transforms(solution.x)


def _parent_from_carrier(base_from_hand: FloatArray, setup: Setup) -> FloatArray:
    return base_from_hand if setup == "eye_to_hand" else _inverse(base_from_hand)


def _inverse(transform: FloatArray) -> FloatArray:
    return np.linalg.inv(transform).astype(np.float64)


def _rigid(parameters: FloatArray) -> FloatArray:
    """The transform (4, 4) of a rotation vector and a translation (6,)."""
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_rotvec(parameters[:3]).as_matrix()
    transform[:3, 3] = parameters[3:]
    return transform


def _residual(
    view: BoardView, intrinsics: Intrinsics, seen: FloatArray, expected: FloatArray
) -> ViewResidual:
    metres, radians = pose_difference(seen, expected)
    return ViewResidual(view.name, _rms(reprojection(view, intrinsics, expected)), metres, radians)


def _rms(errors: FloatArray) -> float:
    """Root mean square length of 2-D errors (N, 2)."""
    return float(np.sqrt(np.square(errors).sum(axis=1).mean()))
