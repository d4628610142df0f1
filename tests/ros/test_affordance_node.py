"""The affordance node as a process: answers, refusals and faults over real DDS."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from kalie.affordance.heatmap import HeatmapKeypointModel
from kalie.affordance.shipped import SHIPPED
from kalie.perception.frame import Intrinsics
from kalie_interfaces.msg import Affordance as AffordanceMsg
from kalie_interfaces.srv import PredictAffordance
from kalie_ros.conversions import (
    affordance_from_msg,
    camera_info,
    depth_to_image,
    image_to_rgb,
    rgb_to_image,
)
from kalie_ros.qos import LATCHED

from .fake_camera import TOPICS, FakeCamera, Faults, header, picture
from .graph import PATIENCE, Graph, graph_in

pytestmark = pytest.mark.ros
Answer = PredictAffordance.Response
INSTRUCTION = "sweep the trash off the table"
SILENT = Faults(silent=frozenset({"color", "depth", "info"}))
# Patient limits: what is tested is that they hold, not how fast a loaded machine is.
LIMITS = {"max_frame_age": 2.0, "max_clock_skew": 2.0, "min_confidence": 0.0}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    with graph_in(tmp_path_factory.mktemp("affordance")) as graph:
        graph.start("affordance", **TOPICS, **LIMITS)
        yield graph


@pytest.fixture
def node(running: Graph) -> Iterator[Graph]:
    """The node, active, as if no camera had ever spoken; it must live after the test."""
    running.transition("affordance", "deactivate")
    running.transition("affordance", "activate")
    yield running
    assert running.alive("affordance"), running.log()


@pytest.fixture
def camera(node: Graph) -> Iterator[FakeCamera]:
    camera = FakeCamera(node.node)
    yield camera
    camera.close()


def _ask(graph: Graph, instruction: str = INSTRUCTION, **fields: Any) -> Answer:  # noqa: ANN401
    request = PredictAffordance.Request(instruction=instruction, **fields)
    return graph.call(PredictAffordance, "/kalie/affordance/predict", request)


def _ask_until(graph: Graph, good: Callable[[Answer], bool]) -> Answer:
    """Ask about the camera's newest frame until the answer is the right one: discovery takes its time."""
    deadline = time.monotonic() + PATIENCE
    while not good(answer := _ask(graph)):
        assert time.monotonic() < deadline, answer.message
        time.sleep(0.1)
    return answer


def _nanoseconds(message: AffordanceMsg | Image) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def _set(graph: Graph, name: str, value: float) -> bool:
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return graph.call(SetParameters, "/kalie/affordance/set_parameters", request).results[0].successful


def test_a_picture_is_judged_as_the_library_does(node: Graph) -> None:
    rgb, stamped = picture(), header(1_234_567_890_123)
    answer = _ask(node, image=rgb_to_image(rgb, stamped))
    assert answer.success, answer.message
    expected = HeatmapKeypointModel.load(SHIPPED["tasks"]).predict([rgb], [INSTRUCTION])[0]
    found = affordance_from_msg(answer.affordance)
    assert expected.affordance is not None
    assert found.affordance is not None
    for (name, point), (_, true) in zip(
        found.affordance.keypoints(), expected.affordance.keypoints(), strict=True
    ):
        assert math.dist((point.x, point.y), (true.x, true.y)) < 1e-4, name
    assert answer.confidence == pytest.approx(min(expected.confidence.values()), abs=1e-4)
    assert answer.affordance.header == answer.annotated.header == stamped
    drawn = image_to_rgb(answer.annotated)
    assert answer.annotated.encoding == "rgb8"
    assert drawn.shape == rgb.shape
    assert (drawn != rgb).any()


def test_whoever_comes_late_still_gets_the_newest_answer(node: Graph) -> None:
    stamps = [10**9, 2 * 10**9]
    for stamp in stamps:
        assert _ask(node, image=rgb_to_image(picture(), header(stamp))).success
    late = node.hear(AffordanceMsg, "/kalie/affordance/affordance", LATCHED)
    pictures = node.hear(Image, "/kalie/affordance/annotated", LATCHED)
    node.until(lambda: late and pictures)
    assert _nanoseconds(late[0]) == _nanoseconds(pictures[0]) == stamps[1]


