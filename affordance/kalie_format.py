"""Import of the JSON label format that KALIE published.

One object, entry name -> {"img": path, "points": a JSON string with five Title-Case keys -> [x, y] in
thousandths of the image, "other": {"task": text, "objects": [names]}}. Numbers may be quoted and zero-padded
there. Points may lie outside the image after KALIE's crop; they are refused, or made absent on request.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from .dataset import AffordanceDataset, DatasetError, read_image
from .labels import LabelledImage, Provenance
from .schema import Affordance, InvalidKeypoints, Keypoint, KeypointName
from .units import from_thousandths

Outside = Literal["refuse", "absent"]
_KEYS: dict[str, KeypointName] = {
    "Grasp Point": "grasp",
    "Function Point": "function",
    "Target Point": "target",
    "Pre-contact Point": "pre_contact",
    "Post-contact Point": "post_contact",
}


def import_kalie(
    path: Path, outside: Outside = "refuse", progress: Callable[[int, int], None] | None = None
) -> AffordanceDataset:
    """Read a `data_jsonformat.json` (or train/valid/test.json) with its images.

    Args:
        path: the JSON file; image paths in it are relative to its folder and may not leave it.
        outside: what to do with a point outside 0..999.
        progress: called with (photos read, photos in all).

    Raises:
        DatasetError: naming the file, entry and point at fault.
    """
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(entries, dict):
        raise DatasetError(f"{path}: expected an object of entries, got {type(entries).__name__}")
    items: list[LabelledImage] = []
    for name, entry in entries.items():
        items.append(_read_entry(path, name, entry, outside))
        if progress is not None:
            progress(len(items), len(entries))
    return AffordanceDataset(tuple(items))


def _read_entry(path: Path, name: str, entry: dict[str, Any], outside: Outside) -> LabelledImage:
    where = f"{path}: entry {name}"
    try:
        points, other = json.loads(entry["points"]), entry["other"]
        image, instruction = entry["img"], other["task"]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{where}: missing or malformed field ({error})") from None
    affordance = Affordance(**_read_points(where, points, outside))  # pyright: ignore[reportArgumentType]
    return LabelledImage(
        id=name,
        rgb=read_image(_inside(path.parent, image, where)),
        instruction=instruction,
        affordance=affordance,
        provenance=Provenance("photo", parent=name, details={"objects": other.get("objects", [])}),
    )


def _read_points(where: str, points: object, outside: Outside) -> dict[str, Keypoint | None]:
    if not isinstance(points, dict) or set(points) != set(_KEYS):
        raise DatasetError(f"{where}: points must have exactly the keys {', '.join(_KEYS)}")
    out: dict[str, Keypoint | None] = {}
    for key, name in _KEYS.items():
        try:
            x, y = (int(value) for value in points[key])
        except (TypeError, ValueError):
            raise DatasetError(f"{where}: {key} must be two integers, got {points[key]!r}") from None
        out[name] = _to_keypoint(f"{where}: {key}", x, y, outside)
    return out


def _to_keypoint(where: str, x: int, y: int, outside: Outside) -> Keypoint | None:
    try:
        return from_thousandths(x, y)
    except InvalidKeypoints as error:
        if outside == "absent":
            return None
        raise DatasetError(f"{where}: {error}") from None


def _inside(folder: Path, name: str, where: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DatasetError(f"{where}: image path {name!r} leaves the data set's folder")
    return path
