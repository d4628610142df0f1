"""Fixtures of the tests that run real nodes in processes of their own, over real DDS."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .graph import Graph

# `make test` has no ROS; `make test-ros` fails where it finds no test.
if any(importlib.util.find_spec(name) is None for name in ("rclpy", "kalie_interfaces", "kalie_ros")):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Processes of the tests react to SIGINT even where a shell started these in its background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    """An empty graph in a domain of its own."""
    from .graph import graph_in

    with graph_in(tmp_path) as made:
        yield made