def test_without_a_picture_the_cameras_newest_frame_is_judged(node: Graph, camera: FakeCamera) -> None:
    answer = _ask_until(node, lambda answer: answer.success)
    assert _nanoseconds(answer.affordance) in camera.stamps
    assert answer.affordance.header.frame_id == header(0).frame_id


GOOD = rgb_to_image(picture(), header(10**9))


def _changed(**changes: object) -> Image:
    message = rgb_to_image(picture(), header(10**9))
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"instruction": ""}, "instruction: empty"),
        ({"instruction": "sweep " * 1707}, "instruction: 10,241 characters"),
        ({"instruction": "sweep\x07 it"}, "control character U+0007"),
        ({"instruction": "sweep\nit"}, "control character U+000A"),
        ({"image": _changed(encoding="mono8")}, "image: encoding 'mono8'"),
        ({"image": _changed(data=bytes(1000))}, "image: 1000 bytes"),
        ({"image": _changed(height=0)}, "image: 160x0"),
        ({"image": _changed(width=2**31, height=2**31)}, "pixels"),
        ({"depth": depth_to_image(np.ones((60, 80), np.float32), header(0))}, "depth: 80x60"),
        ({"depth": GOOD}, "depth: encoding 'rgb8'"),
        ({"camera_info": camera_info(Intrinsics(80, 60, 9.0, 9.0, 4.0, 3.0), header(0))}, "camera_info"),
        ({"camera_info": CameraInfo(width=160, height=120)}, "fx"),
    ],
)
def test_when_a_request_is_malformed_expect_the_reason_and_an_answer_next_time(
    node: Graph, fields: dict[str, Any], named: str
) -> None:
    answer = _ask(node, **{"image": GOOD, **fields})
    assert not answer.success
    assert named in answer.message
    assert not answer.affordance.keypoints
    assert _ask(node, image=GOOD).success


def test_when_an_answer_is_too_uncertain_expect_refusal(node: Graph) -> None:
    assert _set(node, "min_confidence", 1.0)
    try:
        answer = _ask(node, image=GOOD)
        assert not answer.success
        assert "confidence" in answer.message
    finally:
        assert _set(node, "min_confidence", 0.0)


@pytest.mark.parametrize(
    ("name", "value"), [("min_confidence", 1.5), ("max_rate", math.nan), ("max_frame_age", 0.0)]
)
def test_when_a_parameter_is_out_of_bounds_expect_refusal(node: Graph, name: str, value: float) -> None:
    assert not _set(node, name, value)


@pytest.mark.parametrize(
    ("faults", "named"),
    [
        (SILENT, "no_frame: no synchronised frame has come: color never came"),
        (Faults(silent=frozenset({"color"})), "color never came, camera_info came"),
        (Faults(silent=frozenset({"depth"})), "depth never came"),
        (Faults(clock=-3600.0), "behind this node's clock"),
        (Faults(clock=3600.0), "ahead of this node's clock"),
        (Faults(encoding="yuv422"), "image: encoding 'yuv422'"),
    ],
)
def test_when_the_camera_is_at_fault_expect_the_reason(
    node: Graph, camera: FakeCamera, faults: Faults, named: str
) -> None:
    camera.faults = faults
    # What was sent before the fault must not be what is judged.
    node.transition("affordance", "deactivate")
    node.transition("affordance", "activate")
    answer = _ask_until(node, lambda answer: named in answer.message)
    assert not answer.success
    camera.faults = Faults()
    _ask_until(node, lambda answer: answer.success)


@pytest.mark.parametrize(("faults", "named"), [(SILENT, "too_old: "), (Faults(frozen=True), "frozen: ")])
def test_when_the_camera_stops_or_freezes_expect_the_seconds(
    node: Graph, camera: FakeCamera, faults: Faults, named: str
) -> None:
    _ask_until(node, lambda answer: answer.success)
    camera.faults = faults
    answer = _ask_until(node, lambda answer: not answer.success)
    assert answer.message.startswith(named)
    assert " s ago" in answer.message


