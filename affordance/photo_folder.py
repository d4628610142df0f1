"""Import of one's own photos: a folder of images, each with its label and, where there is one, its depth.

`000.png` (or .jpg) is labelled by `000.json`, {"instruction": text, "affordance": see `Affordance.to_json`},
and `000.npy` is its depth: float32 metres, registered to it, NaN where there is none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..perception.frame import DepthArray, FrameError, ImageArray
from ..perception.segmentation import SegmentationError
from .dataset import AffordanceDataset, DatasetError, read_image
from .labels import LabelledImage, Provenance
from .schema import Affordance, InvalidKeypoints

SUFFIXES = (".png", ".jpg", ".jpeg")
KEYS = ("instruction", "affordance")
# A photo and its depth, if it has one -> instance ids uint8 (H, W); 0 is background.
FindMasks = Callable[[ImageArray, DepthArray | None], ImageArray]


def import_folder(
    folder: Path,
    find_masks: FindMasks | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AffordanceDataset:
    """Read a folder of labelled photos, in the order of their names.

    Args:
        folder: of the photos.
        find_masks: finds the objects of a photo; None for a data set without masks.
        progress: called with (photos read, photos in all).

    Raises:
        DatasetError: naming the file at fault.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DatasetError(f"{folder}: holds no photos ({', '.join(SUFFIXES)})")
    items = []
    for index, path in enumerate(paths):
        rgb = read_image(path)
        instruction, affordance = _read_label(path)
        masks = None if find_masks is None else _masks(path, rgb, find_masks)
        provenance = Provenance("photo", parent=path.stem)
        items.append(LabelledImage(path.stem, rgb, instruction, affordance, provenance, masks))
        if progress is not None:
            progress(index + 1, len(paths))
    return AffordanceDataset(tuple(items))


def _read_label(photo: Path) -> tuple[str, Affordance]:
    path = photo.with_suffix(".json")
    try:
        label = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"{photo}: has no label {path.name} beside it") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(label, dict) or set(label) != set(KEYS):
        raise DatasetError(f"{path}: expected an object with exactly the keys {', '.join(KEYS)}")
    if not isinstance(label["instruction"], str) or not isinstance(label["affordance"], dict):
        raise DatasetError(f"{path}: expected a text as instruction and an object as affordance")
    try:
        return label["instruction"], Affordance.from_json(label["affordance"])
    except InvalidKeypoints as error:
        raise DatasetError(f"{path}: affordance: {error}") from None


def _masks(photo: Path, rgb: ImageArray, find_masks: FindMasks) -> ImageArray:
    path = photo.with_suffix(".npy")
    depth = _read_depth(path) if path.exists() else None
    try:
        return find_masks(rgb, depth)
    except (FrameError, SegmentationError) as error:
        raise DatasetError(f"{photo}: {error}") from None


def _read_depth(path: Path) -> DepthArray:
    try:
        depth = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path}: cannot be read as a NumPy array ({error})") from None
    if not isinstance(depth, np.ndarray):
        raise DatasetError(f"{path}: holds several arrays, expected one")
    return depth
