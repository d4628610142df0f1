"""Latency and steadiness of the ROS graph, beside a bare rclpy ping-pong of the same messages.

    eval "$(kalie ros env)"
    python benchmarks/ros_latency.py --seconds 600 --load 2
    kalie report run=outputs/ros_latency/latest document=docs/results.md name=ros_latency

Measures, over real DDS between processes:
* the command stream of 100 joint trajectories a second: which share arrived, and of periods is at most 20 ms;
* 640x480 colour and depth at 15 Hz through the synchronised listener of the nodes: which share of frames
  arrived, and how long after they were taken;
* from a camera message to the affordance that the affordance node publishes for it (limit 150 ms).
`--load` keeps so many cores busy while the commands stream.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from _measure import Measured, Median, against_limit, median
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from kalie.core.resources import usable_cores
from kalie.core.runs import Run, RunConfig
from kalie.core.stats import wilson
from kalie.perception.frame import FloatArray, Intrinsics
from kalie_interfaces.msg import Affordance
from kalie_ros.arm_topics import ArmTopics, StreamDriver, WallPace
from kalie_ros.camera import CameraFrame, CameraListener, CameraParameters
from kalie_ros.conversions import camera_info, depth_to_image, duration, rgb_to_image, seconds
from kalie_ros.joint_states import Jaws, JointStates
from kalie_ros.managed import ManagedNode
from kalie_ros.qos import COMMAND, LATCHED, SENSOR

RATE, LIMIT = 100.0, 0.020
DISCOVERY = 30.0
NAMES = tuple(f"joint{index}" for index in range(1, 8))
PINGS = 500
CAMERA_RATE, SIZE = 15.0, (640, 480)
FRAMES = 150
AFFORDANCE_LIMIT = 0.150
AFFORDANCES = 60
FRAME = "camera_color_optical_frame"


@dataclass(frozen=True)
class LatencyConfig:
    """What is written beside the figures.

    Attributes:
        seconds: length of the command stream.
        load: cores kept busy meanwhile.
        cores: that this process may use.
    """

    seconds: float
    load: int
    cores: int


# ---- what runs in processes of its own -------------------------------------------------------------------


def commander(seconds_long: float) -> None:
    """Stream joint positions as the control node does; the first joint counts the messages."""
    node = ManagedBare("commander")
    topics = ArmTopics("/joint_states", "", "/bench/command", "", "", 0.0)
    period = 1 / RATE
    states = JointStates(NAMES, Jaws((), 0.0, 1.0, 0.08), 1.0)
    driver = StreamDriver(node, topics, states, WallPace(period), period, period, np.full(7, 10.0))
    spin(node, lambda: driver.publisher.get_subscription_count() > 0, DISCOVERY)
    # This side has found the receiver; the receiver may need a moment more.
    time.sleep(1.0)
    driver.prepare()
    positions = np.zeros(7)
    for count in range(round(seconds_long * RATE)):
        positions[0] = count
        driver.send(positions, 0.08)
    driver.destroy()


def echo(kind: str) -> None:
    """Send every message back."""
    types = {"trajectory": JointTrajectory, "image": Image}
    node = rclpy.create_node("echo")
    quality = SENSOR if kind == "image" else COMMAND
    publisher = node.create_publisher(types[kind], "/bench/pong", quality)
    node.create_subscription(types[kind], "/bench/ping", publisher.publish, quality)
    rclpy.spin(node)


def camera(rate: float, width: int, height: int) -> None:
    """Publish colour, depth and camera info of one stamp."""
    node = rclpy.create_node("camera")
    color = node.create_publisher(Image, "/camera/color/image_raw", SENSOR)
    depth = node.create_publisher(Image, "/camera/aligned_depth_to_color/image_raw", SENSOR)
    info = node.create_publisher(CameraInfo, "/camera/color/camera_info", SENSOR)
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    metres = rng.uniform(0.5, 1.5, (height, width)).astype(np.float32)
    intrinsics = Intrinsics(width, height, 600.0, 600.0, (width - 1) / 2, (height - 1) / 2)
    due = time.monotonic()
    while rclpy.ok():
        header = Header(stamp=node.get_clock().now().to_msg(), frame_id=FRAME)
        color.publish(rgb_to_image(rgb, header))
        depth.publish(depth_to_image(metres, header))
        info.publish(camera_info(intrinsics, header))
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


@dataclass(frozen=True)
class NoParameters(CameraParameters):
    """Of the measuring nodes: only the camera's."""


