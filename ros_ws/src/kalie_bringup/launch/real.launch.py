"""The graph in front of a real arm: `ros2 launch kalie_bringup real.launch.py robot:=franka`.

The drivers of the arm and of the camera are started by their own launch files; docs/ros.md says which.
`extrinsics:=extrinsics.json` is what `kalie calibrate` wrote for a camera that stands still; without it,
somebody else must publish where the camera is.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory("kalie_bringup"))
ROBOTS = yaml.safe_load((SHARE / "config" / "graph.yaml").read_text("utf-8"))["robots"]


def generate_launch_description() -> LaunchDescription:
    """Arguments, the included graph, and where the camera is."""
    graph = PythonLaunchDescriptionSource(str(SHARE / "launch" / "graph.launch.py"))
    arguments = {"mode": "real", "robot": LaunchConfiguration("robot")}
    return LaunchDescription(
        [
            DeclareLaunchArgument("robot", choices=list(ROBOTS), description="Which arm."),
            DeclareLaunchArgument("extrinsics", default_value="", description="File with base_from_camera."),
            DeclareLaunchArgument(
                "camera_frame",
                default_value="camera_color_optical_frame",
                description="Frame of the colour images: x right, y down, z forward.",
            ),
            IncludeLaunchDescription(graph, launch_arguments=arguments.items()),
            OpaqueFunction(function=_camera_place),
        ]
    )


def _camera_place(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """A static transform from the robot's base to the camera."""
    told = context.launch_configurations
    if not told["extrinsics"]:
        return []
    parameters = yaml.safe_load((SHARE / "config" / ROBOTS[told["robot"]]).read_text("utf-8"))
    base = parameters["/**/control"]["ros__parameters"]["base_frame"]
    pose = json.loads(Path(told["extrinsics"]).read_text("utf-8"))["base_from_camera"]
    arguments = ["--frame-id", base, "--child-frame-id", told["camera_frame"]]
    for name, value in zip(("x", "y", "z", "roll", "pitch", "yaw"), _place(pose), strict=True):
        arguments += [f"--{name}", f"{value:.9f}"]
    return [Node(package="tf2_ros", executable="static_transform_publisher", arguments=arguments)]


def _place(pose: list[list[float]]) -> tuple[float, float, float, float, float, float]:
    """Translation, and fixed-axis roll, pitch and yaw, of a rigid (4, 4) pose."""
    roll = math.atan2(pose[2][1], pose[2][2])
    pitch = math.atan2(-pose[2][0], math.hypot(pose[2][1], pose[2][2]))
    yaw = math.atan2(pose[1][0], pose[0][0])
    return pose[0][3], pose[1][3], pose[2][3], roll, pitch, yaw
