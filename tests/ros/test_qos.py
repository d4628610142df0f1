"""What the qualities of service promise, between real publishers and subscriptions."""

from __future__ import annotations

import time
from contextlib import closing

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from kalie_ros.qos import COMMAND

from .graph import Graph

pytestmark = pytest.mark.ros
TOPIC = "/commands"


class Sleeper:
    """A receiver of commands that takes them only when it is told to wake."""

    def __init__(self, graph: Graph) -> None:
        self.heard: list[str] = []
        context = graph.node.context
        self._node, self._executor = Node("sleeper", context=context), SingleThreadedExecutor(context=context)
        self._node.create_subscription(JointTrajectory, TOPIC, self._hear, COMMAND)
        self._executor.add_node(self._node)

    def wake(self) -> list[str]:
        """Take what waits; the names of the commands in the order they came."""
        self.heard.clear()
        last = time.monotonic()
        while time.monotonic() - last < 1.0:
            count = len(self.heard)
            self._executor.spin_once(timeout_sec=0.1)
            last = last if len(self.heard) == count else time.monotonic()
        return list(self.heard)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _hear(self, message: JointTrajectory) -> None:
        self.heard.append(message.joint_names[0])


def test_when_a_receiver_wakes_late_expect_every_command_in_order_and_no_more_than_a_tenth_second_of_them(
    graph: Graph,
) -> None:
    publisher = graph.node.create_publisher(JointTrajectory, TOPIC, COMMAND)

    def send(count: int) -> list[str]:
        names = [f"joint{number}" for number in range(count)]
        for name in names:
            publisher.publish(JointTrajectory(joint_names=[name]))
        time.sleep(0.5)
        return names

    with closing(Sleeper(graph)) as sleeper:
        graph.until(lambda: publisher.get_subscription_count() > 0)
        # Until both sides have found each other.
        graph.until(lambda: send(1) and sleeper.wake())
        assert sleeper.wake() == []
        assert send(10) == sleeper.wake()
        assert send(50)[-10:] == sleeper.wake()
