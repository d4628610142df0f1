"""The bringup package: one list of nodes for both ways to start them, whole parameter files, exact policy."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
import yaml

import kalie
from kalie.cli._ros_build import colcon_command
from kalie.cli._ros_env import (
    PROFILES,
    PROFILES_2,
    RosInstall,
    RosMissing,
    StartAnew,
    enter_ros,
    find_ros,
    localhost_only,
    ros_environment,
    workspace,
)
from kalie.cli._ros_graph import Mode, RobotName, check_parameter_file, node_specs
from kalie.cli.ros_up import RosUpConfig, discovery_of, wish_of
from kalie.core.config import ConfigError

ROOT = Path(kalie.__file__).parent
BRINGUP = ROOT / "ros_ws" / "src" / "kalie_bringup"
NODES = ROOT / "ros_ws" / "src" / "kalie_ros" / "kalie_ros"
CONFIG = BRINGUP / "config"
GRAPH = yaml.safe_load((CONFIG / "graph.yaml").read_text("utf-8"))
ROBOT_FILES = sorted({*GRAPH["robots"].values(), "sim.yaml"})
LAUNCH_FILES = sorted((BRINGUP / "launch").glob("*.launch.py"))
POLICY = ElementTree.fromstring((BRINGUP / "policies" / "kalie.policy.xml").read_bytes())  # noqa: S314 - ours
PROCESSES = [str(item.get("path")).removeprefix("/kalie/") for item in POLICY.iter("enclave")]
PAGE = (ROOT / "docs" / "ros.md").read_text("utf-8")
HAS_ROS = importlib.util.find_spec("rclpy") is not None and importlib.util.find_spec("kalie_ros") is not None


def parameters(file: str) -> dict[str, dict[str, Any]]:
    """A file's parameters by node."""
    content = yaml.safe_load((CONFIG / file).read_text("utf-8"))
    return {section.removeprefix("/**/"): node["ros__parameters"] for section, node in content.items()}


# ---- the list of nodes -----------------------------------------------------------------------------------


def test_modes_and_robots_are_those_of_the_command() -> None:
    assert set(GRAPH["modes"]) == set(get_args(Mode))
    assert set(GRAPH["robots"]) == set(get_args(RobotName))


def test_every_node_of_every_mode_is_a_module_of_kalie_ros() -> None:
    for name in GRAPH["nodes"]:
        assert (NODES / f"{name}_node.py").is_file()
    for mode in GRAPH["modes"].values():
        assert set(mode["nodes"]) <= set(GRAPH["nodes"])
        assert mode["nodes"] == [name for name in GRAPH["nodes"] if name in mode["nodes"]]


def test_what_moves_is_brought_up_last() -> None:
    for mode in ("sim", "real"):
        assert GRAPH["modes"][mode]["nodes"][-1] == "control"
    assert GRAPH["modes"]["perception_only"]["nodes"] == ["affordance"]


def test_the_command_runs_the_nodes_of_the_file_with_its_parameters() -> None:
    specs = node_specs(wish_of(RosUpConfig(task="drawer", seed=3), Path("out")), CONFIG)
    assert [spec.full_name for spec in specs] == ["/kalie/sim_arm", "/kalie/affordance", "/kalie/control"]
    sim_arm = specs[0]
    assert sim_arm.module == "kalie_ros.sim_arm_node"
    words = " ".join(sim_arm.arguments)
    assert words.startswith("--ros-args -r __ns:=/kalie -r __node:=sim_arm --params-file ")
    assert words.index("panda.yaml") < words.index("sim.yaml") < words.index("-p task:=drawer -p seed:=3")
    assert words.endswith("--enclave /kalie/sim_arm")
    assert "task:=" not in " ".join(specs[2].arguments)


