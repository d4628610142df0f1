"""The recorder as a process: what it hears is on the disk, whatever becomes of it."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger

from kalie_ros.bag import BagReader
from kalie_ros.offers import from_text, request, to_text
from kalie_ros.qos import COMMAND, LATCHED, SENSOR
from kalie_ros.recorder_node import PERIOD, run_directory

from .graph import Graph

TALKER = Path(__file__).with_name("bag_talker.py")

TOPICS = {
    "joints": "/joint_states",
    "description": "/robot_description",
    "transform": "/tf_static",
    "late": "/late",
    "safety": "/safety",
    "noise": "/noise",
}


@contextmanager
def talker(graph: Graph, *speaks: str) -> Iterator[None]:
    """A process that publishes."""
    environment = os.environ | {"ROS_DOMAIN_ID": str(graph.domain)}
    process = subprocess.Popen([sys.executable, str(TALKER), *speaks], env=environment)
    try:
        graph.until(
            lambda: all(graph.node.count_publishers(TOPICS[name]) for name in speaks if name != "late")
        )
        yield
    finally:
        process.kill()
        process.wait()


def start_recorder(graph: Graph, folder: Path, *hears: str, **parameters: object) -> None:
    topics = [TOPICS[name] for name in hears]
    graph.start("recorder", directory=str(folder), topics=topics, **parameters)


def trigger(graph: Graph, what: str) -> tuple[bool, str]:
    answer = graph.call(Trigger, f"/kalie/recorder/{what}")
    return answer.success, answer.message


class Told:
    """What the recorder's diagnostics say."""

    def __init__(self, graph: Graph) -> None:
        self._heard = graph.hear(DiagnosticArray, "/diagnostics")

    @property
    def level(self) -> bytes:
        return self._heard[-1].status[0].level if self._heard else DiagnosticStatus.OK

    @property
    def message(self) -> str:
        return self._heard[-1].status[0].message if self._heard else ""

    @property
    def values(self) -> dict[str, str]:
        return {item.key: item.value for item in self._heard[-1].status[0].values} if self._heard else {}

    def messages(self, path: str) -> int:
        """How many messages a recording holds; 0 while it is not the one that is told of."""
        return int(self.values["messages"]) if self.message == f"recording to {path}" else 0

    def has(self, path: str, messages: int, topics: int) -> bool:
        return self.messages(path) >= messages and int(self.values["topics"]) == topics


def recorded(path: Path) -> dict[str, list[Any]]:
    """What mcap's reader and its ROS 2 decoder make of a whole file, by topic."""
    found = defaultdict(list)
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        for item in reader.iter_decoded_messages():
            found[item.channel.topic].append(item)
    return found


@pytest.mark.ros
def test_a_recording_holds_what_is_fast_latched_and_late(graph: Graph, tmp_path: Path) -> None:
    names, told = ("joints", "description", "transform", "safety", "late"), Told(graph)
    with talker(graph, *names):
        start_recorder(graph, tmp_path / "bags", *names)
        files = []
        for _ in range(2):
            done, path = trigger(graph, "start")
            assert done, path
            files.append(Path(path))
            graph.until(functools.partial(told.has, path, messages=50, topics=5))
            done, ending = trigger(graph, "stop")
            assert done, ending
            assert ending.startswith(path)
    assert [path.parent for path in files] == [tmp_path / "bags"] * 2
    for path in files:
        found = recorded(path)
        assert set(found) == {TOPICS[name] for name in names}
        # What is latched is in every file, once.
        assert [item.decoded_message.data for item in found["/robot_description"]] == ["<robot/>"]
        assert found["/tf_static"][0].decoded_message.transforms[0].child_frame_id == "camera"
        assert found["/safety"][0].decoded_message.reasons == ["because"]
        numbers = [item.decoded_message.position[0] for item in found["/joint_states"]]
        assert len(numbers) > 10
        # In order; a busy machine may lose some of what is sent as best effort.
        steps = [after - before for before, after in itertools.pairwise(numbers)]
        assert min(steps) > 0
        assert steps.count(1) > 0.5 * len(steps)
        for item in found["/joint_states"]:
            assert abs(item.message.log_time - time.time_ns()) < 100e9
            assert item.message.publish_time <= item.message.log_time
        metadata = found["/robot_description"][0].channel.metadata
        assert from_text(metadata["offered_qos_profiles"]).durability == DurabilityPolicy.TRANSIENT_LOCAL
        assert metadata["topic_type_hash"].startswith("RIHS01_")


@pytest.mark.ros
def test_when_the_recorder_is_killed_expect_all_but_the_last_half_second(
    graph: Graph, tmp_path: Path
) -> None:
    told = Told(graph)
    with talker(graph, "joints"):
        start_recorder(graph, tmp_path, "joints")
        path = Path(trigger(graph, "start")[1])
        # It tells after every flush how many it has, twice a second: a measure that no load can blur.
        graph.until(lambda: told.messages(str(path)) > 50)
        flushed = told.messages(str(path))
        graph.kill("recorder", signal.SIGKILL)
    with BagReader(path) as bag:
        times = [message.log_time for message in bag.messages()]
        assert bag.losses == ["what came after its last flush, for it was never closed"]
    assert len(times) >= flushed
    assert PERIOD <= 0.5


