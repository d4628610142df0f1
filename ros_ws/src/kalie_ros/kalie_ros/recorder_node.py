"""Records topics to MCAP files: `~/start` begins a recording, `~/stop` ends it.

Messages are written as they came over the wire, undecoded. Topics that appear later are added. What is older
than half a second survives the death of the process.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import get_args

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.event_handler import QoSMessageLostInfo, SubscriptionEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import MessageInfo, Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from std_srvs.srv import Trigger

from kalie.core.files import UnsafePathError, safe_join

from .bag import BagWriter, Compression, Topic
from .definitions import UnknownType, ament_prefixes, definition, message_class
from .managed import ManagedNode, spin
from .offers import request, to_text
from .parameters import parameter, read

# Seconds between looks for new topics, and between flushes.
PERIOD = 0.5
TOPICS = (
    "/joint_states",
    "/camera/color/image_raw",
    "/camera/color/camera_info",
    "/camera/aligned_depth_to_color/image_raw",
    "/tf_static",
    "/robot_description",
    "/kalie/control/safety",
    "/kalie/control/executed",
    "/kalie/instruction",
    "/kalie/affordance/instruction",
    "/kalie/affordance/affordance",
    "/kalie/affordance/annotated",
    "/diagnostics",
)


@dataclass(frozen=True)
class RecorderParameters:
    """Parameters of the recorder."""

    directory: str = parameter(
        "recordings",
        "Folder of the recordings, absolute or below the working directory; nothing is written elsewhere.",
        read_only=True,
    )
    topics: tuple[str, ...] = parameter(
        TOPICS, "Topics of the next recording, whether they exist yet or not.", most=500
    )
    on_activate: bool = parameter(False, "Whether becoming active begins a recording, without ~/start.")
    max_bytes: int = parameter(
        8 * 2**30, "Largest size of a file; a recording that would exceed it ends.", low=100_000, high=2**44
    )
    compression: Compression = parameter(  # noqa: RUF009 - as dataclasses.field
        "zstd", "How the next recording is compressed.", choices=get_args(Compression)
    )


class RecorderNode(ManagedNode):
    """Writes what it hears; of itself it tells in `/diagnostics` only."""

    PARAMETERS = RecorderParameters

    def __init__(self) -> None:
        super().__init__("recorder")
        self._hearing = MutuallyExclusiveCallbackGroup()
        self._lock = threading.RLock()
        self._undo: list[Callable[[], object]] = []
        self._directory = Path()
        self._bag: BagWriter | None = None
        self._ended, self._failed = "nothing was started", False
        self._topics: list[str] = []
        self._heard: dict[str, Subscription] = {}
        self._left_out: dict[str, str] = {}
        self._lost: Counter[str] = Counter()

    def configure(self) -> None:
        """Make the directory, offer the services."""
        self._directory = run_directory(read(self, RecorderParameters).directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        start = self.create_service(Trigger, "~/start", self._start, callback_group=self.group)
        stop = self.create_service(Trigger, "~/stop", self._stop, callback_group=self.group)
        # On a clock that nobody sets or pauses.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        timer = self.create_timer(PERIOD, self.guarded(self._tick), callback_group=self._hearing, clock=clock)
        self._undo = [
            lambda: self.destroy_timer(timer),
            lambda: self.destroy_service(start),
            lambda: self.destroy_service(stop),
            lambda: self.destroy_publisher(self._diagnostics),
        ]

    def activate(self) -> None:
        """Begin a recording, if that is wanted."""
        if read(self, RecorderParameters).on_activate:
            self._open()

    def deactivate(self) -> None:
        """End the recording."""
        self._end("the recorder was deactivated")

    def cleanup(self) -> None:
        """Withdraw the services."""
        self._unsubscribe()
        while self._undo:
            self._undo.pop(0)()

    def fault(self, error: Exception) -> None:
        """End the recording, whose file is kept."""
        self._end(f"{type(error).__name__}: {error}", failed=True)

    def _start(self, asked: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        return _answered(answer, self._begin)

    def _stop(self, asked: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        return _answered(answer, self._finish)

    def _begin(self) -> str:
        """Begin a recording when asked to; its path."""
        with self._lock:
            if not self.active:
                raise ValueError("the recorder is not active")
            if self._bag is not None:
                raise ValueError(f"already recording to {self._bag.path}")
            return self._open()

    def _open(self) -> str:
        """Begin a recording; its path."""
        with self._lock:
            # Subscribed anew, so that this file too has what is latched.
            self._unsubscribe()
            own = read(self, RecorderParameters)
            self._topics = [self._full_name(topic) for topic in own.topics]
            self._bag = BagWriter(_new_file(self._directory), own.compression, own.max_bytes)
            self._ended, self._failed = "", False
            self._left_out, self._lost = {}, Counter()
            self.get_logger().info(f"recording to {self._bag.path}")
            path = str(self._bag.path)
            self._look()
            return path

    def _finish(self) -> str:
        """End the recording; its path and what it holds."""
        with self._lock:
            if self._bag is None:
                raise ValueError(f"not recording: {self._ended}")
            told = f"{self._bag.path}: {self._bag.messages} messages"
            self._end("it was stopped")
            if self._failed:
                raise OSError(self._ended)
            return told

    def _end(self, reason: str, *, failed: bool = False) -> None:
        with self._lock:
            bag, self._bag = self._bag, None
            if bag is None:
                return
            self._ended, self._failed = reason, failed
            try:
                bag.close()
            except OSError as error:
                self._ended, self._failed = f"{reason}; {bag.path} has no summary: {error}", True
            log = self.get_logger().error if self._failed else self.get_logger().info
            log(f"recording ended: {self._ended}")

    def _tick(self) -> None:
        with self._lock:
            if self._bag is None:
                self._unsubscribe()
            else:
                self._look()
                self._guard_disk(self._bag.flush)
        self._diagnose()

    def _look(self) -> None:
        """Subscribe to what is published now; anew where a publisher came that offers less."""
        for topic in self._topics:
            if self._bag is not None and (found := self.get_publishers_info_by_topic(topic)):
                self._listen(self._bag, topic, found)

    def _listen(self, bag: BagWriter, topic: str, found: Sequence[TopicEndpointInfo]) -> None:
        qualities = [info.qos_profile for info in found]
        wanted, heard = request(qualities), self._heard.get(topic)
        if heard is not None and not _offers_less(wanted, heard.qos_profile):
            return
        first = found[0]
        try:
            kind = message_class(first.topic_type, ament_prefixes())
            text = definition(first.topic_type, ament_prefixes())
        except UnknownType as error:
            self._leave_out(topic, str(error))
            return
        if topic not in bag:
            known = Topic(topic, first.topic_type, text, to_text(qualities), str(first.topic_type_hash))
            self._guard_disk(lambda: bag.add(known))
        if heard is not None:
            self.destroy_subscription(heard)
        self._heard[topic] = self._subscribe(topic, kind, wanted)
        if others := {info.topic_type for info in found} - {first.topic_type}:
            self._leave_out(topic, f"recorded as {first.topic_type} only, not as {', '.join(sorted(others))}")

    def _subscribe(self, topic: str, kind: type, quality: QoSProfile) -> Subscription:
        def heard(data: bytes, info: MessageInfo) -> None:
            with self._lock:
                bag = self._bag
                if bag is not None and topic in bag:
                    received = info["received_timestamp"] or time.time_ns()
                    published = info["source_timestamp"] or received
                    self._guard_disk(lambda: bag.write(topic, data, received, published))

        def lost(info: QoSMessageLostInfo) -> None:
            self._lost[topic] = info.total_count

        return self.create_subscription(
            kind,
            topic,
            self.guarded(heard),
            quality,
            callback_group=self._hearing,
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(message_lost=lost),
        )

    def _unsubscribe(self) -> None:
        while self._heard:
            self.destroy_subscription(self._heard.popitem()[1])

    def _guard_disk(self, write: Callable[[], None]) -> None:
        """Write; a full file or disk ends the recording."""
        try:
            write()
        except OSError as error:
            self._end(str(error), failed=True)

    def _leave_out(self, topic: str, reason: str) -> None:
        if self._left_out.get(topic) != reason:
            self._left_out[topic] = reason
            self.get_logger().warning(f"{topic}: {reason}")

    def _full_name(self, topic: str) -> str:
        try:
            return self.resolve_topic_name(topic)
        except RuntimeError:
            raise ValueError(f"topics: {topic!r} is not a topic's name") from None

    def _diagnose(self) -> None:
        with self._lock:
            bag = self._bag
            status = DiagnosticStatus(
                name=f"{self.get_fully_qualified_name()}: recording", level=DiagnosticStatus.OK
            )
            status.message = f"recording to {bag.path}" if bag else f"not recording: {self._ended}"
            values = {"bytes": bag.size, "messages": bag.messages, "topics": len(self._heard)} if bag else {}
            values |= {f"left out: {topic}": reason for topic, reason in self._left_out.items()}
            values |= {f"lost: {topic}": count for topic, count in self._lost.items()}
        if self._left_out or self._lost:
            status.level = DiagnosticStatus.WARN
        if self._failed:
            status.level = DiagnosticStatus.ERROR
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def run_directory(text: str) -> Path:
    """The recorder's folder.

    Raises:
        UnsafePathError: it climbs out with "..", or a link in it leaves the working directory.
    """
    path = Path(text)
    if path.is_absolute() and ".." not in path.parts:
        return path
    try:
        return safe_join(Path.cwd(), path).absolute()
    except UnsafePathError as error:
        raise UnsafePathError(f"directory: {error}") from None


def _new_file(directory: Path) -> Path:
    """A name that is not taken, by the time of day."""
    stem = datetime.now().strftime("%Y%m%d-%H%M%S")
    names = (f"{stem}{suffix}.mcap" for suffix in ("", *(f"-{number}" for number in range(1, 1000))))
    return next(path for name in names if not (path := directory / name).exists())


def _offers_less(now: QoSProfile, before: QoSProfile) -> bool:
    weaker = now.reliability == ReliabilityPolicy.BEST_EFFORT != before.reliability
    return weaker or now.durability == DurabilityPolicy.VOLATILE != before.durability


def _answered(answer: Trigger.Response, do: Callable[[], str]) -> Trigger.Response:
    """The answer of a service: what `do` returns, or why it refuses."""
    try:
        answer.success, answer.message = True, do()
    except (ValueError, OSError) as error:
        answer.success, answer.message = False, str(error)
    return answer


def main() -> None:
    """Run the node."""
    spin(RecorderNode)


if __name__ == "__main__":
    main()
