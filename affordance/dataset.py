"""Data sets of labelled images: Parquet shards with embedded PNGs, readable by `datasets`.

A data set is a directory of `part-NNNNN.parquet` shards. Each shard is written beside and renamed, and its
checksum entered in `manifest.json` before the next begins, so a writer killed at any instant leaves the
shards it finished readable and `complete: false` in the manifest.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from ..core.files import write_bytes
from .labels import LabelledImage, Provenance
from .schema import Affordance, InvalidKeypoints

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}")
# What Pillow raises for a file that is no image, is cut off, has a broken chunk, or would be huge.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "image": datasets.Image(),
        "masks": datasets.Image(),
        "instruction": datasets.Value("string"),
        "affordance": datasets.Value("string"),
        "source": datasets.Value("string"),
        "parent": datasets.Value("string"),
        "group": datasets.Value("string"),
        "seed": datasets.Value("int64"),
        "details": datasets.Value("string"),
    }
)


class DatasetError(ValueError):
    """A data set or one of its records cannot be read or written; the message names the file or record."""


@dataclass(frozen=True)
class AffordanceDataset:
    """Labelled images in memory, in a fixed order, with unique ids."""

    items: tuple[LabelledImage, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for item in self.items:
            check_item(item)
            if item.id in seen:
                raise DatasetError(f"record {item.id}: the id occurs twice")
            seen.add(item.id)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> LabelledImage:
        return self.items[index]

    def __iter__(self) -> Iterator[LabelledImage]:
        return iter(self.items)

    def split(self, fraction: float, seed: int) -> tuple[AffordanceDataset, AffordanceDataset]:
        """Split into (first, second) by parent photo, so that siblings of one photo stay together.

        Args:
            fraction: share of the photos that goes to the first part, in (0, 1).
            seed: of the shuffle.
        """
        if not 0 < fraction < 1:
            raise DatasetError(f"split: fraction must lie in (0, 1), got {fraction}")
        parents = sorted({item.provenance.parent for item in self.items})
        order = np.random.default_rng(seed).permutation(len(parents))
        first = {parents[i] for i in order[: max(1, round(fraction * len(parents)))]}
        return (
            AffordanceDataset(tuple(i for i in self.items if i.provenance.parent in first)),
            AffordanceDataset(tuple(i for i in self.items if i.provenance.parent not in first)),
        )

    def save(self, directory: Path, progress: Callable[[int, int], None] | None = None) -> None:
        """Write to a new directory; `progress` is called with (done, items).

        Raises:
            DatasetError: the directory holds a data set already.
        """
        with DatasetWriter(directory) as writer:
            writer.extend(self.items, progress)

    @classmethod
    def load(cls, directory: Path, allow_partial: bool = False) -> AffordanceDataset:
        """Read a directory written by `save` or `DatasetWriter`, verifying every checksum.

        Args:
            directory: of the data set.
            allow_partial: accept the finished shards of a data set that was cut off mid-write.

        Raises:
            DatasetError: naming the file or record at fault.
        """
        manifest = _read_manifest(directory)
        if not manifest["complete"] and not allow_partial:
            finished = f"{len(manifest['shards'])} finished shards"
            raise DatasetError(
                f"{directory}: the data set was cut off mid-write; go on with the run that wrote it "
                f"(run.resume=true), or use its {finished} (allow_partial=true)"
            )
        items: list[LabelledImage] = []
        for name, digest in manifest["shards"].items():
            items.extend(_read_shard(directory, name, digest))
        return cls(tuple(items))


class DatasetWriter:
    """Writes a data set shard by shard; use as a context manager. Leaving it normally marks it complete.

    Args:
        directory: of the data set.
        shard_size: records per shard; what a kill can lose is less than one shard.
        resume: go on after the finished shards of an earlier writer, if there are any.

    Raises:
        DatasetError: the directory holds a data set already, or the one to go on with is damaged.
    """

    def __init__(self, directory: Path, shard_size: int = 256, resume: bool = False) -> None:
        self._directory = Path(directory)
        self._shard_size = shard_size
        self._pending: list[LabelledImage] = []
        self._shards: dict[str, str] = {}
        self._ids: set[str] = set()
        self.kept: tuple[LabelledImage, ...] = ()
        """The records of an earlier writer."""
        if (self._directory / MANIFEST).exists():
            if not resume:
                raise DatasetError(f"{self._directory}: already holds a data set")
            self.kept = AffordanceDataset.load(self._directory, allow_partial=True).items
            self._shards = _read_manifest(self._directory)["shards"]
            self._ids = {item.id for item in self.kept}
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        self._publish(complete=False)

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
            self._publish(complete=True)

    def extend(
        self, items: Sequence[LabelledImage], progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Append records; `progress` is called with (done, items).

        Raises:
            DatasetError: a bad record, before anything of it is written.
        """
        for done, item in enumerate(items, start=1):
            check_item(item)
            if item.id in self._ids:
                raise DatasetError(f"record {item.id}: the id occurs twice")
            self._ids.add(item.id)
            self._pending.append(item)
            if len(self._pending) == self._shard_size:
                self._flush()
            if progress is not None:
                progress(done, len(items))

    def _flush(self) -> None:
        if not self._pending:
            return
        name = f"part-{len(self._shards):05d}.parquet"
        table = pa.Table.from_pylist([_to_row(item) for item in self._pending], _FEATURES.arrow_schema)
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        write_bytes(self._directory / name, buffer.getvalue())
        self._shards[name] = hashlib.sha256(buffer.getvalue()).hexdigest()
        self._pending.clear()
        self._publish(complete=False)

    def _publish(self, complete: bool) -> None:
        manifest = {"version": FORMAT_VERSION, "complete": complete, "shards": self._shards}
        write_bytes(self._directory / MANIFEST, json.dumps(manifest, indent=1).encode())