class ManagedBare(ManagedNode):
    """A managed node that does nothing by itself."""

    PARAMETERS = NoParameters


# ---- the measurements ------------------------------------------------------------------------------------


def stream(length: float) -> FloatArray:
    """When each command of a stream arrived, s of the monotonic clock."""
    arrivals: list[float] = []
    node = rclpy.create_node("receiver")
    node.create_subscription(
        JointTrajectory, "/bench/command", lambda _: arrivals.append(time.monotonic()), COMMAND
    )
    with role("commander", str(length)) as process:
        spin(node, lambda: process.poll() is not None, length + 60)
    node.destroy_node()
    return np.array(arrivals)


def ping_pong(message: Any, kind: str, pings: int) -> float:  # noqa: ANN401 - any ROS message
    """Median one-way time of a message between two bare nodes, s."""
    node = rclpy.create_node("pinger")
    quality = SENSOR if kind == "image" else COMMAND
    publisher = node.create_publisher(type(message), "/bench/ping", quality)
    back: list[float] = []
    node.create_subscription(type(message), "/bench/pong", lambda _: back.append(time.monotonic()), quality)
    trips = []
    with role("echo", kind):
        spin(node, lambda: publisher.get_subscription_count() > 0, 30)
        for _ in range(pings):
            count, began = len(back), time.monotonic()
            publisher.publish(message)
            spin(node, lambda count=count: len(back) > count, 1)
            if len(back) > count:
                trips.append(back[-1] - began)
    node.destroy_node()
    return float(np.median(trips)) / 2


def listener() -> tuple[FloatArray, int]:
    """Seconds from taking a frame to its arrival, synchronised, in the nodes' listener; how many were sent.

    The camera's rate is steady, so stamps say what did not arrive.
    """
    node, stamps, lags = ManagedBare("listener"), [], []

    def heard(frame: CameraFrame) -> None:
        stamps.append(seconds(frame.header.stamp))
        lags.append(time.time() - stamps[-1])

    received = CameraListener(node, heard)
    with role("camera", str(CAMERA_RATE), str(SIZE[0]), str(SIZE[1])):
        spin(node, lambda: len(lags) >= FRAMES, 60)
    received.close()
    node.destroy_node()
    steps = np.diff(stamps)
    sent = 1 + int(np.rint(steps * CAMERA_RATE).sum())
    return np.array(lags), sent


def affordances() -> FloatArray:
    """Seconds from a camera message to the affordance that is published for it."""
    node, lags = rclpy.create_node("watcher"), []

    def heard(message: Affordance) -> None:
        lags.append(time.time() - seconds(message.header.stamp))

    node.create_subscription(Affordance, "/kalie/affordance/affordance", heard, LATCHED)
    node.create_publisher(String, "/kalie/affordance/instruction", LATCHED).publish(
        String(data="sweep the trash off the left edge")
    )
    module = [sys.executable, "-m", "kalie_ros.affordance_node", "--ros-args", "-r", "__ns:=/kalie"]
    with running(module):
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            change(node, "/kalie/affordance/change_state", transition)
        with role("camera", "5", str(SIZE[0]), str(SIZE[1])):
            spin(node, lambda: len(lags) >= AFFORDANCES, 60)
    node.destroy_node()
    return np.array(lags[5:])


