"""What every managed node survives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .graph import Graph

pytestmark = pytest.mark.ros
ROUNDS, TOPICS = 15, 60


def test_when_transitions_destroy_what_the_executor_waits_for_expect_the_node_to_live(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", own)
    graph.start("tiny", module="tiny_node", topics=TOPICS)
    for _ in range(ROUNDS):
        graph.transition("tiny", "deactivate")
        graph.transition("tiny", "activate")
        assert graph.alive("tiny"), graph.log("tiny")
    assert "InvalidHandle" not in graph.log("tiny")
