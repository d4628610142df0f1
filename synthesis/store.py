"""Finished synthetic images on disk: PNG + mask PNG + JSON each, published atomically, JSON last.

An image exists when its JSON does and the checksum in it fits; anything else is as if it were never made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..affordance.labels import LabelledImage, Provenance
from ..affordance.schema import Affordance, InvalidKeypoints
from ..core.files import write_bytes, write_json

_RECIPE = "recipe.json"


class StoreError(ValueError):
    """A folder or a file in it is not what it should be; the message names it."""


def content_hash(image: LabelledImage) -> str:
    """SHA-256 of the pixels alone: what makes two images duplicates."""
    return hashlib.sha256(np.ascontiguousarray(image.rgb).tobytes()).hexdigest()


def write_image(folder: Path, image: LabelledImage) -> None:
    """Publish one image; a kill at any instant leaves all of it or none."""
    write_bytes(folder / f"{image.id}.png", _png(image.rgb[..., ::-1]))
    if image.masks is not None:
        write_bytes(folder / f"{image.id}.mask.png", _png(image.masks))
    origin = image.provenance
    record = {
        "id": image.id,
        "instruction": image.instruction,
        "group": image.group,
        "affordance": image.affordance.to_json(),
        "provenance": {
            "source": origin.source,
            "parent": origin.parent,
            "seed": origin.seed,
            "details": origin.details,
        },
        "masks": image.masks is not None,
        "sha256": content_hash(image),
    }
    write_json(folder / f"{image.id}.json", record)


def read_image(folder: Path, image_id: str) -> LabelledImage:
    """Read what `write_image` wrote.

    Raises:
        StoreError: a file is missing, cut off, damaged, or holds a label off the image; names file and field.
    """
    path = folder / f"{image_id}.json"
    try:
        record = json.loads(path.read_text())
        origin = record["provenance"]
        image = LabelledImage(
            id=record["id"],
            rgb=np.ascontiguousarray(_read_png(folder / f"{image_id}.png", cv2.IMREAD_COLOR)[..., ::-1]),
            instruction=record["instruction"],
            affordance=Affordance.from_json(record["affordance"]),
            provenance=Provenance(origin["source"], origin["parent"], origin["seed"], origin["details"]),
            masks=_read_png(folder / f"{image_id}.mask.png", cv2.IMREAD_GRAYSCALE)
            if record["masks"]
            else None,
            group=record["group"],
        )
    except InvalidKeypoints as error:
        raise StoreError(f"{path}: affordance: {error}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: {type(error).__name__}: {error}") from error
    if content_hash(image) != record["sha256"]:
        raise StoreError(f"{path}: sha256 does not fit {image_id}.png")
    return image


def iterate(folder: Path) -> Iterator[LabelledImage]:
    """Every published image of a folder, in order of id. Raises StoreError on the first damaged one."""
    for path in sorted(folder.glob("*.json")):
        if path.name != _RECIPE:
            yield read_image(folder, path.stem)


def claim(folder: Path, recipe: str) -> None:
    """Make `folder` the home of one run, or check that it is already.

    Raises:
        StoreError: it holds images made by another recipe (config, seed or photos).
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _RECIPE
    if not path.exists():
        write_json(path, {"recipe": recipe})
    elif json.loads(path.read_text()).get("recipe") != recipe:
        raise StoreError(f"{path}: the folder holds images of another config, seed or photo set")


def _png(pixels: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()


def _read_png(path: Path, mode: int) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), mode)
    if pixels is None:
        raise StoreError(f"{path}: not a readable PNG")
    return pixels.astype(np.uint8)