def change(node: Node, service: str, transition: int) -> None:
    """Ask for a lifecycle transition. Raises RuntimeError where it fails."""
    client = node.create_client(ChangeState, service)
    if not client.wait_for_service(90):
        raise RuntimeError(f"{service} is not there")
    request = ChangeState.Request()
    request.transition.id = transition
    future = client.call_async(request)
    spin(node, future.done, 90)
    answer = future.result()
    if answer is None or not answer.success:
        raise RuntimeError(f"{service}: transition {transition} failed")


def spin(node: Node, done: Callable[[], bool], timeout: float) -> None:
    """Serve a node until something is so, or time is up."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    deadline = time.monotonic() + timeout
    while not done() and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    executor.remove_node(node)
    executor.shutdown()


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the time of the block."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def role(name: str, *arguments: str) -> Any:  # noqa: ANN401 - a context manager
    """This file in another role, in a process of its own."""
    return running([sys.executable, __file__, "--role", name, *arguments])


def commands(run: Run, length: float) -> None:
    """The command stream, and a bare ping-pong of its messages."""
    arrivals = stream(length)
    periods = np.diff(arrivals)
    add_share(run, "commands that arrived", len(arrivals), round(length * RATE))
    add_share(run, "command periods of at most 20 ms", int((periods <= LIMIT).sum()), len(periods))
    worst = float(np.quantile(periods, 0.999))
    add(run, Measured("command period, 99.9th percentile", worst, "limit", LIMIT, alone(worst / LIMIT)))
    trajectory = JointTrajectory(joint_names=list(NAMES))
    trajectory.points = [JointTrajectoryPoint(positions=[0.0] * 7, time_from_start=duration(1 / RATE))]
    bare = ping_pong(trajectory, "trajectory", PINGS)
    jitter = np.abs(periods - 1 / RATE)
    add(run, beside("command jitter", jitter, "bare one-way of the same message", bare))


def images(run: Run) -> None:
    """Frames through the nodes' listener, and a bare ping-pong of the colour image."""
    bare = ping_pong(rgb_to_image(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), Header()), "image", PINGS // 5)
    lags, sent = listener()
    add_share(run, "640x480 RGB-D frames that arrived", len(lags), sent)
    add(run, beside("RGB-D frame, taken to synchronised", lags, "bare one-way of the colour image", bare))
    add(run, against_limit("camera to affordance", list(affordances()), AFFORDANCE_LIMIT))


def beside(what: str, ours: FloatArray, yardstick: str, theirs: float) -> Measured:
    """The median of measured times beside one time."""
    return Measured(what, float(np.median(ours)), yardstick, theirs, median(list(ours / theirs)))


def alone(ratio: float) -> Median:
    """A ratio without an interval."""
    return Median(ratio, None, None, 1)


def add(run: Run, measured: Measured) -> None:
    """Keep and print a time."""
    run.add_row(**measured.row())  # pyright: ignore[reportArgumentType] - rows are by column
    sys.stdout.write(measured.line() + "\n")


def add_share(run: Run, what: str, count: int, of: int) -> None:
    """Keep and print a share."""
    share = wilson(min(count, of), of)
    run.add_row("share", *share, what=what)
    sys.stdout.write(f"{what:44} {100 * share.value:.3f} % of {of}\n")


@contextmanager
def load(cores: int) -> Iterator[None]:
    """Keep cores busy for the time of the block."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> None:
    """Measure, print, and write a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the command stream")
    parser.add_argument("--load", type=int, default=0, help="cores kept busy while the commands stream")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of all runs")
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    roles: dict[str, Callable[..., None]] = {
        "commander": lambda length: commander(float(length)),
        "echo": echo,
        "camera": lambda rate, width, height: camera(float(rate), int(width), int(height)),
    }
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init()
    try:
        if options.role:
            name, *arguments = options.role
            roles[name](*arguments)
            return
        config = LatencyConfig(options.seconds, options.load, usable_cores())
        with Run.open("ros_latency", RunConfig(options.outputs), config) as run:
            with load(options.load), run.stage("commands"):
                commands(run, options.seconds)
            with run.stage("images"):
                images(run)
    except (KeyboardInterrupt, ExternalShutdownException):
        return
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
