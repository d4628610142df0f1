"""The arm of the parameters: kinematics, safety gate, and the way it is driven."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kalie.control.arm import Arm
from kalie.control.following import FollowingArm
from kalie.control.gated import GatedArm
from kalie.control.kinematics import Kinematics
from kalie.control.planner import PlannerSettings
from kalie.control.safety import SafetyLimits
from kalie.control.trajectory import TrajectorySettings
from kalie.control.watch import ExecutionSettings

from .arm_action import ActionServerLink
from .arm_topics import ArmLink, LockstepPace, StreamDriver, WallPace
from .control_parameters import ControlParameters
from .joint_states import JointStates
from .managed import ManagedNode
from .watched import WatchedGate

# Seconds over which the force of a guarded move is averaged: the library's three periods of 1/60 s.
CONTACT_SECONDS = 0.05
# Seconds that a simulator which waits for commands may take for a step, before it counts as gone.
LOCKSTEP_PATIENCE = 2.0


@dataclass(frozen=True)
class Robot:
    """An arm that is ready to be driven.

    Attributes:
        kinematics: of the arm.
        gate: that every command passes.
        arm: behind the gate.
        link: to the arm's own nodes.
        period: of control, s.
    """

    kinematics: Kinematics
    gate: WatchedGate
    arm: Arm
    link: ArmLink
    period: float

    def planner(self, velocity_scale: float) -> PlannerSettings:
        """How motions are planned for it."""
        return PlannerSettings(trajectory=self.timing(velocity_scale))

    def timing(self, velocity_scale: float) -> TrajectorySettings:
        """How trajectories are timed for it."""
        return TrajectorySettings(period=self.period, limit_share=velocity_scale)


def build_robot(node: ManagedNode, parameters: ControlParameters, urdf: str) -> Robot:
    """Connect to the arm that the parameters name.

    Raises:
        ValueError: a parameter, or the URDF, does not describe an arm.
    """
    kinematics, period = Kinematics(parameters.robot(urdf)), 1 / parameters.rate
    limits = SafetyLimits(
        kinematics.limits,
        _corner(parameters.workspace_low),
        _corner(parameters.workspace_high),
        max_age=parameters.max_state_age,
    )
    gate = WatchedGate(limits, kinematics.forward)
    states = JointStates(parameters.joint_names, parameters.jaws(), parameters.max_clock_skew)
    pace = WallPace(period) if parameters.pace == "wall" else LockstepPace(states, LOCKSTEP_PATIENCE)
    settings = ExecutionSettings()
    settings = replace(settings, contact_periods=max(1, round(CONTACT_SECONDS / period)))
    if parameters.command_interface == "action":
        server = ActionServerLink(node, parameters.topics(), states, pace)
        return Robot(kinematics, gate, FollowingArm(server, gate, period, settings), server, period)
    horizon, acceleration = max(parameters.command_horizon, period), np.array(parameters.acceleration)
    driver = StreamDriver(node, parameters.topics(), states, pace, period, horizon, acceleration)
    return Robot(kinematics, gate, GatedArm(driver, gate, settings), driver, period)


def _corner(values: tuple[float, ...]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z
