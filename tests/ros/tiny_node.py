"""The smallest managed node, for tests of what supervises nodes; its parameters say what goes wrong."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from kalie_ros.managed import ManagedNode, spin
from kalie_ros.parameters import parameter, read


@dataclass(frozen=True)
class TinyParameters:
    """What goes wrong, and how long things take."""

    refuse: str = parameter("", "Why configuring fails.")
    configure_seconds: float = parameter(0.0, "How long configuring takes.", low=0.0, high=60.0)
    cleanup_seconds: float = parameter(0.0, "How long ending takes.", low=0.0, high=600.0)


class TinyNode(ManagedNode):
    """Does nothing, and says when it is told to."""

    PARAMETERS = TinyParameters

    def __init__(self) -> None:
        super().__init__("tiny")
        if os.environ.get("TINY_CRASH"):
            raise RuntimeError("cannot even begin")

    def configure(self) -> None:
        own = read(self, TinyParameters)
        time.sleep(own.configure_seconds)
        if own.refuse:
            raise ValueError(own.refuse)

    def activate(self) -> None:
        self.get_logger().info("activated")

    def deactivate(self) -> None:
        self.get_logger().info("deactivated")

    def cleanup(self) -> None:
        time.sleep(read(self, TinyParameters).cleanup_seconds)


if __name__ == "__main__":
    spin(TinyNode)