@pytest.mark.ros
@pytest.mark.parametrize("end", ["terminate", "deactivate"])
def test_when_the_recorder_is_stopped_in_between_expect_a_whole_file(
    graph: Graph, tmp_path: Path, end: str
) -> None:
    told = Told(graph)
    with talker(graph, "joints"):
        start_recorder(graph, tmp_path, "joints", on_activate=True)
        done, reason = trigger(graph, "start")
        assert not done
        path = Path(reason.removeprefix("already recording to "))
        graph.until(lambda: told.messages(str(path)) > 10)
        if end == "terminate":
            assert graph.kill("recorder", signal.SIGTERM) == 0
        else:
            graph.transition("recorder", "deactivate")
            assert trigger(graph, "start") == (False, "the recorder is not active")
    assert recorded(path)["/joint_states"]


@pytest.mark.ros
def test_when_the_file_is_full_expect_a_clean_end_and_the_reason(graph: Graph, tmp_path: Path) -> None:
    told = Told(graph)
    with talker(graph, "noise"):
        start_recorder(graph, tmp_path, "noise", max_bytes=1_000_000)
        path = Path(trigger(graph, "start")[1])
        graph.until(lambda: told.level == DiagnosticStatus.ERROR)
        reason = f"{path} reached its limit of 1,000,000 bytes"
        assert trigger(graph, "stop") == (False, f"not recording: {reason}")
        assert reason in told.message
        size = path.stat().st_size
        assert 500_000 < size <= 1_000_000
        assert recorded(path)["/noise"]
        # It can begin again, and the full file stays as it is.
        assert trigger(graph, "start")[0]
        assert path.stat().st_size == size


@pytest.mark.ros
def test_when_a_type_is_unknown_expect_its_name_and_the_others_recorded(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(graph)
    with talker(graph, "joints", "safety"):
        prefixes = os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)
        without = [part for part in prefixes if not (Path(part) / "share" / "kalie_interfaces").exists()]
        monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(without))
        start_recorder(graph, tmp_path, "joints", "safety")
        path = Path(trigger(graph, "start")[1])
        graph.until(lambda: told.messages(str(path)) > 10 and told.level == DiagnosticStatus.WARN)
        reason = told.values["left out: /safety"]
        assert trigger(graph, "stop")[0]
    assert set(recorded(path)) == {"/joint_states"}
    assert reason == "kalie_interfaces/msg/SafetyStatus is not installed here"
    assert f"/safety: {reason}" in graph.log("recorder")


@pytest.mark.ros
def test_when_started_twice_or_stopped_without_start_expect_refusal(graph: Graph, tmp_path: Path) -> None:
    start_recorder(graph, tmp_path, "noise")
    assert trigger(graph, "stop") == (False, "not recording: nothing was started")
    done, path = trigger(graph, "start")
    assert done
    assert trigger(graph, "start") == (False, f"already recording to {path}")
    assert trigger(graph, "stop") == (True, f"{path}: 0 messages")
    assert trigger(graph, "stop") == (False, "not recording: it was stopped")
    # Where it writes is fixed when the node starts: nobody on the network can change it.
    changed = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=str(tmp_path / "elsewhere"))
    asked = SetParameters.Request(parameters=[Parameter(name="directory", value=changed)])
    (answer,) = graph.call(SetParameters, "/kalie/recorder/set_parameters", asked).results
    assert not answer.successful


@pytest.mark.ros
def test_when_the_directory_climbs_out_expect_no_configuration(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    graph.start("recorder", active=False, directory="../outside")
    graph.transition("recorder", "configure", expect=False)
    assert "directory: '../outside' would leave the folder" in graph.log("recorder")
    assert not (tmp_path / "outside").exists()


def test_the_directory_stays_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("/")
    assert run_directory("bags/today") == tmp_path / "bags" / "today"
    assert run_directory("/data/bags") == Path("/data/bags")
    for text in ("..", "bags/../../x", "/data/../etc", "link/etc", ""):
        with pytest.raises(ValueError, match="directory: "):
            run_directory(text)


def test_the_recorder_asks_for_what_every_publisher_offers() -> None:
    for offers, reliable, latched in (
        ([LATCHED], True, True),
        ([LATCHED, COMMAND], True, False),
        ([LATCHED, SENSOR], False, False),
    ):
        asked = request(offers)
        assert (asked.reliability == ReliabilityPolicy.RELIABLE) is reliable
        assert (asked.durability == DurabilityPolicy.TRANSIENT_LOCAL) is latched


def test_offers_survive_as_text() -> None:
    for offer in (LATCHED, SENSOR, COMMAND):
        again = from_text(to_text([offer]))
        assert (again.reliability, again.durability) == (offer.reliability, offer.durability)
    humble = from_text("- history: 1\n  depth: 1\n  reliability: 1\n  durability: 1\n")
    assert humble.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert from_text(to_text([SENSOR, LATCHED])).durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert from_text("") == from_text(to_text([QoSProfile(depth=10)]))
    for text in ("- 3", "{", "- reliability: never\n  durability: volatile", "x"):
        with pytest.raises(ValueError, match="offered_qos_profiles"):
            from_text(text)