def test_the_user_s_file_has_the_last_word_and_the_recorder_its_folder(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    cfg = RosUpConfig(mode="real", robot="xarm6", record=True, params=mine)
    specs = node_specs(wish_of(cfg, tmp_path / "recordings"), CONFIG)
    assert [spec.name for spec in specs] == ["affordance", "control", "recorder"]
    files = [word for word in specs[1].arguments if word.endswith(".yaml")]
    assert [Path(file).name for file in files] == ["xarm6.yaml", "mine.yaml"]
    assert f"directory:={tmp_path / 'recordings'}" in specs[2].arguments


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- 1", "not a ROS parameter file"),
        (
            "/**/contrl:\n  ros__parameters: {rate: 50.0}",
            r"/\*\*/contrl: no such node; did you mean 'control'",
        ),
        ("/**/control:\n  rate: 50.0", "expected ros__parameters below the node's name"),
    ],
)
def test_when_a_parameter_file_names_nothing_expect_an_error(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        check_parameter_file(tmp_path / "mine.yaml", GRAPH["nodes"])
    (tmp_path / "mine.yaml").write_text("/**/control:\n  ros__parameters: {rate: 50.0}\n")
    check_parameter_file(tmp_path / "mine.yaml", GRAPH["nodes"])


# ---- parameter files -------------------------------------------------------------------------------------

# What a control node needs to be told of any robot; the rest of its parameters may be as the node has them.
OF_A_ROBOT = {
    "robot_description_topic", "joint_names", "tcp_frame", "tcp_offset", "posture", "acceleration",
    "jerk", "finger_links", "base_links", "base_frame", "table_height", "jaw_limit",
    "command_interface", "trajectory_topic", "trajectory_action", "gripper_action",
    "gripper_max_effort", "joint_states_topic", "gripper_joints", "color_topic", "depth_topic",
    "camera_info_topic", "rate", "max_state_age", "max_clock_skew", "workspace_low",
    "workspace_high", "velocity_scale", "new_goal", "affordance_service", "affordance_timeout",
}  # fmt: skip


@pytest.mark.parametrize("file", GRAPH["robots"].values())
def test_a_robot_s_file_is_whole(file: str) -> None:
    told = parameters(file)
    assert set(told) == {"affordance", "control"}
    control = told["control"]
    assert set(control) >= OF_A_ROBOT
    joints = len(control["joint_names"])
    for name in ("posture", "home", "acceleration", "jerk"):
        assert len(control[name]) == joints, name
    low, high = control["workspace_low"], control["workspace_high"]
    assert all(below < above for below, above in zip(low, high, strict=True))
    assert told["affordance"]["color_topic"] == control["color_topic"]


def test_the_simulated_arm_offers_what_the_panda_s_file_asks_for() -> None:
    arm, control = parameters("sim.yaml")["sim_arm"], parameters("panda.yaml")["control"]
    assert f"{arm['arm_controller']}/joint_trajectory" == control["trajectory_topic"]
    assert f"{arm['arm_controller']}/follow_joint_trajectory" == control["trajectory_action"]
    shared = (
        "gripper_action",
        "joint_states_topic",
        "color_topic",
        "depth_topic",
        "camera_info_topic",
        "base_frame",
    )
    assert {name: arm[name] for name in shared} == {name: control[name] for name in shared}
    assert arm["external_efforts_topic"] == parameters("sim.yaml")["control"]["external_efforts_topic"]


@pytest.mark.ros
@pytest.mark.skipif(not HAS_ROS, reason="needs ROS 2: make test-ros")
@pytest.mark.parametrize("file", ROBOT_FILES)
def test_every_parameter_of_every_file_is_declared_and_within_its_rule(file: str) -> None:
    schemas = {
        "affordance": ("affordance_node", "AffordanceParameters"),
        "control": ("control_parameters", "ControlParameters"),
        "sim_arm": ("sim_arm_parameters", "SimArmParameters"),
    }
    rules = importlib.import_module("kalie_ros.parameters").rules
    for node, values in parameters(file).items():
        module, name = schemas[node]
        known = rules(getattr(importlib.import_module(f"kalie_ros.{module}"), name))
        for key, value in values.items():
            assert key in known, f"{file}: {node} has no {key}"
            default, rule = known[key]
            # ROS does not turn 1 into 1.0: the types must be the declared ones.
            for given in value if isinstance(value, list) else [value]:
                kind = type(default[0]) if isinstance(default, tuple) and default else type(default)
                assert type(given) is kind or default == (), (
                    f"{file}: {key}={given!r} should be a {kind.__name__}"
                )
                if isinstance(given, float) and rule.low is not None:
                    assert rule.low <= given <= rule.high, key
            assert rule.refuses(value) == "", key


@pytest.mark.ros
@pytest.mark.skipif(not HAS_ROS, reason="needs ROS 2: make test-ros")
def test_the_panda_of_the_file_is_the_library_s() -> None:
    from kalie.control.kinematics import Kinematics
    from kalie.control.robot import panda_config
    from kalie.sim.world import PANDA_URDF

    schema = importlib.import_module("kalie_ros.control_parameters").ControlParameters
    told = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in parameters("panda.yaml")["control"].items()
    }
    ours, theirs = schema(**told).robot(PANDA_URDF), panda_config(PANDA_URDF)
    frames = {"tcp_frame": theirs.tcp_frame, "tcp_offset": theirs.tcp_offset}
    assert dataclasses.replace(ours, **frames) == theirs
    home = np.array(parameters("panda.yaml")["control"]["home"])
    assert Kinematics(ours).forward(home) == pytest.approx(Kinematics(theirs).forward(home), abs=1e-12)


