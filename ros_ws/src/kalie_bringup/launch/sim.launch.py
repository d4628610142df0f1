"""The graph with a simulated Panda and camera: `ros2 launch kalie_bringup sim.launch.py task:=drawer`.

Discovery stays on this computer unless `discovery:=environment` is given.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

GRAPH = Path(get_package_share_directory("kalie_bringup")) / "launch" / "graph.launch.py"
DEFAULTS = {"task": "sweep", "seed": "0", "discovery": "localhost", "rviz": "false"}


def generate_launch_description() -> LaunchDescription:
    """The included graph; its other arguments can be given as well."""
    passed = {name: LaunchConfiguration(name) for name in DEFAULTS}
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, default_value=value) for name, value in DEFAULTS.items()),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(GRAPH)),
                launch_arguments={"mode": "sim", "robot": "franka", **passed}.items(),
            ),
        ]
    )