def test_every_new_frame_is_judged_while_there_is_an_instruction(node: Graph, camera: FakeCamera) -> None:
    heard = node.hear(AffordanceMsg, "/kalie/affordance/affordance", LATCHED)
    told = node.node.create_publisher(String, "/kalie/affordance/instruction", LATCHED)
    try:
        told.publish(String(data=INSTRUCTION))
        node.until(lambda: sum(_nanoseconds(message) in camera.stamps for message in heard) > 5)
        judged = [_nanoseconds(message) for message in heard if _nanoseconds(message) in camera.stamps]
        assert judged == sorted(set(judged))
        _stops(node, heard, lambda: told.publish(String(data="")))
        told.publish(String(data=INSTRUCTION))
        before = len(heard)
        node.until(lambda: len(heard) > before)
        # A refused instruction does not leave the old one in force.
        _stops(node, heard, lambda: told.publish(String(data="sweep\x1b[2J")))
    finally:
        node.node.destroy_publisher(told)


def _stops(graph: Graph, heard: list[Any], act: Callable[[], None]) -> None:
    """No answer comes any more some time after an act."""
    act()
    for _ in range(10):
        before = len(heard)
        time.sleep(1.0)
        if len(heard) == before:
            return
    pytest.fail(graph.log())


def test_no_more_frames_are_judged_than_the_rate_allows(node: Graph, camera: FakeCamera) -> None:
    told = node.node.create_publisher(String, "/kalie/affordance/instruction", LATCHED)
    heard = node.hear(AffordanceMsg, "/kalie/affordance/affordance", LATCHED)
    assert _set(node, "max_rate", 2.0)
    try:
        told.publish(String(data=INSTRUCTION))
        node.until(lambda: any(_nanoseconds(message) in camera.stamps for message in heard))
        before, began = len(heard), time.monotonic()
        time.sleep(3.0)
        assert 1 <= len(heard) - before <= 2 * (time.monotonic() - began) + 2
    finally:
        _set(node, "max_rate", 15.0)
        node.node.destroy_publisher(told)


def test_when_the_node_is_not_active_expect_its_state_as_the_answer(node: Graph) -> None:
    node.transition("affordance", "deactivate")
    try:
        answer = _ask(node, image=GOOD)
        assert (answer.success, answer.message) == (False, "the node is inactive, not active")
    finally:
        node.transition("affordance", "activate")


def test_when_the_weights_are_missing_expect_configure_to_fail_until_they_are_there(
    graph: Graph, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    graph.start("affordance", active=False, weights=str(weights), **TOPICS, **LIMITS)
    for _ in range(2):
        graph.transition("affordance", "configure", expect=False)
        answer = _ask(graph, image=GOOD)
        assert (answer.success, answer.message) == (False, "the node is unconfigured, not active")
    assert f"{weights}: no model here" in graph.log("affordance")
    HeatmapKeypointModel.load().save_pretrained(weights)
    graph.transition("affordance", "configure")
    graph.transition("affordance", "activate")
    assert _ask(graph, image=GOOD).success
    assert graph.kill("affordance", signal.SIGINT) == 0, graph.log("affordance")


def test_when_the_node_is_killed_while_it_judges_expect_a_new_one_to_answer(graph: Graph) -> None:
    graph.start("affordance", **TOPICS, **LIMITS)
    camera = FakeCamera(graph.node)
    told = graph.node.create_publisher(String, "/kalie/affordance/instruction", LATCHED)
    told.publish(String(data=INSTRUCTION))
    heard = graph.hear(AffordanceMsg, "/kalie/affordance/affordance", LATCHED)
    try:
        graph.until(lambda: heard)
        assert graph.kill("affordance") == -signal.SIGKILL
        before = len(heard)
        graph.start("affordance", **TOPICS, **LIMITS)
        # The latched instruction still holds.
        graph.until(lambda: len(heard) > before)
        assert graph.kill("affordance", signal.SIGTERM) == 0, graph.log("affordance")
    finally:
        camera.close()
