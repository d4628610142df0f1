"""A lane of its own for messages that come a hundred times a second.

The executor of a node with many services and timers pays for all of them with every message; in Python that
takes most of a core at the rate of joint states or commands, and holds up whatever else the process does. A
second, bare node with a thread of its own costs little.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile

from .managed import ManagedNode

# Seconds after which the thread looks whether it should end.
POLL = 0.2


class FastLane:
    """A bare node, `<name>_<carries>`, that only subscribes; its callbacks keep the messages' order."""

    def __init__(self, node: ManagedNode, carries: Literal["states", "commands"]) -> None:
        """Open a lane beside `node`, whose `guarded` wraps every callback."""
        self._guarded = node.guarded
        self._node = rclpy.create_node(
            f"{node.get_name()}_{carries}",
            namespace=node.get_namespace(),
            context=node.context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._node)
        self._ended = False
        self._thread = threading.Thread(target=self._spin, name="fast lane", daemon=True)

    def subscribe(self, kind: type, topic: str, heard: Callable[[Any], None], quality: QoSProfile) -> None:
        """Hear a topic; before `start`."""
        self._node.create_subscription(kind, topic, self._guarded(heard), quality)

    def start(self) -> None:
        """Begin to hear."""
        self._thread.start()

    def close(self) -> None:
        """Leave the graph."""
        self._ended = True
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()

    def _spin(self) -> None:
        try:
            while not self._ended:
                self._executor.spin_once(timeout_sec=POLL)
        except ExternalShutdownException:
            return
