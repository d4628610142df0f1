"""Recordings made of messages, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message

from kalie_ros.bag import BagWriter, Topic
from kalie_ros.definitions import ament_prefixes, definition
from kalie_ros.offers import to_text
from kalie_ros.qos import SENSOR


class Said(NamedTuple):
    """A message, its topic, and when it was received: seconds."""

    topic: str
    message: Any
    time: float
    quality: QoSProfile = SENSOR


def write_bag(path: Path, messages: Iterable[Said], *, close: bool = True) -> Path:
    """A recording of these messages; unless it is closed, as a killed recorder leaves it."""
    writer = BagWriter(path)
    for said in messages:
        package, _, _ = type(said.message).__module__.partition(".")
        name = f"{package}/msg/{type(said.message).__name__}"
        if said.topic not in writer:
            text = definition(name, ament_prefixes())
            writer.add(Topic(said.topic, name, text, to_text([said.quality])))
        time = round(said.time * 1e9)
        writer.write(said.topic, serialize_message(said.message), time, time)
    if close:
        writer.close()
    else:
        writer.flush()
    return path
