"""The nodes of one mode of config/graph.yaml, made active in its order; the other launch files include this.

A node's process starts when the node before it has become active. One that dies is started again and made
active again, without a memory of what it did; `kalie ros up` does the same where there is no launch system.
"""

from __future__ import annotations

import os
import subprocess
from itertools import pairwise
from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

SHARE = Path(get_package_share_directory("kalie_bringup"))
GRAPH = yaml.safe_load((SHARE / "config" / "graph.yaml").read_text("utf-8"))
# Parameters that every node with a camera has; empty launch arguments leave the robot's file its word.
CAMERA = ("color_topic", "depth_topic", "camera_info_topic")
# Long enough for the graph to have noticed that the dead node is gone.
RESPAWN_DELAY = 2.0
# Prints the URDF of the simulated arm, its meshes where they lie.
PANDA = """
import pathlib, pybullet_data, sys
path = pathlib.Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf"
sys.stdout.write(path.read_text().replace("package://", f"file://{path.parent}/"))
"""


def generate_launch_description() -> LaunchDescription:
    """Arguments, and what follows from them."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("mode", choices=list(GRAPH["modes"]), description="Which nodes run."),
            DeclareLaunchArgument("robot", default_value="franka", choices=list(GRAPH["robots"])),
            DeclareLaunchArgument("python", default_value="python3", description="Which one has kalie."),
            DeclareLaunchArgument("params", default_value="", description="File that goes before ours."),
            DeclareLaunchArgument("task", default_value="sweep", description="Scene of the simulation."),
            DeclareLaunchArgument("seed", default_value="0", description="Seed of that scene."),
            DeclareLaunchArgument(
                "discovery",
                default_value="environment",
                choices=["localhost", "environment"],
                description="localhost keeps the graph on this computer.",
            ),
            *(DeclareLaunchArgument(name, default_value="") for name in CAMERA),
            DeclareLaunchArgument("rviz", default_value="false", choices=["true", "false"]),
            OpaqueFunction(function=_environment),
            OpaqueFunction(function=_nodes),
            OpaqueFunction(function=_views),
        ]
    )


def _environment(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """What keeps discovery on this computer, where that is wanted."""
    if context.launch_configurations["discovery"] != "localhost":
        return []
    if os.environ.get("ROS_DISTRO") == "humble":
        return [SetEnvironmentVariable("ROS_LOCALHOST_ONLY", "1")]
    return [SetEnvironmentVariable("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")]


def _nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The first node, and what starts each further one."""
    told = context.launch_configurations
    mode = GRAPH["modes"][told["mode"]]
    files = [GRAPH["robots"][told["robot"]], *mode["parameters"]]
    paths = [str(SHARE / "config" / name) for name in files] + ([told["params"]] if told["params"] else [])
    nodes = [_node(name, paths, told) for name in GRAPH["nodes"] if name in mode["nodes"]]
    handlers = [handler for node in nodes for handler in _made_active(node)]
    for before, after in pairwise(nodes):
        # Once: when the earlier node comes back after a crash, the later one runs already.
        handlers.append(_when(before, "active", [after], handle_once=True))
    handlers.append(_when(nodes[-1], "active", [LogInfo(msg="kalie: every node is active")]))
    return [*handlers, nodes[0]]


def _node(name: str, files: list[str], told: dict[str, str]) -> LifecycleNode:
    """One node, run by the interpreter that has kalie, whatever interpreter ROS itself uses."""
    values: dict[str, object] = {key: told[key] for key in CAMERA if told[key]}
    if name == "sim_arm":
        values |= {"task": told["task"], "seed": int(told["seed"])}
    return LifecycleNode(
        executable=told["python"],
        arguments=["-m", f"{GRAPH['package']}.{name}_node"],
        name=name,
        namespace=GRAPH["namespace"],
        parameters=[*files, *([values] if values else [])],
        ros_arguments=["--enclave", f"{GRAPH['namespace']}/{name}"],
        output="screen",
        respawn=True,
        respawn_delay=RESPAWN_DELAY,
    )


def _made_active(node: LifecycleNode) -> list[LaunchDescriptionEntity]:
    """Configure a node whenever its process starts, and activate it then."""
    configure = EmitEvent(event=_change(node, Transition.TRANSITION_CONFIGURE))
    activate = EmitEvent(event=_change(node, Transition.TRANSITION_ACTIVATE))
    return [
        RegisterEventHandler(OnProcessStart(target_action=node, on_start=[configure])),
        _when(node, "inactive", [activate], start_state="configuring"),
    ]


def _change(node: LifecycleNode, transition: int) -> ChangeState:
    return ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)


def _when(
    node: LifecycleNode,
    state: str,
    entities: list[LaunchDescriptionEntity],
    start_state: str | None = None,
    handle_once: bool = False,
) -> RegisterEventHandler:
    """Do something when a node has come to a state."""
    return RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=node,
            start_state=start_state,
            goal_state=state,
            entities=entities,
            handle_once=handle_once,
        )
    )


def _views(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """RViz; and for the simulated arm what a real one's drivers bring, the frames of its links."""
    told = context.launch_configurations
    if told["rviz"] != "true":
        return []
    layout = str(SHARE / "rviz" / "kalie.rviz")
    rviz = Node(package="rviz2", executable="rviz2", arguments=["-d", layout])
    return [rviz, *([_link_frames(told["python"])] if told["mode"] == "sim" else [])]


def _link_frames(python: str) -> Node:
    """The simulated arm's robot_state_publisher; its description, another time, goes where nobody listens."""
    urdf = subprocess.run([python, "-c", PANDA], capture_output=True, text=True, check=True).stdout  # noqa: S603
    return Node(
        package="robot_state_publisher",
        executable="robot_state_publisher",
        parameters=[{"robot_description": ParameterValue(urdf, value_type=str)}],
        remappings=[("robot_description", "~/robot_description")],
    )
