"""Keypoints for a camera, and nothing that moves: `ros2 launch kalie_bringup perception_only.launch.py`."""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

GRAPH = Path(get_package_share_directory("kalie_bringup")) / "launch" / "graph.launch.py"


def generate_launch_description() -> LaunchDescription:
    """The included graph; its other arguments, such as color_topic, can be given as well."""
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(GRAPH)),
                launch_arguments={"mode": "perception_only"}.items(),
            )
        ]
    )
