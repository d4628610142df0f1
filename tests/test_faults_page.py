"""The page of faults names only tests that exist, and has every row."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import kalie

ROOT = Path(kalie.__file__).parent
PAGE = (ROOT / "docs" / "faults.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
ROWS = {"A": 7, "B": 13, "C": 5, "D": 9, "E": 9}


@cache
def functions_of(path: str) -> frozenset[str]:
    """Names of the test functions at the top of a file, which is parsed and not imported."""
    nodes = ast.parse((ROOT / path).read_text("utf-8")).body
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_named_test_exists(path: str, name: str) -> None:
    assert name.startswith("test_")
    assert name in functions_of(path)


def test_every_row_of_every_letter_names_a_test() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if re.match(r"\| [A-E]\d+ \|", line)]
    assert {cells[0].strip() for cells in rows} == {
        f"{k}{i}" for k, n in ROWS.items() for i in range(1, n + 1)
    }
    assert all("::test_" in cells[3] for cells in rows)


def test_no_test_is_named_in_another_form() -> None:
    assert PAGE.count("::test_") == len(re.findall(r"`tests/[\w/]+\.py::test_\w+`", PAGE))
