"""Motion plans (Cartesian) and joint trajectories (timed): what primitives and kinematics hand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..perception.frame import FloatArray

Primitive = Literal["grasp_and_use", "push", "hang", "pour", "pull"]
PhaseName = Literal[
    "approach_grasp", "grasp", "close", "lift", "approach_contact", "pre_contact", "target", "tilt",
    "post_contact", "release", "retreat", "home",
]  # fmt: skip


class PlanError(ValueError):
    """No safe plan exists; the message names the waypoint and what is wrong with it."""


class MissingKeypoints(PlanError):
    """The affordance lacks keypoints that the primitive needs; the message names them."""


@dataclass(frozen=True)
class Waypoint:
    """One Cartesian goal of the gripper's tool centre point (TCP, between the finger tips).

    Attributes:
        phase: which part of the primitive it belongs to; names it in errors and feedback.
        base_from_tcp: (4, 4); the TCP's z axis leaves the hand (down when grasping from above), its y axis
            is the jaws' closing axis.
        gripper_width: metres between the jaws on arrival.
        speed: Cartesian speed limit on the way there, m/s.
        linear: whether the TCP must move on a straight line from the previous waypoint.
        grips: whether the jaws close on something here (then `gripper_width` is the force-closed target and
            an empty closure is a failure).
        hold: seconds to rest here where only the jaws move or nothing does; 0 = as long as jaws take.
        until_contact: a guarded move: the TCP goes toward this pose until contact stops it, at most as far as
            the pose, then back the way it came; the next waypoint follows from where the move began.
    """

    phase: PhaseName
    base_from_tcp: FloatArray
    gripper_width: float
    speed: float = 0.25
    linear: bool = True
    grips: bool = False
    hold: float = 0.0
    until_contact: bool = False


@dataclass(frozen=True)
class MotionPlan:
    """A primitive, instantiated: Cartesian waypoints in order."""

    primitive: Primitive
    waypoints: tuple[Waypoint, ...]


@dataclass(frozen=True)
class JointTrajectory:
    """Timed joint positions and velocities with gripper widths, for one phase of a plan.

    Attributes:
        joint_names: the J actuated arm joints.
        times: (N,) seconds from the start, strictly increasing, times[0] == 0.
        positions: (N, J) radians.
        velocities: (N, J) radians per second.
        gripper_widths: (N,) metres between the jaws.
        phase: what it carries out.
        grips: whether the jaws close on something in this phase (see `Waypoint.grips`).
        until_contact: whether contact may end it; it then ends where it began (see `Waypoint.until_contact`).
    """

    joint_names: tuple[str, ...]
    times: FloatArray
    positions: FloatArray
    velocities: FloatArray
    gripper_widths: FloatArray
    phase: PhaseName
    grips: bool = False
    until_contact: bool = False

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.times[-1])

    def __post_init__(self) -> None:
        n, j = len(self.times), len(self.joint_names)
        if self.positions.shape != (n, j) or self.velocities.shape != (n, j):
            raise ValueError(f"trajectory: positions and velocities must be ({n}, {j})")
        if self.gripper_widths.shape != (n,):
            raise ValueError(f"trajectory: gripper_widths must be ({n},)")
        if n == 0 or self.times[0] != 0 or np.any(np.diff(self.times) <= 0):
            raise ValueError("trajectory: times must start at 0 and increase strictly")
