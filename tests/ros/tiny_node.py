"""The smallest managed node, for tests of what supervises nodes; its parameters say what goes wrong."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from rclpy.subscription import Subscription
from std_msgs.msg import String

from kalie_ros.managed import ManagedNode, spin
from kalie_ros.parameters import parameter, read


@dataclass(frozen=True)
class TinyParameters:
    """What goes wrong, and how long things take."""

    refuse: str = parameter("", "Why configuring fails.")
    configure_seconds: float = parameter(0.0, "How long configuring takes.", low=0.0, high=60.0)
    cleanup_seconds: float = parameter(0.0, "How long ending takes.", low=0.0, high=600.0)
    topics: int = parameter(0, "How many it hears while it is active.", low=0, high=1000)


class TinyNode(ManagedNode):
    """Does nothing, and says when it is told to."""

    PARAMETERS = TinyParameters

    def __init__(self) -> None:
        super().__init__("tiny")
        self._heard: list[Subscription[String]] = []
        if os.environ.get("TINY_CRASH"):
            raise RuntimeError("cannot even begin")

    def configure(self) -> None:
        own = read(self, TinyParameters)
        time.sleep(own.configure_seconds)
        if own.refuse:
            raise ValueError(own.refuse)

    def activate(self) -> None:
        topics = [f"~/topic{index}" for index in range(read(self, TinyParameters).topics)]
        self._heard = [self.create_subscription(String, topic, lambda _: None, 10) for topic in topics]
        self.get_logger().info("activated")

    def deactivate(self) -> None:
        for subscription in self._heard:
            self.destroy_subscription(subscription)
        self._heard = []
        self.get_logger().info("deactivated")

    def cleanup(self) -> None:
        time.sleep(read(self, TinyParameters).cleanup_seconds)


if __name__ == "__main__":
    spin(TinyNode)
