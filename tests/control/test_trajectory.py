from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pybullet as pb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pybullet_utils.bullet_client import BulletClient
from scipy.spatial.transform import Rotation

from kalie.control.kinematics import Kinematics
from kalie.control.path import PathSettings, joint_path
from kalie.control.plan import JointTrajectory, MotionPlan, PlanError, Waypoint
from kalie.control.trajectory import TrajectorySettings, plan_trajectories
from kalie.perception.frame import FloatArray

from .scenes import down_pose

SETTINGS = TrajectorySettings()


def sweep_plan(yaw: float = 0.3, turn: float = 2.2) -> MotionPlan:
    """Nine waypoints of a grasp and a stroke."""
    grasp, use = yaw, yaw + turn
    return MotionPlan(
        "grasp_and_use",
        (
            Waypoint("approach_grasp", down_pose(0.4, 0.2, 0.15, grasp), 0.08, linear=False),
            Waypoint("grasp", down_pose(0.4, 0.2, 0.01, grasp), 0.08, speed=0.1),
            Waypoint("close", down_pose(0.4, 0.2, 0.01, grasp), 0.0, grips=True),
            Waypoint("lift", down_pose(0.4, 0.2, 0.13, grasp), 0.0),
            Waypoint("approach_contact", down_pose(0.5, -0.2, 0.13, use), 0.0),
            Waypoint("pre_contact", down_pose(0.5, -0.2, 0.01, use), 0.0),
            Waypoint("target", down_pose(0.5, 0.0, 0.01, use), 0.0),
            Waypoint("post_contact", down_pose(0.5, 0.25, 0.01, use), 0.0),
            Waypoint("retreat", down_pose(0.5, 0.25, 0.15, use), 0.0),
        ),
    )


def single(x: float, y: float, z: float, *, linear: bool = True, yaw: float = np.pi / 2) -> MotionPlan:
    return MotionPlan("push", (Waypoint("target", down_pose(x, y, z, yaw), 0.0, linear=linear),))


def assert_within_limits(trajectory: JointTrajectory, kinematics: Kinematics, share: float) -> None:
    """Finite differences, with the arm at rest before and after."""
    limits, dt = kinematics.limits, trajectory.times[1]
    q = trajectory.positions
    padded = np.concatenate([q[:1], q[:1], q[:1], q, q[-1:], q[-1:], q[-1:]])
    assert ((q >= limits.lower) & (q <= limits.upper)).all()
    for order, most in enumerate((limits.velocity, limits.acceleration, limits.jerk), start=1):
        assert (np.abs(np.diff(padded, order, axis=0)) / dt**order <= share * most * 1.001).all()


@settings(max_examples=15, deadline=None)
@given(yaw=st.floats(0.1, 3.0), turn=st.floats(-3.0, 3.0))
def test_every_phase_keeps_the_limits_and_joins_the_next(
    kinematics: Kinematics, yaw: float, turn: float
) -> None:
    home = np.array(kinematics.robot.posture)
    trajectories = plan_trajectories(sweep_plan(yaw, turn), kinematics, home)
    assert [t.phase for t in trajectories] == [w.phase for w in sweep_plan().waypoints]
    np.testing.assert_array_equal(trajectories[0].positions[0], home)
    for before, after in pairwise(trajectories):
        np.testing.assert_allclose(before.positions[-1], after.positions[0], atol=1e-12)
    for trajectory in trajectories:
        assert_within_limits(trajectory, kinematics, SETTINGS.limit_share)
        assert not trajectory.velocities[[0, -1]].any()
        np.testing.assert_allclose(np.diff(trajectory.times), SETTINGS.period, rtol=1e-9)


def test_velocities_are_the_derivative_of_positions(kinematics: Kinematics, home: FloatArray) -> None:
    settings_ = TrajectorySettings(period=1 / 500)
    for t in plan_trajectories(sweep_plan(), kinematics, home, settings_):
        central = (t.positions[2:] - t.positions[:-2]) / (2 * settings_.period)
        np.testing.assert_allclose(central, t.velocities[1:-1], atol=5e-3)


def test_lines_are_straight_and_turn_steadily(kinematics: Kinematics, home: FloatArray) -> None:
    trajectories = plan_trajectories(sweep_plan(), kinematics, home)
    for before, t in pairwise(trajectories):
        start, end = (kinematics.forward(q)[:3, 3] for q in (before.positions[-1], t.positions[-1]))
        tips = np.array([kinematics.forward(q) for q in t.positions])
        length = np.linalg.norm(end - start)
        if length < 1e-6:
            continue
        way = (end - start) / length
        off = (tips[:, :3, 3] - start) - np.outer((tips[:, :3, 3] - start) @ way, way)
        assert np.linalg.norm(off, axis=1).max() < 5e-4
        np.testing.assert_allclose(tips[:, 2, 2], -1.0, atol=1e-4)


