"""What the planner must know about a robot beyond its URDF: one frozen record per arm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RobotConfig:
    """An arm with a parallel gripper.

    Attributes:
        urdf: path of the robot description; meshes lie beside it ("package://" is its directory).
        joint_names: the J actuated arm joints, base to tip.
        tcp_frame: the URDF link that carries the tool centre point.
        tcp_offset: metres from that link's frame to the TCP, in that frame.
        posture: (J,) rad, the configuration that redundancy is resolved toward; also where the arm rests.
        acceleration: (J,) rad/s^2.
        jerk: (J,) rad/s^3.
        finger_links: links that may come as near to the table as `finger_margin`.
        base_links: links that stand on the table and never move against it.
        link_margin: metres kept between the table and every other link.
        finger_margin: metres the finger hulls may dip below the table plane before it counts as a collision.
        table_height: metres, height of the table plane in the base frame.
        jaw_limit: metres, the widest opening of the jaws.
    """

    urdf: str
    joint_names: tuple[str, ...]
    tcp_frame: str
    posture: tuple[float, ...]
    acceleration: tuple[float, ...]
    jerk: tuple[float, ...]
    tcp_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    finger_links: tuple[str, ...] = ()
    base_links: tuple[str, ...] = ()
    link_margin: float = 0.01
    finger_margin: float = 0.003
    table_height: float = 0.0
    jaw_limit: float = 0.08


def panda_config(urdf: str | Path) -> RobotConfig:
    """The Franka Emika Panda with its own hand, for a URDF with the usual panda_* names.

    The limits of acceleration and jerk are those of Franka's control parameter documentation. The TCP is the
    link `panda_grasptarget`, 0.105 m from the hand's frame; the finger tips end 7 mm beyond it.
    """
    return RobotConfig(
        urdf=str(urdf),
        joint_names=tuple(f"panda_joint{i}" for i in range(1, 8)),
        tcp_frame="panda_grasptarget",
        posture=(0.0, -0.5, 0.0, -2.3, 0.0, 1.8, 0.785),
        acceleration=(15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0),
        jerk=(7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0),
        finger_links=("panda_leftfinger", "panda_rightfinger"),
        base_links=("panda_link0",),
    )
