"""A simulated Panda in front of a staged scene, as its controllers see it; for one thread, without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kalie.perception.frame import FloatArray, Intrinsics
from kalie.sim.arm import JOINT_NAMES, SimulatedDriver
from kalie.sim.episode import REST_SECONDS
from kalie.sim.registry import task
from kalie.sim.staging import StagedScene, stage
from kalie.sim.world import ARM_JOINTS, FINGER_FORCE, FINGER_JOINTS, HOME, JAW_LIMIT, PANDA_URDF, World

from .sim_camera import SceneKey, snapshot
from .trajectory_follower import Setpoint, TrajectoryFollower

ARM_SIZE = len(JOINT_NAMES)
STATE_NAMES = (*JOINT_NAMES, "panda_finger_joint1", "panda_finger_joint2")
# Metres: the farthest that one finger goes from the middle.
FINGER_LIMIT = JAW_LIMIT / 2


class RobotState(NamedTuple):
    """What the robot measures.

    Attributes:
        time: simulated seconds.
        positions: (9,) of seven arm joints (rad) and two fingers (m).
        velocities: (9,) of them, per second.
        efforts: (9,) of their motors, N m and N.
        external_efforts: (7,) N m with which the arm's motors push against the world.
        desired: where the arm's joints should be.
    """

    time: float
    positions: FloatArray
    velocities: FloatArray
    efforts: FloatArray
    external_efforts: FloatArray
    desired: Setpoint

    @property
    def actual(self) -> Setpoint:
        """Where the arm's joints are."""
        return Setpoint(self.positions[:ARM_SIZE], self.velocities[:ARM_SIZE])

    @property
    def finger(self) -> float:
        """Metres of a finger from the middle, half the gap."""
        return float(self.positions[ARM_SIZE:].mean())

    @property
    def finger_velocity(self) -> float:
        """Metres a second at which a finger opens."""
        return float(self.velocities[ARM_SIZE:].mean())


class SimulatedRobot:
    """One world whose time never goes back, whatever is staged in it.

    Args:
        rate: control periods a simulated second; physics keeps its own time step.
    """

    def __init__(self, rate: float) -> None:
        self.world = World()
        self._driver = SimulatedDriver(self.world)
        self._steps_per_period = 1 / (rate * self.world.config.time_step)
        self._steps_owed = 0.0
        self._before = 0.0
        self._staged: StagedScene | None = None
        self._stuck: FloatArray | None = None
        self._rest()

    def close(self) -> None:
        """Free the world."""
        self.world.close()

    @property
    def time(self) -> float:
        """Simulated seconds."""
        return self._before + self.world.steps * self.world.config.time_step

    @property
    def staged(self) -> StagedScene:
        """The scene.

        Raises:
            ValueError: there is none.
        """
        if self._staged is None:
            raise ValueError("no scene is staged: the last reset failed")
        return self._staged

    @property
    def intrinsics(self) -> Intrinsics:
        """Of the camera."""
        return self.world.camera.intrinsics(self.world.config.renderer)

    def stage(self, scene: SceneKey) -> None:
        """Another scene, with the arm at home and all motion dropped.

        Raises:
            StagingError: no usable scene was found.
        """
        now = self.time
        self._staged = None
        try:
            self._staged = stage(self.world, task(scene.task), scene.split, scene.seed)
        finally:
            self._before = now - self.world.steps * self.world.config.time_step
            self._rest()

    def advance(self, stuck: bool = False) -> None:
        """Let one control period pass.

        Args:
            stuck: whether the arm stays where it is, whatever it should do.
        """
        if not stuck:
            self._stuck = None
        elif self._stuck is None:
            self._stuck = self._measured()
        self._steps_owed += self._steps_per_period
        # 5 periods of 1/100 s are 12 steps of 1/240 s: two or three each.
        steps = int(self._steps_owed + 1e-9)
        self._steps_owed -= steps
        self.world.drive_jaws(2 * self._finger, self._force)
        for _ in range(steps):
            wanted = self.follower.at(self.time + self.world.config.time_step)
            if self._stuck is not None:
                wanted = Setpoint(self._stuck, np.zeros(ARM_SIZE))
            self.world.drive_arm(wanted.positions.tolist(), wanted.velocities.tolist())
            self.world.step()

    def hold(self) -> None:
        """Stop, and hold what is measured."""
        self.follower.hold(self._measured(), self.time)

    def grip(self, finger: float, force: float = FINGER_FORCE) -> None:
        """Aim each finger at a place, metres from the middle, with at most a force, N."""
        self._finger, self._force = finger, min(force, FINGER_FORCE)

    def state(self) -> RobotState:
        """What is measured now.

        Raises:
            FloatingPointError: the simulation is not finite any more.
        """
        joints = self.world.bullet.getJointStates(self.world.robot, (*ARM_JOINTS, *FINGER_JOINTS))
        positions, velocities, efforts = (np.array([joint[i] for joint in joints]) for i in (0, 1, 3))
        if not np.isfinite([positions, velocities]).all():
            raise FloatingPointError("the simulated joints are not finite; stage the scene anew")
        external = self._driver.state().external_efforts
        assert external is not None  # noqa: S101 - this driver always has them
        return RobotState(self.time, positions, velocities, efforts, external, self.follower.at(self.time))

    def settle(self) -> None:
        """Let the world rest as long as after an episode, the motors' targets as they are."""
        self.world.settle(REST_SECONDS)

    def judge(self) -> tuple[bool, Mapping[str, float]]:
        """Whether the task's goal holds now, and the quantities behind it."""
        staged = self.staged
        judgement = staged.task.judge(self.world, staged.scene)
        return judgement.success, judgement.measures

    def snapshot(self) -> FloatArray:
        """Where everything is, for a camera."""
        return snapshot(self.world)

    def _measured(self) -> FloatArray:
        return self.world.joint_states()[0][:ARM_SIZE]

    def _rest(self) -> None:
        self.follower = TrajectoryFollower(np.array(HOME), self.time)
        self.grip(FINGER_LIMIT)
        self._stuck = None


def robot_description() -> str:
    """The Panda's URDF, its meshes where they lie on this machine."""
    path = Path(PANDA_URDF)
    return path.read_text().replace("package://", f"file://{path.parent}/")
