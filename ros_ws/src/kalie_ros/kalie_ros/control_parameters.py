"""The parameters of the control node; a robot is described by nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from kalie.control.robot import RobotConfig

from .arm_topics import ArmTopics
from .camera import CameraParameters
from .frames import MAX_TRANSFORM_AGE
from .joint_states import Jaws
from .parameters import parameter


@dataclass(frozen=True)
class ControlParameters(CameraParameters):
    """See the descriptions; the defaults are those of a Franka Panda under ros2_control."""

    robot_description_topic: str = parameter(
        "/robot_description", "Latched topic with the URDF; used where urdf is empty.", read_only=True
    )
    urdf: str = parameter("", "File of the URDF; goes before the topic.", read_only=True)
    joint_names: tuple[str, ...] = parameter(
        tuple(f"panda_joint{i}" for i in range(1, 8)), "Actuated arm joints, base to tip.", read_only=True
    )
    tcp_frame: str = parameter(
        "panda_grasptarget", "Link that carries the tool centre point (TCP).", read_only=True
    )
    tcp_offset: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0), "Metres from that link to the tool centre point.", low=-1.0, high=1.0, read_only=True
    )
    posture: tuple[float, ...] = parameter(
        (0.0, -0.5, 0.0, -2.3, 0.0, 1.8, 0.785),
        "Joint positions that redundancy is resolved toward, rad.",
        low=-7.0, high=7.0, read_only=True,
    )  # fmt: skip
    home: tuple[float, ...] = parameter(
        (0.0, -1.4, 0.0, -2.2, 0.0, 2.4, 0.785),
        "Joint positions out of the camera's view, taken before looking, rad; empty = the arm looks from "
        "wherever it is.",
        low=-7.0, high=7.0,
    )  # fmt: skip
    acceleration: tuple[float, ...] = parameter(
        (15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0), "Limits, rad/s^2.", low=0.01, high=1000.0, read_only=True
    )
    jerk: tuple[float, ...] = parameter(
        (7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0),
        "Limits, rad/s^3.",
        low=0.1, high=1e6, read_only=True,
    )  # fmt: skip
    finger_links: tuple[str, ...] = parameter(
        ("panda_leftfinger", "panda_rightfinger"), "Links that may come near the table.", read_only=True
    )
    base_links: tuple[str, ...] = parameter(
        ("panda_link0",), "Links that stand on the table.", read_only=True
    )
    base_frame: str = parameter("panda_link0", "Frame of the robot's base.", read_only=True)
    table_height: float = parameter(
        0.0, "Height of the table in the base frame, m.", low=-2.0, high=2.0, read_only=True
    )
    jaw_limit: float = parameter(0.08, "Widest gap between the jaws, m.", low=0.001, high=0.5, read_only=True)
    gripper_joints: tuple[str, ...] = parameter(
        ("panda_finger_joint1",), "Joints whose mean position tells the gap.", read_only=True
    )
    gripper_closed_position: float = parameter(
        0.0, "Position of those joints, and of the command, at gap 0.", low=-10.0, high=10.0, read_only=True
    )
    gripper_open_position: float = parameter(
        0.04, "The same at the widest gap.", low=-10.0, high=10.0, read_only=True
    )
    gripper_max_effort: float = parameter(30.0, "Of a grasp, N.", low=0.0, high=1000.0, read_only=True)
    command_interface: str = parameter(
        "topic", "How the arm is driven.", choices=("topic", "action"), read_only=True
    )
    trajectory_topic: str = parameter(
        "/panda_arm_controller/joint_trajectory", "JointTrajectory of the controller.", read_only=True
    )
    trajectory_action: str = parameter(
        "/panda_arm_controller/follow_joint_trajectory", "FollowJointTrajectory action.", read_only=True
    )
    gripper_action: str = parameter(
        "/panda_gripper/gripper_action", "GripperCommand action; empty = no gripper.", read_only=True
    )
    joint_states_topic: str = parameter("/joint_states", "Measured joints.", read_only=True)
    external_efforts_topic: str = parameter(
        "", "Joint efforts beyond the arm's own weight and motion; empty = not measured.", read_only=True
    )
    frame_timeout: float = parameter(2.0, "How long to wait for a fresh frame, s.", low=0.1, high=60.0)
    max_transform_age: float = parameter(
        MAX_TRANSFORM_AGE,
        "The transform of a camera that moves may be off its image by so much, s.",
        low=0.0, high=60.0,
    )  # fmt: skip
    rate: float = parameter(100.0, "Control periods a second.", low=10.0, high=1000.0, read_only=True)
    pace: str = parameter(
        "wall",
        "wall: the steady clock; lockstep: a simulator that waits for commands (needs use_sim_time).",
        choices=("wall", "lockstep"), read_only=True,
    )  # fmt: skip
    command_horizon: float = parameter(
        0.02, "Streamed points are to be reached so long after they are sent, s.", low=0.0, high=0.2,
        read_only=True,
    )  # fmt: skip
    max_state_age: float = parameter(
        0.1, "An older joint state stops the motion, s.", low=0.005, high=1.0, read_only=True
    )
    workspace_low: tuple[float, ...] = parameter(
        (-0.2, -0.8, 0.0), "Least x, y, z of the tool centre point, m.", low=-5.0, high=5.0, read_only=True
    )
    workspace_high: tuple[float, ...] = parameter(
        (0.9, 0.8, 1.2), "Greatest x, y, z of the tool centre point, m.", low=-5.0, high=5.0, read_only=True
    )
    velocity_scale: float = parameter(0.5, "Share of the joint limits that motions use.", low=0.01, high=0.95)
    new_goal: str = parameter(
        "reject", "What a goal meets that comes while another is under way.", choices=("reject", "preempt")
    )
    affordance_service: str = parameter("/kalie/affordance/predict", "Asked for keypoints.", read_only=True)
    affordance_timeout: float = parameter(10.0, "How long to wait for it, s.", low=0.1, high=600.0)

    def robot(self, urdf: str) -> RobotConfig:
        """The robot of these parameters, described by a URDF file.

        Raises:
            ValueError: the lists do not fit together; the message names the parameter.
        """
        joints = len(self.joint_names)
        for name in ("posture", "acceleration", "jerk"):
            if len(getattr(self, name)) != joints:
                raise ValueError(f"{name}: expected {joints} numbers, one per joint")
        if len(self.home) not in (0, joints):
            raise ValueError(f"home: expected {joints} numbers, one per joint, or none")
        for name in ("tcp_offset", "workspace_low", "workspace_high"):
            if len(getattr(self, name)) != 3:
                raise ValueError(f"{name}: expected 3 numbers")
        x, y, z = self.tcp_offset
        return RobotConfig(
            urdf=urdf,
            joint_names=self.joint_names,
            tcp_frame=self.tcp_frame,
            tcp_offset=(x, y, z),
            posture=self.posture,
            acceleration=self.acceleration,
            jerk=self.jerk,
            finger_links=self.finger_links,
            base_links=self.base_links,
            table_height=self.table_height,
            jaw_limit=self.jaw_limit,
        )

    def jaws(self) -> Jaws:
        """The gripper's joints."""
        closed, opened = self.gripper_closed_position, self.gripper_open_position
        return Jaws(self.gripper_joints, closed, opened, self.jaw_limit)

    def topics(self) -> ArmTopics:
        """What the arm's own nodes are called."""
        return ArmTopics(
            joint_states=self.joint_states_topic,
            external_efforts=self.external_efforts_topic,
            trajectory=self.trajectory_topic,
            trajectory_action=self.trajectory_action,
            gripper_action=self.gripper_action,
            gripper_max_effort=self.gripper_max_effort,
        )
