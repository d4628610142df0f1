"""What a camera's driver publishes, with faults on demand."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from kalie.perception.frame import Intrinsics
from kalie_ros.conversions import camera_info, depth_to_image, rgb_to_image
from kalie_ros.qos import SENSOR

OPTICAL = "camera_color_optical_frame"
TOPICS = {"color_topic": "/camera/color", "depth_topic": "/camera/depth", "camera_info_topic": "/camera/info"}


def picture(height: int = 120, width: int = 160, seed: int = 0) -> np.ndarray:
    """A picture of coarse noise, uint8 (H, W, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 255, (height // 20, width // 20, 3), np.uint8)
    return coarse.repeat(20, axis=0).repeat(20, axis=1)


def header(stamp: int, frame: str = OPTICAL) -> Header:
    """Of a stamp in ns."""
    return Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id=frame)


@dataclass
class Faults:
    """What the camera does wrong.

    Attributes:
        silent: topics of "color", "depth", "info" that say nothing.
        clock: s by which its clock is ahead of this machine's.
        frozen: the stamp does not change any more.
        encoding: claimed for the colour image; empty: the true one.
    """

    silent: frozenset[str] = frozenset()
    clock: float = 0.0
    frozen: bool = False
    encoding: str = ""


@dataclass
class FakeCamera:
    """Publishes colour, depth and camera info until it is closed.

    Attributes:
        node: that publishes.
        rate: Hz.
        faults: may be changed at any time.
        stamps: ns, of the frames sent.
    """

    node: Node
    rate: float = 15.0
    faults: Faults = field(default_factory=Faults)
    stamps: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rgb = picture()
        self._closed = threading.Event()
        create = self.node.create_publisher
        self._publishers = {
            "color": create(Image, TOPICS["color_topic"], SENSOR),
            "depth": create(Image, TOPICS["depth_topic"], SENSOR),
            "info": create(CameraInfo, TOPICS["camera_info_topic"], SENSOR),
        }
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and leave the graph."""
        self._closed.set()
        self._thread.join()
        for publisher in self._publishers.values():
            self.node.destroy_publisher(publisher)

    def _run(self) -> None:
        while not self._closed.wait(1 / self.rate):
            frozen = self.faults.frozen and self.stamps
            stamp = self.stamps[-1] if frozen else time.time_ns() + round(self.faults.clock * 1e9)
            self.stamps.append(stamp)
            self._publish(header(stamp))

    def _publish(self, stamped: Header) -> None:
        height, width = self.rgb.shape[:2]
        color = rgb_to_image(self.rgb, stamped)
        color.encoding = self.faults.encoding or color.encoding
        messages = {
            "info": camera_info(Intrinsics(width, height, 150.0, 150.0, width / 2, height / 2), stamped),
            "depth": depth_to_image(np.ones((height, width), np.float32), stamped),
            "color": color,
        }
        for topic, message in messages.items():
            if topic not in self.faults.silent:
                self._publishers[topic].publish(message)