# ---- launch files ----------------------------------------------------------------------------------------


def calls(path: Path) -> list[tuple[str, dict[str, ast.expr], list[ast.expr]]]:
    """Every call in a file: what is called, its keywords, its positional arguments."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    return [(ast.unparse(n.func), {k.arg: k.value for k in n.keywords if k.arg}, n.args) for n in nodes]


def declared(path: Path) -> set[str]:
    """The launch arguments that a file declares by name."""
    names = [args[0] for name, _, args in calls(path) if name == "DeclareLaunchArgument"]
    return {item.value for item in names if isinstance(item, ast.Constant)}


def test_there_is_a_launch_file_for_every_mode() -> None:
    assert {path.name for path in LAUNCH_FILES} == {
        "graph.launch.py",
        *(f"{mode}.launch.py" for mode in GRAPH["modes"]),
    }


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_a_launch_file_compiles_and_names_no_node_itself(path: Path) -> None:
    compile(path.read_text("utf-8"), path.name, "exec")
    functions = {
        node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)
    }
    assert "generate_launch_description" in functions
    if path.name != "graph.launch.py":
        assert not any(name == "LifecycleNode" for name, _, _ in calls(path))
        assert any(name == "IncludeLaunchDescription" for name, _, _ in calls(path))


@pytest.mark.parametrize("mode", GRAPH["modes"])
def test_a_launch_file_passes_its_own_mode_and_only_arguments_that_exist(mode: str) -> None:
    path = BRINGUP / "launch" / f"{mode}.launch.py"
    dictionaries = [
        node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Dict)
    ]
    passed = {
        key.value: value
        for node in dictionaries
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant)
    }
    graph = declared(BRINGUP / "launch" / "graph.launch.py")
    assert isinstance(passed["mode"], ast.Constant)
    assert passed["mode"].value == mode
    assert set(passed) <= graph
    if mode == "sim":
        assert isinstance(passed["discovery"], ast.Constant)
        assert passed["discovery"].value == "localhost"


def test_the_launched_nodes_are_the_file_s_as_the_command_runs_them() -> None:
    path = BRINGUP / "launch" / "graph.launch.py"
    (node,) = [keywords for name, keywords, _ in calls(path) if name == "LifecycleNode"]
    told = {key: ast.unparse(value) for key, value in node.items()}
    assert told["arguments"] == "['-m', f\"{GRAPH['package']}.{name}_node\"]"
    assert told["namespace"] == "GRAPH['namespace']"
    assert told["name"] == "name"
    assert told["ros_arguments"] == "['--enclave', f\"{GRAPH['namespace']}/{name}\"]"
    assert told["respawn"] == "True"
    source = path.read_text("utf-8")
    assert 'for name in GRAPH["nodes"] if name in mode["nodes"]' in source
    assert 'files = [GRAPH["robots"][told["robot"]], *mode["parameters"]]' in source


def test_package_xml_names_every_package_that_the_launch_files_use() -> None:
    package = (BRINGUP / "package.xml").read_text("utf-8")
    listed = set(re.findall(r"<exec_depend>([\w-]+)</exec_depend>", package))
    used = {"kalie_ros", "ros2launch"}
    for path in LAUNCH_FILES:
        tree = ast.parse(path.read_text("utf-8"))
        roots = {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        used |= roots & {"launch", "launch_ros", "lifecycle_msgs", "ament_index_python"}
        for name, keywords, _ in calls(path):
            if name == "Node":
                used.add(ast.literal_eval(keywords["package"]))
    assert used <= listed


def test_folders_that_are_installed_are_those_that_exist() -> None:
    installed = re.search(
        r"install\(DIRECTORY (.*?) DESTINATION", (BRINGUP / "CMakeLists.txt").read_text("utf-8")
    )
    assert installed is not None
    assert set(installed[1].split()) == {path.name for path in BRINGUP.iterdir() if path.is_dir()}


def test_extrinsics_become_the_transform_that_they_are(tmp_path: Path) -> None:
    """The one computation of the launch files, run by itself."""
    from scipy.spatial.transform import Rotation

    tree = ast.parse((BRINGUP / "launch" / "real.launch.py").read_text("utf-8"))
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "_place"]
    last = "json.dump(_place(json.load(sys.stdin)), sys.stdout)"
    program = "\n".join(["import json, math, sys", ast.unparse(function), last])
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", [2.5, -0.4, 1.2]).as_matrix()
    pose[:3, 3] = 0.5, -0.2, 0.9
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(pose.tolist()),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == pytest.approx([0.5, -0.2, 0.9, 2.5, -0.4, 1.2])


def test_rviz_shows_robot_camera_keypoints_and_frames() -> None:
    layout = yaml.safe_load((BRINGUP / "rviz" / "kalie.rviz").read_text("utf-8"))
    shown = {item["Name"]: item for item in layout["Visualization Manager"]["Displays"]}
    assert {"Robot", "TF", "Camera", "Keypoints"} <= set(shown)
    assert shown["Robot"]["Description Topic"]["Value"] == "/robot_description"
    assert shown["Camera"]["Topic"]["Value"] == parameters("panda.yaml")["control"]["color_topic"]
    assert shown["Keypoints"]["Topic"]["Durability Policy"] == "Transient Local"
    assert layout["Visualization Manager"]["Global Options"]["Fixed Frame"] == "panda_link0"


# ---- the policy of SROS 2 --------------------------------------------------------------------------------

# What rclpy gives every node, and every lifecycle node besides.
EVERY_TOPIC = {"/parameter_events", "/rosout", "/clock", "~/transition_event"}
EVERY_SERVICE = {
    *("~/describe_parameters", "~/get_parameter_types", "~/get_parameters", "~/list_parameters"),
    *("~/set_parameters", "~/set_parameters_atomically", "~/get_type_description"),
    *("~/change_state", "~/get_state", "~/get_available_states", "~/get_available_transitions"),
    "~/get_transition_graph",
}


def allowed(process: str) -> Mapping[str, set[str]]:
    """What the policy allows a process, by e.g. "topic publish"; it may hold helper nodes beside its own."""
    (enclave,) = [item for item in POLICY.iter("enclave") if item.get("path") == f"/kalie/{process}"]
    found: dict[str, set[str]] = {}
    for profile in enclave.iter("profile"):
        for group in profile:
            (what,) = group.attrib
            names = {str(item.text) for item in group}
            if profile.get("node") != process:
                names = {name.replace("~", f"/kalie/{profile.get('node')}") for name in names}
            found.setdefault(f"{group.tag[:-1]} {what}", set()).update(names)
    return found


def names_of_the_page(node: str) -> set[str]:
    """The topics, services and actions that the page's table of nodes gives for one."""
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `/kalie/{node}` |")]
    return {name for name in re.findall(r"`(~?/[\w/]+)`", row.split("|", 2)[2]) if name != f"/kalie/{node}"}


