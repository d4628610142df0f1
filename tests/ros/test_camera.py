"""Messages of one camera become frames of one instant; only those that may be acted on are handed out."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, ShutdownException
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from kalie.perception.frame import Intrinsics
from kalie_ros.camera import CameraFrame, CameraListener, CameraParameters, CameraRefused, check_lag
from kalie_ros.conversions import camera_info, depth_to_image, rgb_to_image, stamped
from kalie_ros.frame_sync import FrameSync, SyncedSet
from kalie_ros.frames import FrameTree
from kalie_ros.managed import ManagedNode

from .fake_camera import OPTICAL, TOPICS, FakeCamera, Faults, picture
from .graph import PATIENCE, Graph

MS = 1_000_000
PERIOD = 33 * MS
PARTS = ("color", "camera_info", "depth")


def _sync(slop: float = 0.01, keep: int = 8) -> FrameSync:
    return FrameSync(PARTS, slop, keep)


def _send(sync: FrameSync, stamp: int, now: float = 0.0, parts: tuple[str, ...] = PARTS) -> SyncedSet | None:
    """Send all parts of a frame; what the last of them completes."""
    return [sync.add(part, stamp, (part, stamp), now) for part in parts][-1]


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """Messages (part, stamp, frame) as they come: late, out of order, some lost, stamps a little apart."""
    offsets = {part: draw(st.integers(-4, 4)) * MS for part in PARTS}
    messages = []
    for frame in range(draw(st.integers(1, 12))):
        for part in PARTS:
            jitter, delay, lost = draw(
                st.tuples(st.integers(-MS, MS), st.integers(0, 3 * PERIOD), st.integers(0, 4))
            )
            if lost:
                stamp = 10**18 + frame * PERIOD + offsets[part] + jitter
                messages.append((stamp + delay, part, stamp, frame))
    return [(part, stamp, frame) for _, part, stamp, frame in sorted(messages)]


@given(streams())
@settings(deadline=None)
def test_a_set_never_mixes_frames_whatever_is_late_or_lost(stream: list[tuple[str, int, int]]) -> None:
    sync, last = _sync(), -1
    for now, (part, stamp, frame) in enumerate(stream):
        complete = sync.add(part, stamp, frame, now / 100)
        if complete is not None:
            frames = {sent.message for sent in complete.parts.values()}
            assert len(frames) == 1
            assert set(complete.parts) == set(PARTS)
            assert complete.stamp == complete.parts["color"].stamp > last
            assert complete.received == min(sent.received for sent in complete.parts.values())
            assert sync.newest is complete
            last = complete.stamp


@given(st.permutations(PARTS), st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_parts_pair_within_the_slop_in_any_order(order: list[str], shifts: list[int]) -> None:
    sync = _sync(0.01)
    found = [
        sync.add(part, 10**18 + shift * MS, part, 0.0) for part, shift in zip(order, shifts, strict=True)
    ]
    assert found[:2] == [None, None]
    assert found[2] is not None


def test_parts_further_apart_than_the_slop_do_not_pair() -> None:
    sync = _sync(0.01)
    _send(sync, 0, parts=("color", "camera_info"))
    assert sync.add("depth", 10 * MS + 1, None, 0.0) is None


def test_when_a_part_is_lost_expect_its_partners_not_to_join_another_frame() -> None:
    sync = _sync(slop=0.05)  # wider than the period: only nearness tells frames apart
    _send(sync, 0, parts=("color", "camera_info"))
    assert _send(sync, PERIOD).stamp == PERIOD
    assert _send(sync, 2 * PERIOD, parts=("color", "camera_info")) is None
    assert sync.newest is not None
    assert sync.newest.stamp == PERIOD


def test_when_frames_come_out_of_order_expect_the_newest_kept() -> None:
    sync = _sync()
    _send(sync, 2 * PERIOD)
    assert _send(sync, PERIOD) is None
    assert sync.newest is not None
    assert sync.newest.stamp == 2 * PERIOD


def test_when_partners_never_come_expect_bounded_memory() -> None:
    sync = _sync(keep=4)
    for frame in range(1000):
        sync.add("color", frame * PERIOD, bytes(1), 0.0)
    assert [sent.stamp for sent in sync._waiting["color"]] == [frame * PERIOD for frame in range(996, 1000)]


def test_when_wild_stamps_fill_the_memory_expect_true_frames_to_pair_again() -> None:
    sync = _sync(keep=4)
    for frame in range(9):
        sync.add("color", 10**18 + frame * PERIOD, None, 0.0)
    assert _send(sync, PERIOD) is not None
    assert _send(sync, 2 * PERIOD) is not None


@pytest.mark.parametrize("back", [1.5, 3600.0])
def test_when_the_cameras_clock_is_set_back_expect_it_to_start_anew(back: float) -> None:
    sync, start = _sync(), 10**18
    _send(sync, start)
    earlier = start - round(back * 1e9)
    assert _send(sync, earlier) is not None
    assert sync.newest is not None
    assert sync.newest.stamp == earlier


def test_when_stamps_repeat_expect_the_topics_named() -> None:
    sync = _sync()
    _send(sync, PERIOD, now=1.0)
    assert sync.repeating(since=0.0) == []
    assert _send(sync, PERIOD, now=2.0, parts=("color", "depth")) is None
    assert sync.repeating(since=1.5) == ["color", "depth"]
    assert sync.repeating(since=2.5) == []
    assert sync.newest is not None
    assert sync.newest.received == 1.0


def test_what_was_heard_says_what_is_missing() -> None:
    sync = _sync()
    sync.add("color", 0, None, 10.0)
    assert sync.heard(10.03) == "color came 0.03 s ago, camera_info never came, depth never came"
    sync.add("camera_info", 0, None, 10.0)
    sync.add("depth", 3600 * 10**9, None, 10.0)
    assert "depth and color differ by 3600.000 s" in sync.heard(10.0)


@pytest.mark.parametrize(("lag", "side"), [(3600.0, "behind"), (-3600.0, "ahead of"), (math.inf, "behind")])
def test_when_clocks_disagree_expect_refusal_that_says_so(lag: float, side: str) -> None:
    check_lag(0.5, 0.5)
    check_lag(-0.5, 0.5)
    with pytest.raises(CameraRefused, match=side) as refused:
        check_lag(lag, 0.5)
    assert refused.value.fault == "clock_skew"


def _frame(**changes: object) -> CameraFrame:
    header, rgb = Header(frame_id=OPTICAL), picture()
    height, width = rgb.shape[:2]
    frame = CameraFrame(
        color=rgb_to_image(rgb, header),
        depth=depth_to_image(np.ones((height, width), np.float32), header),
        info=camera_info(Intrinsics(width, height, 150.0, 150.0, 80.0, 60.0), header),
        received=12.5,
        lag=0.25,
    )
    return replace(frame, **changes)


def _tree() -> FrameTree:
    tree, pose = FrameTree(), np.eye(4)
    pose[2, 3] = 0.9
    tree.add_fixed(TFMessage(transforms=[stamped("base", OPTICAL, pose, Header())]))
    return tree


def test_a_frame_becomes_the_librarys() -> None:
    frame = _frame()
    rgbd = frame.rgbd(_tree(), "base", 0.2)
    assert np.array_equal(rgbd.rgb, picture())
    assert rgbd.base_from_camera[2, 3] == 0.9
    assert (rgbd.stamp, frame.taken) == (12.5, 12.25)


def _depth(height: int = 120, width: int = 160, frame: str = OPTICAL) -> Image:
    return depth_to_image(np.ones((height, width), np.float32), Header(frame_id=frame))


@pytest.mark.parametrize(
    ("changes", "fault", "named"),
    [
        ({"depth": None}, "no_frame", "depth_topic"),
        ({"depth": _depth(frame="ir")}, "unregistered", "ir"),
        ({"depth": _depth(60, 80)}, "unreadable", "depth"),
        ({"info": camera_info(Intrinsics(80, 60, 9.0, 9.0, 4.0, 3.0), Header())}, "unreadable", "rgb"),
        ({"color": _depth()}, "unreadable", "32FC1"),
    ],
)
def test_when_a_frame_does_not_fit_together_expect_the_reason(changes: dict, fault: str, named: str) -> None:
    with pytest.raises(CameraRefused, match=named) as refused:
        _frame(**changes).rgbd(_tree(), "base", 0.2)
    assert refused.value.fault == fault


def test_when_no_transform_is_known_expect_both_frames_named() -> None:
    with pytest.raises(CameraRefused, match=f"'base' and '{OPTICAL}'"):
        _frame().rgbd(FrameTree(), "base", 0.2)


@pytest.mark.parametrize(("late", "side"), [(3.2, "3.20 s older"), (-3.2, "3.20 s newer")])
def test_when_the_transform_of_a_moving_camera_is_of_another_time_expect_the_seconds(
    late: float, side: str
) -> None:
    def seen(taken: float) -> CameraFrame:
        whole, rest = divmod(round(taken * 1e9), 10**9)
        frame = _frame()
        frame.color.header.stamp = Time(sec=whole, nanosec=rest)
        return frame

    tree = FrameTree()
    tree.add(TFMessage(transforms=[stamped("base", "hand", np.eye(4), Header(stamp=Time(sec=100)))]))
    tree.add_fixed(TFMessage(transforms=[stamped("hand", OPTICAL, np.eye(4), Header())]))
    for near in (99.9, 100.0, 100.1):
        seen(near).rgbd(tree, "base", 0.2)
    with pytest.raises(CameraRefused, match=f"from '{OPTICAL}' to 'base' is {side}") as refused:
        seen(100 + late).rgbd(tree, "base", 0.2)
    assert refused.value.fault == "stale_transform"


class _Watcher(ManagedNode):
    """A node that does nothing but listen to the camera."""

    PARAMETERS = CameraParameters

    def __init__(self) -> None:
        super().__init__("watcher")


@pytest.fixture
def watcher(graph: Graph) -> Iterator[ManagedNode]:
    """A node in this process, spun in the background, in the graph's domain."""
    topics = [f"{name}:={topic}" for name, topic in TOPICS.items()]
    limits = ["max_frame_age:=2.0", "max_clock_skew:=2.0"]
    arguments = [part for item in (*topics, *limits) for part in ("-p", item)]
    rclpy.init(args=["--ros-args", *arguments], domain_id=graph.domain)
    node, executor = _Watcher(), MultiThreadedExecutor(2)
    executor.add_node(node)

    def spin() -> None:
        with suppress(ShutdownException, ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join(5)
    node.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.ros
def test_frames_come_synchronised_and_are_waited_for(graph: Graph, watcher: ManagedNode) -> None:
    came: list[CameraFrame] = []
    listener, camera = CameraListener(watcher, came.append), FakeCamera(graph.node)
    try:
        asked = time.monotonic()
        frame = listener.next(asked, PATIENCE)
        assert frame.taken > asked
        assert frame.rgbd(_tree(), "base", 0.2).depth.shape == frame.rgbd(_tree(), "base", 0.2).rgb.shape[:2]
        graph.until(lambda: len(came) > 5)
        assert listener.newest().received >= frame.received
    finally:
        camera.close()
        listener.close()
    stamps = [item.header.stamp.sec * 10**9 + item.header.stamp.nanosec for item in came]
    assert stamps == sorted(set(stamps))
    assert set(stamps) <= set(camera.stamps)
    with pytest.raises(CameraRefused, match="no_frame"):
        listener.newest()


@pytest.mark.ros
@pytest.mark.parametrize(
    ("faults", "fault", "named"),
    [
        (Faults(silent=frozenset({"color", "depth", "info"})), "no_frame", "color never came"),
        (Faults(silent=frozenset({"color"})), "no_frame", "color never came, camera_info came"),
        (Faults(silent=frozenset({"depth"})), "no_frame", "depth never came"),
        (Faults(clock=-3600.0), "clock_skew", "behind"),
        (Faults(clock=3600.0), "clock_skew", "ahead of"),
    ],
)
def test_when_no_frame_may_be_acted_on_expect_the_reason(
    graph: Graph, watcher: ManagedNode, faults: Faults, fault: str, named: str
) -> None:
    came: list[CameraFrame] = []
    listener, camera = CameraListener(watcher, came.append), FakeCamera(graph.node, faults=faults)
    try:
        with pytest.raises(CameraRefused, match=named) as refused:
            # Ahead of this machine's clock, every frame was taken "after" now.
            listener.next(time.monotonic(), 3.0)
        assert refused.value.fault == fault
        assert came == []
    finally:
        camera.close()
        listener.close()


@pytest.mark.ros
@pytest.mark.parametrize(("faults", "fault"), [(None, "too_old"), (Faults(frozen=True), "frozen")])
def test_when_the_camera_stops_or_freezes_expect_refusal_with_the_seconds(
    graph: Graph, watcher: ManagedNode, faults: Faults | None, fault: str
) -> None:
    listener, camera = CameraListener(watcher), FakeCamera(graph.node)
    try:
        listener.next(time.monotonic(), PATIENCE)
        camera.faults = faults or Faults(silent=frozenset({"color", "depth", "info"}))
        time.sleep(2.5)
        with pytest.raises(CameraRefused, match=r"[2-9]\.\d\d s ago") as refused:
            listener.newest()
        assert refused.value.fault == fault
        camera.faults = Faults()
        listener.next(time.monotonic(), PATIENCE)
    finally:
        camera.close()
        listener.close()
