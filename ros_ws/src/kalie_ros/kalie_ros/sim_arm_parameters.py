"""Parameters of the simulated arm. Those named `fault_` spoil what it does, for tests of other nodes."""

from __future__ import annotations

from dataclasses import dataclass

from kalie.sim.registry import TASK_NAMES

from .parameters import parameter


@dataclass(frozen=True)
class SimArmParameters:
    """Of the simulated arm."""

    task: str = parameter("sweep", "Which task; takes effect on ~/reset.", choices=TASK_NAMES)
    split: str = parameter(
        "test",
        "Whose object families and look; takes effect on ~/reset.",
        choices=("train", "validation", "test"),
    )
    seed: int = parameter(0, "Of the scene; takes effect on ~/reset.", low=0, high=2**31 - 1)
    arm_controller: str = parameter(
        "/panda_arm_controller",
        "Prefix of joint_trajectory and follow_joint_trajectory.",
        read_only=True,
    )
    gripper_action: str = parameter("/panda_gripper/gripper_action", "Its name.", read_only=True)
    joint_states_topic: str = parameter(
        "/joint_states", "Positions, velocities and motor torques.", read_only=True
    )
    external_efforts_topic: str = parameter(
        "/panda/external_efforts",
        "The part of the arm's torques that pushes against the world.",
        read_only=True,
    )
    color_topic: str = parameter("/camera/color/image_raw", "Colour images.", read_only=True)
    camera_info_topic: str = parameter("/camera/color/camera_info", "Their intrinsics.", read_only=True)
    depth_topic: str = parameter(
        "/camera/aligned_depth_to_color/image_raw",
        "Depth images.",
        read_only=True,
    )
    base_frame: str = parameter("panda_link0", "The robot's base.", read_only=True)
    optical_frame: str = parameter(
        "camera_color_optical_frame",
        "The camera: x right, y down, z forward.",
        read_only=True,
    )
    joint_state_rate: float = parameter(
        100.0,
        "Joint states, and control periods, a simulated second.",
        low=20.0,
        high=240.0,
        read_only=True,
    )
    camera_rate: float = parameter(15.0, "Frames a simulated second, at most.", low=0.1, high=60.0)
    depth_encoding: str = parameter(
        "32FC1",
        "32FC1 is metres, 16UC1 millimetres.",
        choices=("32FC1", "16UC1"),
        read_only=True,
    )
    real_time: bool = parameter(
        True,
        "Whether simulated seconds take as long as others; else they pass as fast as commands come.",
        read_only=True,
    )
    clock: str = parameter(
        "wall",
        "What stamps are: wall time, or the simulated time that /clock tells.",
        choices=("wall", "sim"),
        read_only=True,
    )
    fault_joint_states: str = parameter(
        "none",
        "A fault for tests: no joint states, or positions that are NaN.",
        choices=("none", "stop", "nan"),
    )
    fault_camera: str = parameter(
        "none",
        "A fault for tests: no frames, no colour, the same frame again and again, stamps 10 s behind.",
        choices=("none", "stop", "no_color", "frozen", "skewed"),
    )
    fault_arm: str = parameter(
        "none",
        "A fault for tests: the arm's joints stay where they are, or all commands are refused.",
        choices=("none", "stall", "reject"),
    )
