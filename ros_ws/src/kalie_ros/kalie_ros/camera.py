"""The camera as nodes see it: the newest synchronised colour, depth and camera info that may be acted on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from kalie.perception.frame import FrameError, RgbdFrame

from .conversions import image_to_depth, image_to_rgb, intrinsics_of, seconds
from .frame_sync import FrameSync, SyncedSet
from .frames import FrameTree, StaleTransform
from .managed import ManagedNode
from .parameters import parameter, read
from .qos import SENSOR

# Seconds between looks at whether a frame is still wanted.
POLL_PERIOD = 0.05
CameraFault = Literal[
    "no_frame", "too_old", "frozen", "clock_skew", "unreadable", "unregistered", "stale_transform"
]


class CameraRefused(FrameError):
    """There is no frame that may be acted on; `fault` says why for programs, the message for people."""

    def __init__(self, fault: CameraFault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault: CameraFault = fault


@dataclass(frozen=True)
class CameraParameters:
    """What a node declares that uses a camera."""

    color_topic: str = parameter("/camera/color/image_raw", "Colour images.", read_only=True)
    depth_topic: str = parameter(
        "/camera/aligned_depth_to_color/image_raw", "Depth registered to colour.", read_only=True
    )
    camera_info_topic: str = parameter("/camera/color/camera_info", "Of the colour camera.", read_only=True)
    sync_slop: float = parameter(
        0.01,
        "Stamps of one frame may differ by so much, s; below half a frame period.",
        low=0.0, high=0.1, read_only=True,
    )  # fmt: skip
    max_frame_age: float = parameter(
        0.5, "A frame that was received longer ago is not used, s.", low=0.01, high=60.0
    )
    max_clock_skew: float = parameter(
        0.5,
        "Stamps may be off this node's clock by so much when they are received, s; the way here included.",
        low=0.001, high=60.0,
    )  # fmt: skip


@dataclass(frozen=True)
class CameraFrame:
    """The messages of one instant.

    Attributes:
        color: the picture.
        depth: registered to it; None where the listener has no depth topic.
        info: of the colour camera.
        received: when the first of them came, s, steady clock.
        lag: s by which their stamp was behind this node's clock when the last of them came.
    """

    color: Image
    depth: Image | None
    info: CameraInfo
    received: float
    lag: float

    @property
    def header(self) -> Header:
        """Stamp and optical frame of the picture."""
        return self.color.header

    @property
    def taken(self) -> float:
        """When it was taken, s, steady clock; if anything, it was later."""
        return self.received - max(self.lag, 0.0)

    def rgbd(self, frames: FrameTree, base_frame: str, max_transform_age: float) -> RgbdFrame:
        """As the library has it, stamped with `received`.

        Args:
            frames: where the camera is.
            base_frame: of the robot.
            max_transform_age: s by which the transform of a camera that moves may be off the picture.

        Raises:
            CameraRefused: a message cannot be read, colour and depth are of different cameras, no
                transform connects the camera with the base, or the one that does is of another time.
        """
        if self.depth is None:
            raise CameraRefused("no_frame", "depth_topic is empty")
        optical = self.header.frame_id
        if self.depth.header.frame_id != optical:
            depth_frame = self.depth.header.frame_id
            raise CameraRefused("unregistered", f"depth is of frame {depth_frame!r}, colour of {optical!r}")
        try:
            return RgbdFrame(
                image_to_rgb(self.color),
                image_to_depth(self.depth),
                intrinsics_of(self.info),
                frames.lookup(base_frame, optical, seconds(self.header.stamp), max_transform_age),
                self.received,
            )
        except StaleTransform as error:
            raise CameraRefused("stale_transform", str(error)) from error
        except ValueError as error:
            raise CameraRefused("unreadable", str(error)) from error


class CameraListener:
    """Listens to one camera. The node's parameters include `CameraParameters`. Thread-safe."""

    def __init__(self, node: ManagedNode, on_frame: Callable[[CameraFrame], None] | None = None) -> None:
        """Subscribe; an empty `depth_topic` means that depth is not needed.

        Args:
            node: that listens.
            on_frame: called with every new frame that may be acted on, by the executor: must be short.
        """
        self._node, self._on_frame = node, on_frame
        settings = read(node, CameraParameters)
        topics: dict[str, tuple[type, str]] = {
            "color": (Image, settings.color_topic),
            "camera_info": (CameraInfo, settings.camera_info_topic),
        }
        if settings.depth_topic:
            topics["depth"] = (Image, settings.depth_topic)
        self._sync = FrameSync(list(topics), settings.sync_slop)
        self._newest: CameraFrame | None = None
        self._changed = threading.Condition()
        # One after the other, in the order they came.
        group = MutuallyExclusiveCallbackGroup()
        self._subscriptions = [
            node.create_subscription(kind, name, self._heard(topic), SENSOR, callback_group=group)
            for topic, (kind, name) in topics.items()
        ]

    def newest(self) -> CameraFrame:
        """The newest frame.

        Raises:
            CameraRefused: none has come, or it must not be acted on; the message says what each topic did.
        """
        settings = read(self._node, CameraParameters)
        with self._changed:
            return self._fresh(settings, time.monotonic())

    def next(self, after: float, timeout: float, given_up: Callable[[], bool] = lambda: False) -> CameraFrame:
        """The first frame that was taken after a time, s, steady clock; waits for it.

        Args:
            after: the time.
            timeout: s.
            given_up: asked now and then whether nobody wants the frame any more.

        Raises:
            CameraRefused: none came within `timeout` seconds, or before it was given up.
        """
        settings, deadline, came = read(self._node, CameraParameters), time.monotonic() + timeout, False
        with self._changed:
            while not came and not given_up() and (left := deadline - time.monotonic()) > 0:
                came = self._changed.wait_for(
                    lambda: self._newest is not None and self._newest.taken > after, min(left, POLL_PERIOD)
                )
            now = time.monotonic()
            frame = self._fresh(settings, now)
            if came:
                return frame
            heard = self._sync.heard(now)
            raise CameraRefused("too_old", f"no frame was taken in the last {now - after:.2f} s; {heard}")

    def close(self) -> None:
        """Unsubscribe, and forget what came."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        with self._changed:
            self._newest = None

    def _heard(self, topic: str) -> Callable[[Any], None]:
        def hear(message: Any) -> None:  # noqa: ANN401 - Image or CameraInfo
            self._add(topic, message)

        return self._node.guarded(hear)

    def _add(self, topic: str, message: Any) -> None:  # noqa: ANN401 - Image or CameraInfo
        stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        with self._changed:
            complete = self._sync.add(topic, stamp, message, time.monotonic())
            if complete is None:
                return
            frame = self._frame(complete)
            self._newest = frame
            self._changed.notify_all()
        self._hand_on(frame)

    def _hand_on(self, frame: CameraFrame) -> None:
        if self._on_frame is None:
            return
        try:
            check_lag(frame.lag, read(self._node, CameraParameters).max_clock_skew)
        except CameraRefused as refused:
            self._node.get_logger().warning(str(refused), throttle_duration_sec=5.0)
        else:
            self._on_frame(frame)

    def _frame(self, complete: SyncedSet) -> CameraFrame:
        parts = {topic: sent.message for topic, sent in complete.parts.items()}
        lag = (self._node.get_clock().now().nanoseconds - complete.stamp) * 1e-9
        return CameraFrame(parts["color"], parts.get("depth"), parts["camera_info"], complete.received, lag)

    def _fresh(self, settings: CameraParameters, now: float) -> CameraFrame:
        """The newest frame; the caller holds the lock."""
        frame, heard = self._newest, self._sync.heard(now)
        if frame is None:
            raise CameraRefused("no_frame", f"no synchronised frame has come: {heard}")
        check_lag(frame.lag, settings.max_clock_skew)
        age, limit = now - frame.received, settings.max_frame_age
        if age <= limit:
            return frame
        repeating = self._sync.repeating(now - limit)
        if repeating:
            sent = " and ".join(repeating)
            raise CameraRefused("frozen", f"{sent} sends the stamp of {age:.2f} s ago again and again")
        raise CameraRefused(
            "too_old", f"the newest frame came {age:.2f} s ago, the limit is {limit:g} s; {heard}"
        )


def check_lag(lag: float, limit: float) -> None:
    """Refuse stamps that are too far from this node's clock.

    Args:
        lag: s by which a stamp was behind this node's clock on receipt; negative: ahead.
        limit: s, either way.

    Raises:
        CameraRefused: the clocks disagree, or the frame was long on its way.
    """
    if abs(lag) > limit:
        side = "behind" if lag > 0 else "ahead of"
        raise CameraRefused(
            "clock_skew",
            f"the camera's stamps are {abs(lag):.3f} s {side} this node's clock, the limit is {limit:g} s",
        )
