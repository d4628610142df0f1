"""Publishes a recording again: the same bytes, types and qualities of service, at the recorded pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.publisher import Publisher

from .bag import BagReader, Topic
from .definitions import ament_prefixes, definition, message_class, same_fields
from .offers import from_text

# Called with (seconds done, seconds in all).
Progress = Callable[[int, int], None]
# Seconds in which subscribers, and other publishers of the same topics, find out about each other.
DISCOVERY = 3.0
# Seconds in which they get the last messages: what a publisher has said goes with it when its process ends.
LINGER = 1.0
# Packages whose messages are commands, and such messages of others.
_COMMAND_PACKAGES = frozenset({"trajectory_msgs", "control_msgs", "ackermann_msgs", "interbotix_xs_msgs"})
_COMMAND_TYPES = frozenset(
    {
        "geometry_msgs/msg/Twist",
        "geometry_msgs/msg/TwistStamped",
        "geometry_msgs/msg/Wrench",
        "geometry_msgs/msg/WrenchStamped",
        "std_msgs/msg/Float64",
        "std_msgs/msg/Float64MultiArray",
    }
)
# What a part of a command topic's name ends with.
_COMMAND_NAMES = (
    "command",
    "commands",
    "cmd",
    "cmd_vel",
    "joint_trajectory",
    "goal",
    "goal_pose",
    "instruction",
)


class ReplayError(ValueError):
    """A recording cannot be replayed here; the message says why."""


@dataclass(frozen=True)
class ReplaySettings:
    """How to replay.

    Attributes:
        rate: of the time that passes, 2.0 is twice as fast.
        topics: which; empty for all.
        loop: whether to begin again at the end.
        commands: whether topics that can move something are published too.
    """

    rate: float = 1.0
    topics: tuple[str, ...] = ()
    loop: bool = False
    commands: bool = False


def is_command(topic: Topic) -> bool:
    """Whether somebody who hears a topic might move or begin to work."""
    package, _, rest = topic.type.partition("/")
    parts = topic.name.split("/")
    return (
        package in _COMMAND_PACKAGES
        or topic.type in _COMMAND_TYPES
        or not rest.startswith("msg/")
        or any(part.startswith("_") for part in parts)
        or any(part.endswith(_COMMAND_NAMES) for part in parts)
    )


def choose(topics: Collection[Topic], settings: ReplaySettings) -> tuple[dict[str, Topic], dict[str, str]]:
    """The topics to publish, by name, and those left out with the reason.

    Raises:
        ReplayError: a topic that was asked for is not in the recording, or is a command.
    """
    known = {topic.name: topic for topic in topics}
    for name in settings.topics:
        if name not in known:
            raise ReplayError(f"topics: {name} is not recorded; recorded are {', '.join(sorted(known))}")
        if is_command(known[name]) and not settings.commands:
            raise ReplayError(f"topics: {name} can move the robot; commands=true publishes it nevertheless")
    chosen = {name: known[name] for name in settings.topics or sorted(known)}
    left_out: dict[str, str] = {}
    for name, topic in chosen.items():
        if is_command(topic) and not settings.commands:
            left_out[name] = "it can move the robot (commands=true publishes it nevertheless)"
        elif reason := _unlike(topic):
            left_out[name] = reason
    return {name: topic for name, topic in chosen.items() if name not in left_out}, left_out


class Player:
    """Publishes a recording.

    Args:
        node: whose publishers these are; it need not be spun.
        bag: the recording.
        settings: how.

    Attributes:
        left_out: topics that are not published, and why.

    Raises:
        ReplayError: nothing is left to publish.
    """

    def __init__(self, node: Node, bag: BagReader, settings: ReplaySettings) -> None:
        self._node, self._bag, self._settings = node, bag, settings
        chosen, self.left_out = choose(bag.topics(), settings)
        if not chosen:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.left_out.items())
            raise ReplayError(f"{bag.path}: nothing to publish ({reasons or 'it is empty'})")
        self._publishers = {name: self._publisher(topic) for name, topic in chosen.items()}

    @property
    def topics(self) -> list[str]:
        """What is published."""
        return list(self._publishers)

    def check_alone(self) -> None:
        """Wait for discovery; refuse to mix the past into what others publish now. Raises ReplayError."""
        time.sleep(DISCOVERY)
        for name in self._publishers:
            if self._node.count_publishers(name) > 1:
                raise ReplayError(f"{name}: somebody else publishes it now; end that, or choose with topics=")

    def play(self, progress: Progress) -> int:
        """Publish it once, or for ever in a loop; how many messages."""
        count = self._once(progress)
        while self._settings.loop and count:
            count += self._once(progress)
        time.sleep(LINGER)
        return count

    def _once(self, progress: Progress) -> int:
        first, last = self._bag.span()
        total, count = int((last - first) / 1e9), 0
        begin, shown = time.monotonic(), -1
        for message in self._bag.messages(self._publishers):
            recorded = (message.log_time - first) / 1e9
            wait = begin + recorded / self._settings.rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self._publishers[message.topic.name].publish(message.data)
            count += 1
            if int(recorded) > shown:
                shown = int(recorded)
                progress(shown, total)
        return count

    def _publisher(self, topic: Topic) -> Publisher:
        kind = message_class(topic.type, ament_prefixes())
        return self._node.create_publisher(kind, topic.name, from_text(topic.offers))


def _unlike(topic: Topic) -> str:
    """Why a topic's bytes would be misread here; empty when they would not."""
    try:
        here = definition(topic.type, ament_prefixes())
        from_text(topic.offers)
    except ValueError as error:
        return str(error)
    return "" if same_fields(here, topic.definition) else f"{topic.type} was another message when recorded"
