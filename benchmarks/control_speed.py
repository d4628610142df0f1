"""Time to plan a whole motion, to pass the safety gate, and of forward and inverse kinematics.

    python benchmarks/control_speed.py [--out FILE] [--quick]

Planning is held against its limit of 0.25 s, the gate against 50 microseconds a command (wall time);
kinematics stands beside PyBullet's own on the same arm and the same poses (CPU time, in turns).
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import pybullet as pb
import pybullet_data
from _measure import Measured, against_limit, cpu_seconds, in_turns, parser, report, wall_seconds
from pybullet_utils.bullet_client import BulletClient
from scipy.spatial.transform import Rotation

from kalie.control.arm import ArmState
from kalie.control.kinematics import Kinematics
from kalie.control.plan import MotionPlan, Waypoint
from kalie.control.primitives import pointing_down, pose
from kalie.control.robot import panda_config
from kalie.control.safety import JointCommand, SafetyGate, SafetyLimits
from kalie.control.trajectory import plan_trajectories
from kalie.perception.frame import FloatArray

PLAN_SECONDS = 0.25
GATE_SECONDS = 50e-6
POSES = 100


def down(x: float, y: float, z: float, yaw: float) -> FloatArray:
    """A TCP pose pointing down."""
    return pose(pointing_down(np.array([np.cos(yaw), np.sin(yaw), 0.0])), np.array([x, y, z]))


def ten_waypoints() -> MotionPlan:
    """A grasp, a stroke of the grasped tool, and a retreat."""
    return MotionPlan(
        "grasp_and_use",
        (
            Waypoint("approach_grasp", down(0.4, 0.2, 0.13, 0.3), 0.08, 0.5, linear=False),
            Waypoint("grasp", down(0.4, 0.2, 0.01, 0.3), 0.08, 0.15),
            Waypoint("close", down(0.4, 0.2, 0.01, 0.3), 0.0, grips=True),
            Waypoint("lift", down(0.4, 0.2, 0.13, 0.3), 0.0, 0.5),
            Waypoint("approach_contact", down(0.5, -0.2, 0.13, 2.5), 0.0, 0.5),
            Waypoint("pre_contact", down(0.5, -0.2, 0.01, 2.5), 0.0, 0.15),
            Waypoint("target", down(0.5, 0.0, 0.01, 2.5), 0.0),
            Waypoint("post_contact", down(0.5, 0.25, 0.01, 2.5), 0.0),
            Waypoint("retreat", down(0.5, 0.25, 0.13, 2.5), 0.0, 0.5),
            Waypoint("release", down(0.5, 0.25, 0.13, 2.5), 0.08),
        ),
    )


def gate(kinematics: Kinematics, home: FloatArray, count: int) -> Measured:
    """Commands of a slow motion, so that the gate does all of its checks."""
    checks = SafetyGate(SafetyLimits(kinematics.limits), kinematics.forward)
    checks.start(home, 0.0)
    moves = 0.1 * np.sin(np.arange(1, count + 1) * 1e-3)
    commands = [JointCommand(home + move, 0.01 * k) for k, move in enumerate(moves, start=1)]
    states = [ArmState(home, 0 * home, 0.08, command.stamp) for command in commands]
    seconds = []
    for command, state in zip(commands, states, strict=True):
        begin = time.perf_counter()
        checks.check(command, state, command.stamp)
        seconds.append(time.perf_counter() - begin)
    return against_limit("safety gate, a command", seconds, GATE_SECONDS)


def poses(kinematics: Kinematics, home: FloatArray, rounds: int) -> list[Measured]:
    """Forward and inverse kinematics of random poses over the table, ours and PyBullet's.

    PyBullet's inverse iterates to 1e-4 m from one start, checks no collision and may miss; ours does neither.
    """
    bullet = BulletClient(pb.DIRECT)
    robot = bullet.loadURDF(kinematics.robot.urdf, useFixedBase=True)
    names = [bullet.getJointInfo(robot, i)[12].decode() for i in range(bullet.getNumJoints(robot))]
    tcp = names.index(kinematics.robot.tcp_frame)
    rng = np.random.default_rng(0)
    goals = [
        down(rng.uniform(0.35, 0.6), rng.uniform(-0.3, 0.3), rng.uniform(0.02, 0.2), rng.uniform(0.5, 2.6))
        for _ in range(POSES)
    ]

    def reset() -> None:
        for joint, angle in enumerate(home):
            bullet.resetJointState(robot, joint, angle)

    def bullet_forward() -> None:
        for _ in goals:
            bullet.resetJointState(robot, 0, 0.0)
            bullet.getLinkState(robot, tcp, computeForwardKinematics=True)

    def bullet_inverse() -> None:
        for goal in goals:
            reset()
            bullet.calculateInverseKinematics(
                robot,
                tcp,
                goal[:3, 3].tolist(),
                Rotation.from_matrix(goal[:3, :3]).as_quat().tolist(),
                maxNumIterations=100,
                residualThreshold=1e-4,
            )

    def forward() -> None:
        for _ in goals:
            kinematics.forward(home)

    def inverse() -> None:
        for goal in goals:
            kinematics.inverse(goal, home)

    measured = [
        in_turns(
            f"{name} kinematics, {POSES} poses",
            partial(cpu_seconds, ours),
            "PyBullet",
            partial(cpu_seconds, theirs),
            None,
            rounds,
        )
        for name, ours, theirs in (
            ("forward", forward, bullet_forward),
            ("inverse", inverse, bullet_inverse),
        )
    ]
    bullet.disconnect()
    return measured


def main() -> None:
    """Measure and report."""
    options = parser(__doc__).parse_args()
    repeats = 2 if options.quick else 20
    kinematics = Kinematics(panda_config(Path(pybullet_data.getDataPath()) / "franka_panda/panda.urdf"))
    home = np.array(kinematics.robot.posture)
    plan = ten_waypoints()
    planning = wall_seconds(lambda: plan_trajectories(plan, kinematics, home), repeats)
    measured = [
        against_limit("plan of 10 waypoints", planning, PLAN_SECONDS),
        gate(kinematics, home, 250 * repeats),
        *poses(kinematics, home, repeats),
    ]
    report(measured, options.out)


if __name__ == "__main__":
    main()