def check_item(item: LabelledImage) -> None:
    """Check one record's id, image and masks. Raises DatasetError naming the record and field."""
    if not _SAFE_ID.fullmatch(item.id):
        raise DatasetError(f"record {item.id!r}: the id must be a plain file-name stem")
    if item.rgb.dtype != np.uint8 or item.rgb.ndim != 3 or item.rgb.shape[2] != 3 or item.rgb.size == 0:
        raise DatasetError(f"record {item.id}: image must be uint8 (H, W, 3), got {item.rgb.shape}")
    if item.masks is not None and (item.masks.dtype != np.uint8 or item.masks.shape != item.rgb.shape[:2]):
        raise DatasetError(
            f"record {item.id}: masks must be uint8 {item.rgb.shape[:2]}, "
            f"got {item.masks.dtype} {item.masks.shape}"
        )


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as uint8 (H, W, 3) RGB. Raises DatasetError naming the file."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except _UNREADABLE as error:
        raise DatasetError(f"{path}: not a readable image ({error})") from None


def _to_row(item: LabelledImage) -> dict[str, object]:
    return {
        "id": item.id,
        "image": {"bytes": _png(item.rgb), "path": None},
        "masks": None if item.masks is None else {"bytes": _png(item.masks), "path": None},
        "instruction": item.instruction,
        "affordance": json.dumps(item.affordance.to_json()),
        "source": item.provenance.source,
        "parent": item.provenance.parent,
        "group": item.group,
        "seed": item.provenance.seed,
        "details": json.dumps(item.provenance.details),
    }


def _from_row(row: dict[str, Any]) -> LabelledImage:
    try:
        affordance = Affordance.from_json(_json_object(row, "affordance"))
    except InvalidKeypoints as error:
        raise DatasetError(f"record {row['id']}: {error}") from None
    masks = row["masks"]
    return LabelledImage(
        id=row["id"],
        rgb=_decode(row["image"]["bytes"], "RGB", row["id"]),
        instruction=row["instruction"],
        affordance=affordance,
        provenance=Provenance(row["source"], row["parent"], row["seed"], _json_object(row, "details")),
        masks=None if masks is None else _decode(masks["bytes"], "L", row["id"]),
        group=row["group"],
    )


def _json_object(row: dict[str, Any], field: str) -> dict[str, Any]:
    try:
        value = json.loads(row[field])
    except (TypeError, ValueError) as error:
        raise DatasetError(f"record {row['id']}: {field} is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise DatasetError(f"record {row['id']}: {field} must be a JSON object, got {value!r}")
    return value


def _read_shard(directory: Path, name: str, digest: str) -> list[LabelledImage]:
    path = directory / name
    if Path(name).name != name or path.is_symlink():
        raise DatasetError(f"{directory / MANIFEST}: shard name {name!r} leaves the data set")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise DatasetError(f"{path}: damaged, its checksum differs from the manifest's")
    table = pq.read_table(io.BytesIO(data))
    return [_from_row(row) for row in table.to_pylist()]


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = Path(directory) / MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise DatasetError(f"{path}: not found; is {directory} a data set?") from None
    except ValueError as error:
        raise DatasetError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(manifest, dict):
        raise DatasetError(f"{path}: expected a JSON object, got {type(manifest).__name__}")
    if manifest.get("version") != FORMAT_VERSION:
        raise DatasetError(f"{path}: format version {manifest.get('version')}, expected {FORMAT_VERSION}")
    for field, kind in (("complete", bool), ("shards", dict)):
        if not isinstance(manifest.get(field), kind):
            raise DatasetError(f"{path}: {field} is missing or malformed")
    return manifest


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _decode(data: bytes, mode: str, record: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert(mode))
    except _UNREADABLE as error:
        raise DatasetError(f"record {record}: image cannot be decoded ({error})") from None
