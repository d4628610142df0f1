"""Where frames are: the newest transforms of /tf and /tf_static, chained. PyPI has no tf2."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from tf2_msgs.msg import TFMessage

from kalie.perception.frame import FloatArray

from .conversions import matrix_from_transform, seconds
from .managed import ManagedNode

# Static transforms come one message a publisher, so that many must be kept.
_STATIC = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
_DYNAMIC = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE)
MOST_LINKS = 100
MOST_FRAMES = 10_000
# Seconds by which the transform of a camera that moves may be off the instant of its image.
MAX_TRANSFORM_AGE = 0.2


class UnknownFrame(ValueError):
    """Two frames are not connected; the message names them."""


class StaleTransform(ValueError):
    """Two frames move against each other, and where they were at an instant is not known."""


@dataclass(frozen=True)
class _Way:
    """From one frame to another above it.

    Attributes:
        pose: (4, 4), the upper frame from the lower one.
        stamps: when the transforms on it were measured, s; fixed ones have none.
    """

    pose: FloatArray
    stamps: tuple[float, ...] = ()


class FrameTree:
    """The newest transform of every frame to its parent."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, _Way]] = {}
        self._lock = threading.Lock()

    def listen(self, node: ManagedNode) -> list[object]:
        """Subscribe; the subscriptions are the caller's to destroy."""
        fixed, moving, group = node.guarded(self.add_fixed), node.guarded(self.add), node.group
        return [
            node.create_subscription(TFMessage, "/tf_static", fixed, _STATIC, callback_group=group),
            node.create_subscription(TFMessage, "/tf", moving, _DYNAMIC, callback_group=group),
        ]

    def add(self, message: TFMessage) -> None:
        """Take up transforms of frames that move, each of its stamp.

        Raises:
            ValueError: one is not rigid, or there are too many frames.
        """
        for item in message.transforms:
            self._add(item, (seconds(item.header.stamp),))

    def add_fixed(self, message: TFMessage) -> None:
        """Take up transforms that hold at any time; otherwise as `add`."""
        for item in message.transforms:
            self._add(item, ())

    def lookup(self, a: str, b: str, at: float = 0.0, max_age: float = math.inf) -> FloatArray:
        """The transform (4, 4) that maps points in frame `b` to frame `a`.

        Args:
            a: the frame to map to.
            b: the frame to map from.
            at: the instant that counts, s, on the clock of the stamps.
            max_age: s by which transforms between them may be off it, either way.

        Raises:
            UnknownFrame: nothing connects them.
            StaleTransform: a transform that is not fixed is too far from `at`.
        """
        up_a, up_b = self._chain(a), self._chain(b)
        root = next((frame for frame in up_a if frame in up_b), None)
        if root is None:
            raise UnknownFrame(f"no transform connects {a!r} and {b!r}; known frames: {sorted(up_a | up_b)}")
        age = max((at - stamp for stamp in (*up_a[root].stamps, *up_b[root].stamps)), key=abs, default=0.0)
        if not abs(age) <= max_age:
            side = "older" if age > 0 else "newer"
            raise StaleTransform(
                f"the transform from {b!r} to {a!r} is {abs(age):.2f} s {side} than the image, "
                f"the limit is {max_age:g} s"
            )
        return np.linalg.inv(up_a[root].pose) @ up_b[root].pose

    def _add(self, item: TransformStamped, stamps: tuple[float, ...]) -> None:
        way = _Way(matrix_from_transform(item.transform), stamps)
        with self._lock:
            if len(self._parents) >= MOST_FRAMES and item.child_frame_id not in self._parents:
                raise ValueError(f"tf: more than {MOST_FRAMES:,} frames")
            self._parents[item.child_frame_id] = (item.header.frame_id, way)

    def _chain(self, frame: str) -> dict[str, _Way]:
        """Every frame above one, nearest first, with the way to it from that one."""
        chain = {frame: _Way(np.eye(4))}
        for _ in range(MOST_LINKS):
            with self._lock:
                link = self._parents.get(frame)
            if link is None or link[0] in chain:
                break
            below, (parent, way) = chain[frame], link
            chain[parent] = _Way(way.pose @ below.pose, below.stamps + way.stamps)
            frame = parent
        return chain
