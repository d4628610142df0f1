"""Files that are whole or absent: atomic writing, checksums, and paths that stay inside their folder."""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath

# As `sha256sum` writes and checks it.
SUMS = "SHA256SUMS"


class UnsafePathError(ValueError):
    """A path that would leave the folder it belongs to."""


class DamagedFileError(ValueError):
    """A file is not what was written; the message names it."""


def fsync_path(path: Path) -> None:
    """Flush a file, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, to be written in the block; it becomes `path` when the block succeeds.

    A reader sees the old file or the new one, never a part; a failure leaves the old one and no rubbish.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        fsync_path(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_path(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically; numbers that are not finite become null, as every reader expects."""
    write_text(path, json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def finite(value: object) -> object:
    """The same value with NaN and infinite numbers replaced by None, tuples by lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Note the checksums of files in a folder beside them, for `check_sums` or `sha256sum -c`."""
    write_text(folder / SUMS, "".join(f"{sha256(folder / name)}  {name}\n" for name in names))


def check_sums(folder: Path) -> None:
    """Compare a folder's files with the checksums noted there, if any are.

    Raises:
        DamagedFileError: naming the file that is missing or was changed, or the list that cannot be read.
    """
    sums = folder / SUMS
    if not sums.exists():
        return
    for line in sums.read_text("utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if not name:
            raise DamagedFileError(f"{sums}: cannot be read: {line!r}")
        path = safe_join(folder, name)
        if not path.is_file() or sha256(path) != digest:
            raise DamagedFileError(f"{path}: missing, or changed since it was written (see {SUMS})")


def safe_join(folder: Path, relative: str | PurePath) -> Path:
    """`folder / relative`, which must exist or be creatable strictly inside `folder`.

    Raises:
        UnsafePathError: `relative` is absolute, climbs out with "..", or goes through a symbolic link that
            leaves the folder.
    """
    path = PurePath(relative)
    inside = not path.is_absolute() and ".." not in path.parts and bool(path.parts)
    if inside and "\\" not in str(path) and "\0" not in str(path):
        joined = folder / path
        if joined.resolve().is_relative_to(folder.resolve()):
            return joined
    raise UnsafePathError(f"{str(relative)!r} would leave the folder {folder}")