def test_tcp_keeps_its_speed(kinematics: Kinematics, home: FloatArray) -> None:
    t = plan_trajectories(sweep_plan(), kinematics, home)[1]
    tips = np.array([kinematics.forward(q)[:3, 3] for q in t.positions])
    speed = np.linalg.norm(np.diff(tips, axis=0), axis=1) / SETTINGS.period
    assert 0.08 < speed.max() <= 0.1 * 1.02


def test_last_sample_is_the_waypoint_up_to_the_jaws_symmetry(
    kinematics: Kinematics, home: FloatArray
) -> None:
    plan = sweep_plan()
    trajectories = plan_trajectories(plan, kinematics, home)
    flips = set()
    for waypoint, t in zip(plan.waypoints, trajectories, strict=True):
        pose = kinematics.forward(t.positions[-1])
        np.testing.assert_allclose(pose[:3, 3], waypoint.base_from_tcp[:3, 3], atol=1e-5)
        same = pose[:3, 1] @ waypoint.base_from_tcp[:3, 1]
        assert abs(abs(same) - 1) < 1e-6
        flips.add(bool(same > 0))
    assert len(flips) == 1  # the whole plan turns, or none of it


def test_symmetry_saves_a_plan_whose_yaw_the_wrist_cannot_reach(
    kinematics: Kinematics, home: FloatArray
) -> None:
    # Closing axes a half turn apart mean the same grasp; only one of them is within joint 7's range here.
    for yaw in np.linspace(0, 2 * np.pi, 9):
        first, second = (
            plan_trajectories(single(0.5, 0.2, 0.1, linear=False, yaw=yaw + flip), kinematics, home)[-1]
            for flip in (0.0, np.pi)
        )
        np.testing.assert_allclose(first.positions, second.positions, atol=1e-4)


def test_gripper_dwells_where_only_the_jaws_move(kinematics: Kinematics, home: FloatArray) -> None:
    close = plan_trajectories(sweep_plan(), kinematics, home)[2]
    assert close.phase == "close"
    assert close.grips
    assert np.ptp(close.positions, axis=0).max() == 0
    assert close.duration == pytest.approx(SETTINGS.dwell)
    assert (close.gripper_widths == 0).all()


def test_hold_overrules_the_dwell(kinematics: Kinematics, home: FloatArray) -> None:
    plan = sweep_plan()
    waypoints = (*plan.waypoints[:2], replace(plan.waypoints[2], hold=1.5))
    held = plan_trajectories(replace(plan, waypoints=waypoints), kinematics, home)[-1]
    assert held.duration == pytest.approx(1.5)


def test_waypoints_of_one_phase_become_one_smooth_trajectory(
    kinematics: Kinematics, home: FloatArray
) -> None:
    start = down_pose(0.5, 0.0, 0.3)
    tilts = []
    for angle in np.linspace(0.1, 0.6, 6):
        tilt = start.copy()
        tilt[:3, :3] = Rotation.from_rotvec([0, angle, 0]).as_matrix() @ start[:3, :3]
        tilts.append(Waypoint("tilt", tilt, 0.0))
    plan = MotionPlan("pour", (Waypoint("target", start, 0.0, linear=False), *tilts))
    trajectories = plan_trajectories(plan, kinematics, home)
    assert [t.phase for t in trajectories] == ["target", "tilt"]
    moving = np.abs(trajectories[1].velocities).max(axis=1)[2:-2]
    assert moving.min() > 0.01  # no stop on the way


def test_planning_is_deterministic(kinematics: Kinematics, home: FloatArray) -> None:
    first = plan_trajectories(sweep_plan(), kinematics, home)
    second = plan_trajectories(sweep_plan(), Kinematics(kinematics.robot), home)
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.positions, b.positions)
        assert np.array_equal(a.velocities, b.velocities)


def test_when_last_waypoint_is_unreachable_expect_error_naming_it_and_no_trajectory(
    kinematics: Kinematics, home: FloatArray
) -> None:
    plan = sweep_plan()
    far = replace(plan.waypoints[-1], base_from_tcp=down_pose(1.1, 0.2, 0.15))
    with pytest.raises(PlanError, match=r"^retreat at \(1\.100, 0\.200, 0\.150\).*nearest reachable pose"):
        plan_trajectories(replace(plan, waypoints=(*plan.waypoints[:-1], far)), kinematics, home)


def test_when_line_passes_through_the_table_expect_refusal(kinematics: Kinematics, home: FloatArray) -> None:
    start = kinematics.inverse(down_pose(0.5, 0.0, 0.1), home)
    with pytest.raises(PlanError, match=r"target .*collides.*touches the table"):
        plan_trajectories(single(0.5, 0.1, -0.03), kinematics, start)


