"""A process that publishes what recorders record; its arguments say which topics."""

from __future__ import annotations

import os
import sys

import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import String, UInt8MultiArray
from tf2_msgs.msg import TFMessage

from kalie_interfaces.msg import SafetyStatus
from kalie_ros.qos import LATCHED, SENSOR


class Talker(Node):
    """Latched topics speak once, the others as often as their timers say."""

    def __init__(self, wanted: list[str]) -> None:
        super().__init__("talker")
        self._count = 0
        for name in wanted:
            getattr(self, f"start_{name}")()

    def start_joints(self) -> None:
        """100 Hz; the first joint counts the messages."""
        publisher = self.create_publisher(JointState, "/joint_states", SENSOR)

        def say() -> None:
            self._count += 1
            message = JointState(name=["a"], position=[float(self._count)])
            message.header.stamp = self.get_clock().now().to_msg()
            publisher.publish(message)

        self.create_timer(0.01, say)

    def start_description(self) -> None:
        self.create_publisher(String, "/robot_description", LATCHED).publish(String(data="<robot/>"))

    def start_transform(self) -> None:
        message = TFMessage(transforms=[TransformStamped(child_frame_id="camera")])
        self.create_publisher(TFMessage, "/tf_static", LATCHED).publish(message)

    def start_safety(self) -> None:
        publisher = self.create_publisher(SafetyStatus, "/safety", 10)
        self.create_timer(0.1, lambda: publisher.publish(SafetyStatus(reasons=["because"])))

    def start_late(self) -> None:
        def begin() -> None:
            timer.cancel()
            publisher = self.create_publisher(String, "/late", QoSProfile(depth=10))
            self.create_timer(0.1, lambda: publisher.publish(String(data="at last")))

        timer = self.create_timer(1.0, begin)

    def start_noise(self) -> None:
        """2 MB/s that cannot be compressed."""
        publisher = self.create_publisher(UInt8MultiArray, "/noise", 10)
        self.create_timer(0.01, lambda: publisher.publish(UInt8MultiArray(data=os.urandom(20_000))))


if __name__ == "__main__":
    rclpy.init()
    rclpy.spin(Talker(sys.argv[1:]))