def test_the_policy_is_of_the_schema_that_sros_2_reads() -> None:
    assert (POLICY.tag, POLICY.get("version")) == ("policy", "0.2.0")
    for enclave in POLICY.iter("enclave"):
        (profiles,) = enclave
        assert f"{profiles[0].get('ns')}/{profiles[0].get('node')}" == enclave.get("path")
        for profile in profiles:
            assert (profile.tag, profile.get("ns")) == ("profile", "/kalie")
            assert {group.tag for group in profile} <= {"topics", "services", "actions"}
            for group in profile:
                assert list(group.attrib.values()) == ["ALLOW"]
                assert {item.tag for item in group} == {group.tag[:-1]}
                assert len(group) == len({item.text for item in group})


def test_every_process_has_an_enclave() -> None:
    found = {str(item.get("path")) for item in POLICY.iter("enclave")}
    commands = {"/kalie/supervisor", "/kalie/client", "/kalie/replay"}
    assert found == {f"/kalie/{name}" for name in GRAPH["nodes"]} | commands
    assert all(path in PAGE for path in found)


@pytest.mark.parametrize("node", [name for name in GRAPH["nodes"] if name != "recorder"])
def test_a_node_may_use_what_the_page_says_and_nothing_that_is_nowhere_said(node: str) -> None:
    names = set().union(*allowed(node).values())
    assert names_of_the_page(node) <= names
    told = "\n".join(path.read_text("utf-8") for path in [*CONFIG.glob("*.yaml"), *NODES.glob("*.py")])
    infrastructure = {name.rsplit("/", 1)[-1] for name in EVERY_TOPIC | EVERY_SERVICE}
    for name in names:
        last = name.rsplit("/", 1)[-1]
        assert last in infrastructure or name in PAGE or name in told or last in told, f"{node}: {name}"


