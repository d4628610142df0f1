"""Where frames are: the newest transforms of /tf and /tf_static, chained. PyPI has no tf2."""

from __future__ import annotations

import threading

import numpy as np
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from tf2_msgs.msg import TFMessage

from kalie.perception.frame import FloatArray

from .conversions import matrix_from_transform
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


class UnknownFrame(ValueError):
    """Two frames are not connected; the message names them."""


class FrameTree:
    """The newest transform of every frame to its parent."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, FloatArray]] = {}
        self._lock = threading.Lock()

    def listen(self, node: ManagedNode) -> list[object]:
        """Subscribe; the subscriptions are the caller's to destroy."""
        heard = node.guarded(self.add)
        return [
            node.create_subscription(TFMessage, "/tf_static", heard, _STATIC, callback_group=node.group),
            node.create_subscription(TFMessage, "/tf", heard, _DYNAMIC, callback_group=node.group),
        ]

    def add(self, message: TFMessage) -> None:
        """Take up transforms. Raises ValueError where one is not rigid, or there are too many frames."""
        for item in message.transforms:
            pose = matrix_from_transform(item.transform)
            with self._lock:
                if len(self._parents) >= MOST_FRAMES and item.child_frame_id not in self._parents:
                    raise ValueError(f"tf: more than {MOST_FRAMES:,} frames")
                self._parents[item.child_frame_id] = (item.header.frame_id, pose)

    def lookup(self, a: str, b: str) -> FloatArray:
        """The transform (4, 4) that maps points in frame `b` to frame `a`.

        Raises:
            UnknownFrame: nothing connects them.
        """
        up_a, up_b = self._chain(a), self._chain(b)
        for root, root_from_a in up_a.items():
            if root in up_b:
                return np.linalg.inv(root_from_a) @ up_b[root]
        raise UnknownFrame(f"no transform connects {a!r} and {b!r}; known frames: {sorted(up_a | up_b)}")

    def _chain(self, frame: str) -> dict[str, FloatArray]:
        """Every frame above one, nearest first, with its transform from that one."""
        chain = {frame: np.eye(4)}
        for _ in range(MOST_LINKS):
            with self._lock:
                link = self._parents.get(frame)
            if link is None or link[0] in chain:
                break
            chain[link[0]] = link[1] @ chain[frame]
            frame = link[0]
        return chain
