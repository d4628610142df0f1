"""Replaying: the same messages at the same pace, nothing that moves a robot, nothing among live topics."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from kalie_ros.bag import Topic
from kalie_ros.definitions import ament_prefixes, definition
from kalie_ros.qos import COMMAND, LATCHED, SENSOR
from kalie_ros.replay import ReplayError, ReplaySettings, choose, is_command

from .bags import Said, write_bag
from .graph import Graph

# Best effort, with room for what a busy machine hands over late.
DEEP = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
COMMANDS = "/panda_arm_controller/joint_trajectory"


def episode(path: Path) -> Path:
    """Two seconds of joint states, a latched description, and a command."""
    said = [Said("/robot_description", String(data="<robot/>"), 100.0, LATCHED)]
    said += [Said("/joint_states", JointState(position=[float(i)]), 100 + 0.1 * i, SENSOR) for i in range(21)]
    said.insert(10, Said(COMMANDS, JointTrajectory(joint_names=["a"]), 101.0, COMMAND))
    return write_bag(path, said)


def command_line(graph: Graph, *keys: str) -> subprocess.Popen[str]:
    return graph.owns(
        subprocess.Popen(
            [sys.executable, "-m", "kalie.cli.main", "ros", "replay", *keys],
            env=os.environ | {"ROS_DOMAIN_ID": str(graph.domain), "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    )


@pytest.mark.ros
def test_a_replay_has_the_recorded_pace_and_quality_and_no_commands(graph: Graph, tmp_path: Path) -> None:
    states = graph.hear(JointState, "/joint_states", DEEP)
    reliable = graph.hear(JointState, "/joint_states", 10)
    commands = graph.hear(JointTrajectory, COMMANDS, COMMAND)
    # Heard only where it is offered latched.
    descriptions = graph.hear(String, "/robot_description", LATCHED)
    replay = command_line(graph, f"bag={episode(tmp_path / 'a.mcap')}", "rate=0.5")
    told, _ = replay.communicate(timeout=120)
    assert replay.returncode == 0, told
    assert f"{COMMANDS} is left out: it can move the robot" in told
    assert "22 messages of 2 topics" in told
    graph.until(lambda: descriptions and len(states) >= 21)
    assert [message.data for message in descriptions] == ["<robot/>"]
    assert [message.position[0] for message in states] == [float(i) for i in range(21)]
    # A reliable subscriber does not get what was offered as best effort.
    assert reliable == []
    assert commands == []


@pytest.mark.ros
def test_the_pace_is_kept_and_ctrl_c_ends_a_loop(graph: Graph, tmp_path: Path) -> None:
    arrivals: list[tuple[float, float]] = []
    graph.node.create_subscription(
        JointState, "/joint_states", lambda m: arrivals.append((time.monotonic(), m.position[0])), DEEP
    )
    replay = command_line(graph, f"bag={episode(tmp_path / 'a.mcap')}", "loop=true", "topics=[/joint_states]")
    graph.until(lambda: len(arrivals) > 42)
    replay.send_signal(signal.SIGINT)
    told, _ = replay.communicate(timeout=60)
    assert replay.returncode == 130, told
    assert "Traceback" not in told
    assert [number for _, number in arrivals[:43]] == [float(i % 21) for i in range(43)]
    # Never early; how late depends on the machine.
    rounds = [stamp for stamp, number in arrivals if number == 20.0]
    assert all(later - sooner > 1.9 for sooner, later in itertools.pairwise(rounds))


@pytest.mark.ros
def test_when_commands_are_wanted_or_somebody_else_speaks_expect_them_or_refusal(
    graph: Graph, tmp_path: Path
) -> None:
    path = episode(tmp_path / "a.mcap")
    commands = graph.hear(JointTrajectory, COMMANDS, COMMAND)
    refused = command_line(graph, f"bag={path}", f"topics=[{COMMANDS}]")
    told, _ = refused.communicate(timeout=120)
    assert refused.returncode == 1
    assert "can move the robot; commands=true" in " ".join(told.split())
    assert commands == []

    allowed = command_line(graph, f"bag={path}", f"topics=[{COMMANDS}]", "commands=true")
    told, _ = allowed.communicate(timeout=120)
    assert allowed.returncode == 0, told
    assert len(commands) == 1

    graph.node.create_publisher(JointState, "/joint_states", SENSOR)
    states = graph.hear(JointState, "/joint_states", SENSOR)
    mixed = command_line(graph, f"bag={path}")
    told, _ = mixed.communicate(timeout=120)
    assert mixed.returncode == 1
    assert "/joint_states: somebody else publishes it now" in " ".join(told.split())
    assert states == []


@pytest.mark.parametrize(
    ("name", "kind", "command"),
    [
        ("/joint_states", "sensor_msgs/msg/JointState", False),
        ("/kalie/control/executed", "kalie_interfaces/msg/Affordance", False),
        ("/tf_static", "tf2_msgs/msg/TFMessage", False),
        (COMMANDS, "trajectory_msgs/msg/JointTrajectory", True),
        ("/renamed", "trajectory_msgs/msg/JointTrajectory", True),
        ("/servo", "control_msgs/msg/JointJog", True),
        ("/cmd_vel", "geometry_msgs/msg/Twist", True),
        ("/base/cmd_vel", "my_msgs/msg/Speed", True),
        ("/forward_position_controller/commands", "std_msgs/msg/Float64MultiArray", True),
        ("/wx250s/commands/joint_group", "interbotix_xs_msgs/msg/JointGroupCommand", True),
        ("/kalie/instruction", "std_msgs/msg/String", True),
        ("/kalie/execute_task/_action/feedback", "kalie_interfaces/action/ExecuteTask_FeedbackMessage", True),
        ("/kalie/execute_task/_action/status", "action_msgs/msg/GoalStatusArray", True),
        ("/kalie/recorder/start/_service_event", "std_srvs/srv/Trigger_Event", True),
    ],
)
def test_what_can_move_a_robot_is_known(name: str, kind: str, command: bool) -> None:
    assert is_command(Topic(name, kind, "")) is command


def test_when_a_type_has_changed_or_is_missing_expect_its_topic_left_out() -> None:
    text = definition("std_msgs/msg/String", ament_prefixes())
    topics = [
        Topic("/good", "std_msgs/msg/String", text),
        Topic("/changed", "std_msgs/msg/String", "string data\nint32 more"),
        Topic("/missing", "none_msgs/msg/None", ""),
        Topic("/odd", "std_msgs/msg/String", text, "offers: {"),
    ]
    chosen, left_out = choose(topics, ReplaySettings())
    assert set(chosen) == {"/good"}
    assert left_out["/changed"] == "std_msgs/msg/String was another message when recorded"
    assert left_out["/missing"] == "none_msgs/msg/None is not installed here"
    assert left_out["/odd"].startswith("offered_qos_profiles: ")
    with pytest.raises(ReplayError, match="/none is not recorded; recorded are /changed, /good"):
        choose(topics, ReplaySettings(topics=("/none",)))