def test_what_one_node_is_allowed_to_ask_for_another_is_allowed_to_give() -> None:
    full = [
        {
            kind: {name.replace("~", f"/kalie/{node}") for name in names}
            for kind, names in allowed(node).items()
        }
        for node in PROCESSES
    ]
    pairs = {
        "topic subscribe": "topic publish",
        "service request": "service reply",
        "action call": "action execute",
    }
    of_others = {"/tf", "/clock", "/parameter_events", "/kalie/affordance/instruction"}
    for kinds in full:
        for wanted, given in pairs.items():
            offered = set().union(*(other.get(given, set()) for other in full))
            assert kinds.get(wanted, set()) - of_others <= offered


def test_the_recorder_may_hear_its_topics_and_the_replay_say_them() -> None:
    source = ast.parse((NODES / "recorder_node.py").read_text("utf-8"))
    (topics,) = [
        ast.literal_eval(item.value)
        for item in source.body
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "TOPICS"
    ]
    assert set(topics) <= allowed("recorder")["topic subscribe"]
    assert set(topics) <= allowed("replay")["topic publish"]


def test_only_the_control_node_moves_the_arm_and_only_the_client_asks_it_to() -> None:
    control = parameters("panda.yaml")["control"]
    topic, action = control["trajectory_topic"], "/kalie/execute_task"
    assert [node for node in PROCESSES if topic in allowed(node).get("topic publish", ())] == ["control"]
    assert [node for node in PROCESSES if action in allowed(node).get("action call", ())] == ["client"]


# ---- where ROS 2 comes from ------------------------------------------------------------------------------


