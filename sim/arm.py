"""The simulated Panda behind the arm protocol: position-controlled joints, force-limited fingers."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from ..control.arm import ArmState
from ..control.gated import GatedArm
from ..control.kinematics import Kinematics
from ..control.robot import panda_config
from ..control.safety import SafetyGate, SafetyLimits
from ..control.watch import ExecutionSettings
from ..perception.frame import FloatArray
from .world import ARM_JOINTS, FINGER_JOINTS, PANDA_URDF, World

JOINT_NAMES = tuple(f"panda_joint{index}" for index in range(1, 8))


class _Own(threading.local):
    """What each thread has for itself: kinematics compute in memory that must not be shared."""

    kinematics: Kinematics | None = None


_own = _Own()


def panda_kinematics() -> Kinematics:
    """Kinematics of the simulated Panda, built once per thread."""
    if _own.kinematics is None:
        _own.kinematics = Kinematics(panda_config(PANDA_URDF))
    return _own.kinematics


class SimulatedDriver:
    """Drives the Panda of a `World`; every command advances physics by one control period.

    Args:
        world: the world whose Panda this is.
        period: seconds between commands, a multiple of the world's time step.
        on_period: called after every control period, e.g. to film.
    """

    def __init__(
        self, world: World, period: float = 1 / 60, on_period: Callable[[], None] | None = None
    ) -> None:
        self.world = world
        self._steps = max(1, round(period / world.config.time_step))
        self._on_period = on_period
        self._last: FloatArray | None = None

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The seven arm joints, base to tip."""
        return JOINT_NAMES

    def now(self) -> float:
        """Simulated seconds since the world's reset."""
        return self.world.steps * self.world.config.time_step

    def state(self) -> ArmState:
        """Joint positions and velocities, jaw opening, the simulated time, and external efforts.

        Those are the motors' torques less what gravity and the joint velocities take (inverse dynamics).
        """
        bullet, robot = self.world.bullet, self.world.robot
        joints = bullet.getJointStates(robot, (*ARM_JOINTS, *FINGER_JOINTS))
        positions, velocities, torques = (np.array([joint[i] for joint in joints]) for i in (0, 1, 3))
        resting = [0.0] * len(joints)
        needed = bullet.calculateInverseDynamics(robot, positions.tolist(), velocities.tolist(), resting)
        efforts = (torques - needed)[: len(ARM_JOINTS)]
        width = float(positions[len(ARM_JOINTS) :].sum())
        return ArmState(positions[:7], velocities[:7], width, self.now(), efforts)

    def send(self, positions: FloatArray, gripper_width: float) -> None:
        """Move from the last command to joint positions (7,) within one control period.

        Args:
            positions: (7,) rad.
            gripper_width: metres between the jaws; objects in between stop them at a limited force.
        """
        start = positions if self._last is None else self._last
        velocity = (positions - start) / (self._steps * self.world.config.time_step)
        self.world.drive_jaws(gripper_width)
        for index in range(1, self._steps + 1):
            self._drive(start + (positions - start) * (index / self._steps), velocity)
            self.world.step()
        self._last = np.array(positions)
        if self._on_period is not None:
            self._on_period()

    def halt(self) -> None:
        """Hold the present position."""
        self._last = self.state().positions
        self._drive(self._last, np.zeros(7))

    def _drive(self, positions: FloatArray, velocities: FloatArray) -> None:
        self.world.drive_arm(positions.tolist(), velocities.tolist())


class SimulatedArm(GatedArm):
    """The Panda of a `World` behind the safety gate.

    Args:
        world: the world whose Panda this is.
        settings: when an execution counts as failed.
        on_period: called after every control period (1/60 s), e.g. to film.
    """

    def __init__(
        self,
        world: World,
        settings: ExecutionSettings | None = None,
        on_period: Callable[[], None] | None = None,
    ) -> None:
        kinematics = panda_kinematics()
        gate = SafetyGate(SafetyLimits(kinematics.limits), kinematics.forward)
        super().__init__(SimulatedDriver(world, on_period=on_period), gate, settings)
