"""The simulated Panda behind the arm protocol: position-controlled joints, force-limited fingers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pybullet as pb
from scipy.interpolate import CubicHermiteSpline

from ..control.arm import ArmState, Execution, ExecutionStatus
from ..control.plan import JointTrajectory
from ..perception.frame import FloatArray
from .world import ARM_FORCES, ARM_JOINTS, FINGER_FORCE, FINGER_JOINTS, World

JOINT_NAMES = tuple(f"panda_joint{index}" for index in range(1, 8))


@dataclass(frozen=True)
class SimulatedArmConfig:
    """How the simulated arm tracks and when it gives up.

    Attributes:
        stall_error: rad; a joint further than this from its command is not following.
        stall_seconds: how long that must last before the arm reports `stalled`.
        settle_seconds: pause after a trajectory that closes the jaws, so that the grip builds up.
        empty_width: metres; jaws that close further than this hold nothing.
    """

    stall_error: float = 0.25
    stall_seconds: float = 0.3
    settle_seconds: float = 0.35
    empty_width: float = 0.004


class SimulatedArm:
    """A `control.arm.Arm` that steps the physics of a `World` while it moves.

    Args:
        world: the world whose Panda this is.
        config: tracking limits.
        on_step: called after every physics step, e.g. to film.
    """

    def __init__(
        self,
        world: World,
        config: SimulatedArmConfig | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> None:
        self.world = world
        self.config = config or SimulatedArmConfig()
        self._on_step = on_step
        self._stopped = False

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The seven arm joints, base to tip."""
        return JOINT_NAMES

    def state(self) -> ArmState:
        """Joint positions and velocities, jaw opening, and the simulated time."""
        joints = self.world.bullet.getJointStates(self.world.robot, (*ARM_JOINTS, *FINGER_JOINTS))
        positions = np.array([joint[0] for joint in joints])
        velocities = np.array([joint[1] for joint in joints])
        stamp = self.world.steps * self.world.config.time_step
        return ArmState(positions[:7], velocities[:7], float(positions[7:].sum()), stamp)

    def execute(self, trajectory: JointTrajectory) -> Execution:
        """Follow a trajectory step by step; blocks until it ends.

        Raises:
            ValueError: the trajectory is for other joints.
        """
        if trajectory.joint_names != JOINT_NAMES:
            raise ValueError(f"trajectory: joints {trajectory.joint_names}, this arm has {JOINT_NAMES}")
        self._stopped = False
        positions, velocities, widths = self._sample(trajectory)
        sent: list[FloatArray] = []
        late = 0
        for position, velocity, width in zip(positions, velocities, widths, strict=True):
            if self._stopped:
                return self._ended("stopped", "stop was called", sent)
            self._command(position, velocity, float(width))
            sent.append(position)
            late = late + 1 if self._error(position) > self.config.stall_error else 0
            if late * self.world.config.time_step > self.config.stall_seconds:
                joint = JOINT_NAMES[int(np.argmax(np.abs(self.state().positions - position)))]
                return self._ended("stalled", f"{trajectory.phase}: {joint} does not follow", sent)
        if trajectory.grips:
            return self._grip(trajectory, positions[-1], float(widths[-1]), sent)
        return self._ended("done", "", sent)

    def stop(self) -> None:
        """Hold the present position; a running `execute` returns `stopped`."""
        self._stopped = True
        state = self.state()
        self._drive(state.positions, np.zeros(7), state.gripper_width)

    def _grip(
        self, trajectory: JointTrajectory, position: FloatArray, width: float, sent: list[FloatArray]
    ) -> Execution:
        for _ in range(round(self.config.settle_seconds / self.world.config.time_step)):
            self._command(position, np.zeros(7), width)
        if self.state().gripper_width < self.config.empty_width:
            return self._ended("empty_grasp", f"{trajectory.phase}: the jaws closed on nothing", sent)
        return self._ended("done", "", sent)

    def _sample(self, trajectory: JointTrajectory) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Positions (K, 7), velocities (K, 7) and jaw openings (K,) at every physics step."""
        count = max(1, round(trajectory.duration / self.world.config.time_step))
        if len(trajectory.times) == 1:
            return trajectory.positions, trajectory.velocities, trajectory.gripper_widths
        times = np.linspace(0, trajectory.duration, count + 1)[1:]
        spline = CubicHermiteSpline(trajectory.times, trajectory.positions, trajectory.velocities)
        widths = np.interp(times, trajectory.times, trajectory.gripper_widths)
        return spline(times), spline(times, 1), widths

    def _command(self, position: FloatArray, velocity: FloatArray, width: float) -> None:
        self._drive(position, velocity, width)
        self.world.step()
        if self._on_step is not None:
            self._on_step()

    def _drive(self, position: FloatArray, velocity: FloatArray, width: float) -> None:
        bullet, robot = self.world.bullet, self.world.robot
        bullet.setJointMotorControlArray(
            robot,
            ARM_JOINTS,
            pb.POSITION_CONTROL,
            targetPositions=position.tolist(),
            targetVelocities=velocity.tolist(),
            forces=ARM_FORCES,
        )
        for finger in FINGER_JOINTS:
            bullet.setJointMotorControl2(
                robot,
                finger,
                pb.POSITION_CONTROL,
                targetPosition=width / 2,
                force=FINGER_FORCE,
                maxVelocity=0.2,
            )

    def _error(self, position: FloatArray) -> float:
        return float(np.abs(self.state().positions - position).max())

    @staticmethod
    def _ended(status: ExecutionStatus, message: str, sent: list[FloatArray]) -> Execution:
        return Execution(status, message, np.array(sent) if sent else None)