def test_a_sourced_ros_goes_before_the_wheels(tmp_path: Path) -> None:
    prefix = tmp_path / "jazzy"
    (prefix / "share" / "control_msgs").mkdir(parents=True)
    (prefix / "share" / "control_msgs" / "package.xml").write_text("<package/>")
    environment = {"AMENT_PREFIX_PATH": str(prefix), "ROS_DISTRO": "jazzy"}
    if importlib.util.find_spec("rclpy") is None:
        with pytest.raises(RosMissing, match="its rclpy is not built for Python"):
            find_ros(environment)
        return
    ros = find_ros(environment)
    assert (ros.origin, ros.distro, ros.prefixes) == ("sourced", "jazzy", (prefix,))
    command = " ".join(colcon_command(ros, tmp_path, ()))
    assert "compat/tf2_msgs" in command
    assert "compat/control_msgs" not in command


def test_only_the_wanted_packages_are_built(tmp_path: Path) -> None:
    ros = RosInstall("wheels", "kilted", (tmp_path,))
    assert "--packages-select kalie_ros" in " ".join(colcon_command(ros, tmp_path, ["kalie_ros"]))
    assert "--packages-select" not in colcon_command(ros, tmp_path, [])


@pytest.mark.parametrize(
    ("distro", "variables"),
    [("humble", {"ROS_LOCALHOST_ONLY": "1"}), ("jazzy", {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"})],
)
def test_localhost_is_said_as_the_distribution_understands_it(distro: str, variables: dict[str, str]) -> None:
    assert localhost_only(distro) == variables


@pytest.mark.parametrize(
    ("mode", "discovery", "stays"),
    [
        ("sim", "auto", True),
        ("sim", "environment", False),
        ("real", "auto", False),
        ("real", "localhost", True),
    ],
)
def test_a_simulation_stays_on_this_computer_unless_told_otherwise(
    mode: Mode, discovery: Literal["auto", "localhost", "environment"], stays: bool
) -> None:
    cfg = RosUpConfig(mode=mode, discovery=discovery)
    assert discovery_of(cfg, "kilted") == (localhost_only("kilted") if stays else {})


def test_when_the_workspace_is_not_built_expect_the_command_that_builds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KALIE_ROS_WS", str(tmp_path))
    assert workspace() == tmp_path
    with pytest.raises(RosMissing, match="is not built: run `make ros`"):
        ros_environment(RosInstall("wheels", "kilted", (tmp_path,)))


def built_workspace(folder: Path) -> Path:
    """As much of a built workspace as its environment depends on; the settings of Fast DDS in it."""
    (folder / "install" / "share" / "kalie_interfaces").mkdir(parents=True)
    profiles = folder / "install" / "share" / "kalie_bringup" / "config" / "fastdds.xml"
    profiles.parent.mkdir(parents=True)
    profiles.touch()
    return profiles


@pytest.mark.parametrize(
    ("distro", "variable"),
    [("humble", PROFILES_2), ("jazzy", PROFILES_2), ("kilted", PROFILES), ("rolling", PROFILES)],
)
def test_fast_dds_gets_our_settings_by_the_name_it_knows_unless_the_user_has_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distro: str, variable: str
) -> None:
    for name in (PROFILES, PROFILES_2):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KALIE_ROS_WS", str(tmp_path))
    profiles = built_workspace(tmp_path)
    ros = RosInstall("sourced", distro, (tmp_path,))
    given = ros_environment(ros)
    other = PROFILES if variable == PROFILES_2 else PROFILES_2
    assert (given[variable], given.get(other)) == (str(profiles), None)
    monkeypatch.setenv(PROFILES_2, "mine.xml")
    given = ros_environment(ros)
    assert (given.get(PROFILES), given[PROFILES_2]) == (None, "mine.xml")


@pytest.mark.ros
@pytest.mark.skipif(not HAS_ROS, reason="needs ROS 2: make test-ros")
def test_a_process_enters_ros_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    before = dict(os.environ)
    try:
        monkeypatch.delenv("KALIE_ROS_ENTERED", raising=False)
        os.environ["LD_LIBRARY_PATH"] = ""
        with pytest.raises(StartAnew):
            enter_ros({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"})
        assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
        entered = dict(os.environ)
        enter_ros()
        assert dict(os.environ) == entered
    finally:
        os.environ.clear()
        os.environ.update(before)