def test_when_line_passes_through_the_base_expect_refusal(kinematics: Kinematics, home: FloatArray) -> None:
    start = kinematics.inverse(down_pose(0.05, 0.45, 0.3), home)
    with pytest.raises(PlanError, match="target"):
        plan_trajectories(single(0.05, -0.45, 0.3), kinematics, start)


def test_when_a_joint_would_flip_expect_refusal(kinematics: Kinematics, home: FloatArray) -> None:
    """With a flip limit tighter than any motion, the first sample is a flip."""
    waypoint = single(0.6, 0.2, 0.3).waypoints[0]
    with pytest.raises(PlanError, match=r"would flip panda_joint\d"):
        joint_path(kinematics, home, [waypoint], PathSettings(flip=1e-4))


def test_when_start_is_outside_the_limits_expect_remedy(kinematics: Kinematics, home: FloatArray) -> None:
    start = home.copy()
    start[1] = 2.0
    with pytest.raises(PlanError, match=r"start: panda_joint2 = 2\.000 .*move that joint back"):
        plan_trajectories(single(0.5, 0.0, 0.2), kinematics, start)


def test_when_start_is_singular_expect_a_plan(kinematics: Kinematics) -> None:
    start = np.zeros(7)
    trajectories = plan_trajectories(single(0.5, 0.0, 0.2, linear=False), kinematics, start)
    assert_within_limits(trajectories[0], kinematics, SETTINGS.limit_share)


def test_when_joint_line_collides_expect_a_cartesian_line_instead(
    kinematics: Kinematics, home: FloatArray
) -> None:
    """The straight joint line between two low poses dips into the table; the Cartesian one does not."""
    start = kinematics.inverse(down_pose(0.45, -0.4, 0.006, 0.2), home)
    t = plan_trajectories(single(0.45, 0.4, 0.006, linear=False, yaw=2.9), kinematics, start)[0]
    assert all(kinematics.collisions.find(q) is None for q in t.positions)


def deepest_contact(bullet: BulletClient, robot: int, positions: FloatArray) -> float:
    """How deep PyBullet sees the arm in the table, or in itself beyond neighbouring links; m, <= 0."""
    for joint, angle in enumerate(positions):
        bullet.resetJointState(robot, joint, angle)
    bullet.performCollisionDetection()
    contacts = bullet.getContactPoints(robot)
    return min((c[8] for c in contacts if c[2] != robot or abs(c[3] - c[4]) > 2), default=0.0)


def test_collision_on_an_approach_is_always_refused(kinematics: Kinematics, home: FloatArray) -> None:
    """B10: 500 random straight approaches; PyBullet finds the accepted ones free, bad goals are refused."""
    rng = np.random.default_rng(3)
    bullet = BulletClient(pb.DIRECT)
    bullet.createMultiBody(0, bullet.createCollisionShape(pb.GEOM_PLANE))
    robot = bullet.loadURDF(kinematics.robot.urdf, useFixedBase=True, flags=pb.URDF_USE_SELF_COLLISION)
    bullet.setCollisionFilterPair(0, robot, -1, -1, 0)  # the base stands on the table
    accepted = refused = 0
    for _ in range(500):
        x, y = rng.uniform(0.3, 0.65), rng.uniform(-0.35, 0.35)
        depth = rng.uniform(-0.08, 0.08)
        waypoint = Waypoint("grasp", down_pose(x, y, depth, rng.uniform(0, np.pi)), 0.08)
        try:
            above = kinematics.inverse(down_pose(x, y, 0.2, rng.uniform(0, np.pi)), home)
            path = joint_path(kinematics, above, [waypoint], SETTINGS.path)
        except PlanError:
            refused += 1
            continue
        accepted += 1
        assert min(deepest_contact(bullet, robot, q) for q in path.positions[::3]) > -0.004
    bullet.disconnect()
    assert accepted > 100
    assert refused > 200


@pytest.mark.parametrize("speed", [0.05, 0.5])
def test_when_plan_is_faster_expect_shorter_but_lawful(
    kinematics: Kinematics, home: FloatArray, speed: float
) -> None:
    start = kinematics.inverse(down_pose(0.4, -0.2, 0.1), home)
    waypoint = Waypoint("target", down_pose(0.6, 0.2, 0.1), 0.0, speed=speed)
    t = plan_trajectories(MotionPlan("push", (waypoint,)), kinematics, start)[0]
    assert_within_limits(t, kinematics, SETTINGS.limit_share)
    assert (t.duration > 8.0) == (speed == 0.05)


def test_when_plan_is_empty_expect_error(kinematics: Kinematics, home: FloatArray) -> None:
    with pytest.raises(PlanError, match="no waypoints"):
        plan_trajectories(MotionPlan("push", ()), kinematics, home)
