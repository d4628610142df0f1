"""What every managed node survives."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn

from .graph import Graph
from .tiny_node import TinyNode

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


def test_an_active_node_collects_no_garbage_of_what_was_made_before(graph: Graph) -> None:
    rclpy.init(domain_id=graph.domain)
    try:
        node = TinyNode()
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert gc.get_freeze_count() == 0
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        assert gc.get_freeze_count() > 10_000
        assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        assert gc.get_freeze_count() == 0
        node.destroy_node()
    finally:
        rclpy.shutdown()
