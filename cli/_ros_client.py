"""What the ROS verbs share: a bare ROS node of the command's own, and calls that cannot hang."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rclpy.executors import Executor
    from rclpy.node import Node

NAMESPACE = "/kalie"
# Seconds until a node that is asked must have been found.
FIND = 5.0


class NoAnswer(OSError):
    """Nothing in the ROS graph answers; the message says what was asked."""


class Asker:
    """A ROS node that asks others: whoever holds it spins it.

    Attributes:
        node: the ROS node.
    """

    def __init__(self, node: Node, executor: Executor) -> None:
        self.node = node
        self._executor = executor

    def spin(self, seconds: float) -> None:
        """Take in at most one message that has come, or comes within so many seconds."""
        self._executor.spin_once(timeout_sec=seconds)

    def wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Take in messages until `done`, not longer than so many seconds; whether it came true."""
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.spin(min(left, 0.1))
        return True

    def call(
        self,
        who: str,
        kind: type,
        name: str,
        request: object,
        answer: float,
    ) -> Any:  # noqa: ANN401 - a response that ROS generates
        """Call a service, and return its response.

        Args:
            who: offers it, for messages.
            kind: of service.
            name: of it, with the namespace.
            request: for it.
            answer: seconds until it must have answered, once it is found.

        Raises:
            NoAnswer: it is not there, or does not answer.
        """
        client = self.node.create_client(kind, name)
        if not self.wait(client.service_is_ready, FIND):
            raise NoAnswer(f"no {who}: {name} was not found within {FIND:g} s ({where()})")
        future = client.call_async(request)
        if not self.wait(future.done, answer):
            raise NoAnswer(f"{name} did not answer within {answer:g} s")
        return future.result()


@contextmanager
def asker(name: str) -> Iterator[Asker]:
    """A ROS node under kalie's namespace for the time of the block; signals stay with the caller."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    arguments = ["--ros-args", "--enclave", f"{NAMESPACE}/{name}"]
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    # Nobody sets parameters of a command; without those services it is found, and gone, sooner.
    quiet: dict[str, Any] = {"enable_rosout": False, "start_parameter_services": False}
    node = rclpy.create_node(name, namespace=NAMESPACE, **quiet)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        yield Asker(node, executor)
    finally:
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()


def where() -> str:
    """Which graph this process sees, for messages."""
    return f"ROS_DOMAIN_ID={os.environ.get('ROS_DOMAIN_ID') or '0'}"
