"""Atomic files: a reader never sees a part; paths never leave their folder."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalie.core.files import (
    SUMS,
    DamagedFileError,
    UnsafePathError,
    atomic_path,
    check_sums,
    finite,
    safe_join,
    sha256,
    write_bytes,
    write_json,
    write_sums,
    write_text,
)


def test_written_bytes_are_read_back_and_no_rubbish_stays(tmp_path: Path) -> None:
    write_bytes(tmp_path / "deep" / "file.bin", b"\x00\xff")
    assert (tmp_path / "deep" / "file.bin").read_bytes() == b"\x00\xff"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file.bin"]


def test_when_writing_fails_midway_expect_old_file_and_no_rubbish(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def write_half() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("call", ["fsync", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_when_disk_is_full_or_read_only_expect_error_and_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fail(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match=os.strerror(code)):
            write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [float("inf"), (1, 2.5)]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [None, [1, 2.5]]}


def test_finite_keeps_everything_else() -> None:
    assert finite({"a": [1, "x", None, True, -0.5]}) == {"a": [1, "x", None, True, -0.5]}


def test_sums_are_those_of_the_standard_tool(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    write_sums(tmp_path, ["abc"])
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  abc\n"
    assert (tmp_path / SUMS).read_text() == known
    check_sums(tmp_path)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / "abc").write_bytes(b"abd"), "abc: missing, or changed"),
        (lambda folder: (folder / "abc").unlink(), "abc: missing, or changed"),
        (lambda folder: (folder / SUMS).write_text("rubbish\n"), f"{SUMS}: cannot be read"),
    ],
)
def test_when_a_noted_file_is_not_as_written_expect_it_named(
    tmp_path: Path, damage: Callable[[Path], object], named: str
) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    write_sums(tmp_path, ["abc"])
    damage(tmp_path)
    with pytest.raises(DamagedFileError, match=named):
        check_sums(tmp_path)


def test_when_nothing_is_noted_expect_no_check(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    check_sums(tmp_path)


def test_sha256_is_the_known_digest(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("path", ["a.png", "images/a.png", "a..b/c"])
def test_plain_relative_paths_are_joined(tmp_path: Path, path: str) -> None:
    assert safe_join(tmp_path, path) == tmp_path / path


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "..", "", "a\\..\\..\\x", "a\0b", "."])
def test_when_path_leaves_the_folder_expect_refusal(tmp_path: Path, path: str) -> None:
    with pytest.raises(UnsafePathError):
        safe_join(tmp_path, path)


def test_when_path_goes_through_a_link_outside_expect_refusal(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path)
    with pytest.raises(UnsafePathError):
        safe_join(tmp_path / "data", "link/secret")


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "/", ""]), min_size=1, max_size=6))
def test_whatever_is_accepted_stays_inside(parts: list[str]) -> None:
    folder = Path("/srv/data")
    try:
        joined = safe_join(folder, "/".join(parts))
    except UnsafePathError:
        return
    assert os.path.normpath(joined).startswith("/srv/data/")
