"""ChArUco boards: a chessboard whose white squares carry ArUco markers, so that every corner has a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np

from ..core.ranges import above, at_least
from .frame import FloatArray, ImageArray, Intrinsics

MarkerDictionary = Literal[
    "DICT_4X4_50", "DICT_4X4_100", "DICT_4X4_250", "DICT_4X4_1000",
    "DICT_5X5_50", "DICT_5X5_100", "DICT_5X5_250", "DICT_5X5_1000",
    "DICT_6X6_50", "DICT_6X6_100", "DICT_6X6_250", "DICT_6X6_1000",
]  # fmt: skip
DICTIONARIES: dict[str, int] = {name: vars(cv2.aruco)[name] for name in get_args(MarkerDictionary)}
LEAST_CORNERS = 8


class CalibrationError(ValueError):
    """A calibration input cannot be used; the message names the file or view at fault."""


@dataclass(frozen=True)
class CharucoConfig:
    """A printed ChArUco board.

    Attributes:
        columns: squares along x.
        rows: squares along y.
        square: side of a square, metres.
        marker: side of a marker, metres.
        dictionary: OpenCV's name of the marker dictionary.
        legacy_pattern: whether the board was printed from OpenCV before 4.6 and has an even number of rows.
    """

    columns: int = 9
    rows: int = 14
    square: float = 0.02
    marker: float = 0.015
    dictionary: MarkerDictionary = "DICT_5X5_100"
    legacy_pattern: bool = False

    def __post_init__(self) -> None:
        at_least(self, 3, "columns", "rows")
        above(self, 0, "marker", "square")
        if not self.marker < self.square:
            raise ValueError(f"marker={self.marker} must be below square={self.square}")
        markers, room = self.columns * self.rows // 2, int(self.dictionary.rsplit("_", 1)[1])
        if markers > room:
            raise ValueError(f"dictionary {self.dictionary} has {room} markers, the board needs {markers}")

    def board(self) -> cv2.aruco.CharucoBoard:
        """OpenCV's board. Its frame: origin at the outer corner of square 0, x right, y down, z into it."""
        dictionary = cv2.aruco.getPredefinedDictionary(DICTIONARIES[self.dictionary])
        board = cv2.aruco.CharucoBoard((self.columns, self.rows), self.square, self.marker, dictionary)
        board.setLegacyPattern(self.legacy_pattern)
        return board

    def image(self, pixels_per_square: int = 100) -> ImageArray:
        """The board as a grey picture, uint8 (rows * n, columns * n), for printing and for tests."""
        size = (self.columns * pixels_per_square, self.rows * pixels_per_square)
        return np.asarray(self.board().generateImage(size), dtype=np.uint8)


@dataclass(frozen=True)
class BoardView:
    """The corners of a board seen in one image.

    Attributes:
        name: of the image, for messages and reports.
        width: of the image, pixels.
        height: of the image, pixels.
        ids: (N,) corner numbers.
        pixels: (N, 2) corners in the image.
        points: (N, 3) the same corners in the board frame, metres.
    """

    name: str
    width: int
    height: int
    ids: np.ndarray
    pixels: FloatArray
    points: FloatArray


def detect(image: ImageArray, config: CharucoConfig, name: str) -> BoardView:
    """Find the board in a grey or RGB image.

    Raises:
        CalibrationError: naming the image, when too few corners are seen.
    """
    board = config.board()
    grey = image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    corners: Any
    ids: Any
    corners, ids, _, _ = cv2.aruco.CharucoDetector(board).detectBoard(grey)
    seen = 0 if ids is None else len(ids)
    if seen < LEAST_CORNERS:
        total = (config.columns - 1) * (config.rows - 1)
        raise CalibrationError(
            f"{name}: {seen} of the board's {total} corners seen, need {LEAST_CORNERS}; is it the "
            f"{config.columns}x{config.rows} board of {config.dictionary}, in focus and in view?"
        )
    ids = np.asarray(ids, dtype=np.int64).reshape(-1)
    points = np.asarray(board.getChessboardCorners(), dtype=np.float64)[ids]
    pixels = np.asarray(corners, dtype=np.float64).reshape(-1, 2)
    _check_spread(points, name)
    return BoardView(name, grey.shape[1], grey.shape[0], ids, pixels, points)


def board_pose(view: BoardView, intrinsics: Intrinsics) -> FloatArray:
    """`camera_from_board` (4, 4): the pose of least reprojection error (IPPE, then Levenberg-Marquardt).

    Raises:
        CalibrationError: naming the image, when its size is not the intrinsics' or no pose exists.
    """
    check_size(view, intrinsics)
    lens = (intrinsics.matrix, np.array(intrinsics.distortion))
    found, rotation, translation = cv2.solvePnP(view.points, view.pixels, *lens, flags=cv2.SOLVEPNP_IPPE)
    if not found:
        raise CalibrationError(f"{view.name}: the corners agree with no pose of the board")
    rotation, translation = cv2.solvePnPRefineLM(view.points, view.pixels, *lens, rotation, translation)
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(rotation)[0]
    pose[:3, 3] = np.asarray(translation).reshape(3)
    return pose


def reprojection(view: BoardView, intrinsics: Intrinsics, camera_from_board: FloatArray) -> FloatArray:
    """Pixel errors (N, 2): where the corners would be seen, minus where they are seen."""
    points = view.points @ camera_from_board[:3, :3].T + camera_from_board[:3, 3]
    return intrinsics.project(points) - view.pixels


def draw_view(
    image: ImageArray, view: BoardView, intrinsics: Intrinsics, camera_from_board: FloatArray
) -> ImageArray:
    """A copy of the RGB image with the corners seen (green), where the pose puts them (red), and the axes."""
    canvas = image.copy()
    expected = view.pixels + reprojection(view, intrinsics, camera_from_board)
    for seen, predicted in zip(view.pixels, expected, strict=True):
        cv2.circle(canvas, _subpixel(seen), 5 * 16, (40, 200, 80), 1, cv2.LINE_AA, shift=4)
        if np.isfinite(predicted).all():
            cv2.drawMarker(canvas, tuple(np.rint(predicted).astype(int)), (230, 40, 40), cv2.MARKER_CROSS, 7)
    # OpenCV draws x red, y green, z blue in BGR.
    canvas = np.ascontiguousarray(canvas[..., ::-1])
    rotation = cv2.Rodrigues(camera_from_board[:3, :3])[0]
    length = float(np.ptp(view.points[:, :2])) / 4
    lens = np.array(intrinsics.distortion)
    cv2.drawFrameAxes(canvas, intrinsics.matrix, lens, rotation, camera_from_board[:3, 3], length, 2)
    return np.ascontiguousarray(canvas[..., ::-1])


def _subpixel(pixel: FloatArray) -> tuple[int, int]:
    """A pixel in the sixteenths that OpenCV draws with at shift 4."""
    return round(pixel[0] * 16), round(pixel[1] * 16)


def check_size(view: BoardView, intrinsics: Intrinsics) -> None:
    """Refuse a view of another size than the intrinsics.

    Raises:
        CalibrationError: naming the image and both sizes.
    """
    if (view.width, view.height) != (intrinsics.width, intrinsics.height):
        raise CalibrationError(
            f"{view.name}: the image is {view.width}x{view.height}, the intrinsics are of "
            f"{intrinsics.width}x{intrinsics.height} pixels"
        )


def _check_spread(points: FloatArray, name: str) -> None:
    """Corners on one line fix no pose."""
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if spread[1] < 1e-3 * spread[0]:
        raise CalibrationError(f"{name}: the corners seen lie on one line; show more of the board")
