"""The files of calibration: images with robot poses in, intrinsics and extrinsics out; all JSON.

A session is a folder with images and one JSON file:

    {"views": [{"image": "000.png",
                "base_from_hand": [[r, r, r, x], [r, r, r, y], [r, r, r, z], [0, 0, 0, 1]]}, ...]}

Poses are 4x4, row by row, metres; `base_from_hand` may be left out when only intrinsics are wanted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from ..core.files import safe_join, write_json
from .charuco import CalibrationError
from .frame import FloatArray, FrameError, ImageArray, Intrinsics


@dataclass(frozen=True)
class SessionView:
    """One image of a session: its path, and the hand's pose `base_from_hand` (4, 4) if it was recorded."""

    image: Path
    base_from_hand: FloatArray | None


def read_session(path: Path) -> list[SessionView]:
    """Read a session file.

    Raises:
        CalibrationError: naming the file, and the view and key at fault.
    """
    views = _read_object(path).get("views")
    if not isinstance(views, list) or not views:
        raise CalibrationError(f"{path}: views: expected a list of at least one view")
    return [_session_view(path, index, view) for index, view in enumerate(views)]


def read_image(path: Path) -> ImageArray:
    """An image file as RGB uint8 (H, W, 3).

    Raises:
        CalibrationError: naming the file, when it is missing or no image.
    """
    if not path.is_file():
        raise CalibrationError(f"{path}: no such image")
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # A damaged header may promise more pixels than OpenCV allows.
        image = None
    if image is None:
        raise CalibrationError(f"{path}: not an image that can be read")
    return np.asarray(image, dtype=np.uint8)


def save_intrinsics(path: Path, intrinsics: Intrinsics) -> None:
    """Write intrinsics, atomically."""
    write_json(path, asdict(intrinsics))


def load_intrinsics(path: Path) -> Intrinsics:
    """Read what `save_intrinsics` wrote.

    Raises:
        CalibrationError: naming the file and the key at fault.
    """
    data = _read_object(path)
    sizes = {name: _number(path, data, name) for name in ("width", "height")}
    lens = {name: _number(path, data, name) for name in ("fx", "fy", "cx", "cy")}
    distortion = data.get("distortion", [])
    if not isinstance(distortion, list) or not all(_is_number(value) for value in distortion):
        raise CalibrationError(f"{path}: distortion: expected a list of numbers, got {distortion!r}")
    if any(value != int(value) for value in sizes.values()):
        raise CalibrationError(f"{path}: width and height must be whole numbers, got {sizes}")
    try:
        terms = tuple(float(value) for value in distortion)
        return Intrinsics(int(sizes["width"]), int(sizes["height"]), **lens, distortion=terms)
    except FrameError as error:
        raise CalibrationError(f"{path}: {error}") from error


def save_transform(path: Path, name: str, transform: FloatArray) -> None:
    """Write a transform (4, 4) under its name, e.g. "base_from_camera", atomically."""
    write_json(path, {name: transform.tolist()})


def load_transform(path: Path, name: str) -> FloatArray:
    """Read what `save_transform` wrote: a rigid transform (4, 4).

    Raises:
        CalibrationError: naming the file and the key, when it is missing or no rigid transform.
    """
    data = _read_object(path)
    if name not in data:
        raise CalibrationError(f"{path}: {name}: missing; the file holds {', '.join(data) or 'nothing'}")
    return _rigid(f"{path}: {name}", data[name])


def _session_view(path: Path, index: int, view: object) -> SessionView:
    where = f"{path}: views[{index}]"
    if not isinstance(view, Mapping) or not isinstance(view.get("image"), str):
        raise CalibrationError(f"{where}.image: expected a file name")
    unknown = sorted(set(view) - {"image", "base_from_hand"})
    if unknown:
        raise CalibrationError(f"{where}.{unknown[0]}: no such key; keys are image, base_from_hand")
    pose = view.get("base_from_hand")
    image = safe_join(path.parent, view["image"])
    return SessionView(image, None if pose is None else _rigid(f"{where}.base_from_hand", pose))


def _read_object(path: Path) -> Mapping[str, object]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CalibrationError(f"{path}: no such file") from error
    except ValueError as error:  # Broken JSON, or text that is no UTF-8.
        raise CalibrationError(f"{path}: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise CalibrationError(f"{path}: expected a JSON object")
    return data


def _rigid(where: str, value: object) -> FloatArray:
    rows = value if isinstance(value, list) else []
    if len(rows) != 4 or not all(
        isinstance(r, list) and len(r) == 4 and all(map(_is_number, r)) for r in rows
    ):
        raise CalibrationError(f"{where}: expected 4 rows of 4 numbers")
    pose = np.array(rows, dtype=np.float64)
    rotation = pose[:3, :3]
    orthonormal = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) and np.linalg.det(rotation) > 0
    if not (np.isfinite(pose).all() and orthonormal and np.allclose(pose[3], [0, 0, 0, 1])):
        raise CalibrationError(f"{where}: not a rigid transform (rotation, translation in metres, 0 0 0 1)")
    return pose


def _number(path: Path, data: Mapping[str, object], key: str) -> float:
    value = data.get(key)
    if not _is_number(value):
        raise CalibrationError(f"{path}: {key}: expected a number, got {value!r}")
    return float(value)  # pyright: ignore[reportArgumentType]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
