from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pybullet as pb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pybullet_utils.bullet_client import BulletClient

from kalie.control.kinematics import Kinematics
from kalie.control.limits import JointLimits, UrdfError, read_limits
from kalie.control.plan import PlanError
from kalie.control.robot import RobotConfig
from kalie.perception.frame import FloatArray

from .scenes import down_pose

ONE_JOINT = """<robot name="arm"><link name="base"/><link name="tip"/>
<joint name="hinge" type="revolute"><parent link="base"/><child link="tip"/><axis xyz="0 0 1"/>{limit}</joint>
</robot>"""


def one_joint_urdf(folder: Path, limit: str) -> Path:
    urdf = folder / "arm.urdf"
    urdf.write_text(ONE_JOINT.format(limit=limit))
    return urdf


def random_positions(kinematics: Kinematics, rng: np.random.Generator) -> FloatArray:
    return rng.uniform(kinematics.limits.lower, kinematics.limits.upper)


def test_forward_equals_pybullet_to_a_micrometre(kinematics: Kinematics) -> None:
    bullet = BulletClient(pb.DIRECT)
    robot = bullet.loadURDF(kinematics.robot.urdf, useFixedBase=True)
    names = [bullet.getJointInfo(robot, i)[12].decode() for i in range(bullet.getNumJoints(robot))]
    rng = np.random.default_rng(0)
    for _ in range(50):
        q = random_positions(kinematics, rng)
        for joint in range(7):
            bullet.resetJointState(robot, joint, q[joint])
        link = bullet.getLinkState(robot, names.index("panda_grasptarget"), computeForwardKinematics=True)
        rotation = np.array(bullet.getMatrixFromQuaternion(link[5])).reshape(3, 3)
        pose = kinematics.forward(q)
        np.testing.assert_allclose(pose[:3, 3], link[4], atol=1e-6)
        np.testing.assert_allclose(pose[:3, :3], rotation, atol=1e-5)
    bullet.disconnect()


@settings(max_examples=60, deadline=None)
@given(x=st.floats(0.3, 0.65), y=st.floats(-0.35, 0.35), z=st.floats(0.01, 0.3), yaw=st.floats(0.0, np.pi))
def test_inverse_reaches_every_pose_above_the_table(
    kinematics: Kinematics, x: float, y: float, z: float, yaw: float
) -> None:
    goal = down_pose(x, y, z, yaw)
    q = kinematics.inverse(goal, np.array(kinematics.robot.posture))
    np.testing.assert_allclose(kinematics.forward(q), goal, atol=1e-5)
    assert kinematics.limits.outside(q) is None
    assert kinematics.collisions.find(q) is None


def test_inverse_is_deterministic(kinematics: Kinematics, home: FloatArray) -> None:
    goal = down_pose(0.5, 0.2, 0.05)
    first = kinematics.inverse(goal, home)
    kinematics.inverse(down_pose(0.4, -0.3, 0.2), home)
    assert np.array_equal(first, kinematics.inverse(goal, home))
    assert np.array_equal(first, Kinematics(kinematics.robot).inverse(goal, home))


def test_redundancy_is_resolved_toward_the_posture(kinematics: Kinematics, home: FloatArray) -> None:
    goal = kinematics.forward(home)
    away = kinematics.inverse(goal, home + np.array([0.0, 0.3, 0.5, -0.2, 0.3, 0.2, 0.4]))
    started = np.linalg.norm([0.0, 0.3, 0.5, -0.2, 0.3, 0.2, 0.4])
    assert np.linalg.norm(away - home) < 0.7 * started


def test_tcp_offset_moves_the_tcp_along_the_hand(panda: RobotConfig, home: FloatArray) -> None:
    longer = Kinematics(replace(panda, tcp_offset=(0.0, 0.0, 0.05)))
    pose = Kinematics(panda).forward(home)
    np.testing.assert_allclose(longer.forward(home)[:3, 3], pose[:3, 3] + 0.05 * pose[:3, 2], atol=1e-12)


def test_when_pose_is_unreachable_expect_error_naming_waypoint_and_nearest_pose(
    kinematics: Kinematics, home: FloatArray
) -> None:
    with pytest.raises(
        PlanError, match=r"^target at \(1\.200, 0\.000, 0\.100\) m: no solution.*nearest"
    ) as e:
        kinematics.inverse(down_pose(1.2, 0.0, 0.1), home, "target")
    assert 0.2 < float(str(e.value).split(" m and ")[0].split()[-1]) < 0.6


def test_when_every_solution_is_below_the_table_expect_error_naming_the_table(
    kinematics: Kinematics, home: FloatArray
) -> None:
    with pytest.raises(PlanError, match=r"grasp at .* touches the table") as error:
        kinematics.inverse(down_pose(0.5, 0.0, -0.02), home, "grasp")
    # The nearest reachable pose is just above it.
    assert float(str(error.value).split(" m and ")[0].split()[-1]) < 0.05


@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_when_pose_is_not_finite_expect_refusal(
    kinematics: Kinematics, home: FloatArray, fault: float
) -> None:
    goal = down_pose(0.5, 0.0, 0.1)
    goal[0, 3] = fault
    with pytest.raises(PlanError, match="finite"):
        kinematics.inverse(goal, home)


def test_when_pose_holds_no_rotation_expect_refusal(kinematics: Kinematics, home: FloatArray) -> None:
    goal = down_pose(0.5, 0.0, 0.1)
    goal[:3, :3] *= 1.1
    with pytest.raises(PlanError, match="rotation"):
        kinematics.inverse(goal, home)


def test_when_start_is_singular_expect_a_solution(kinematics: Kinematics) -> None:
    goal = down_pose(0.5, 0.1, 0.1)
    q = kinematics.inverse(goal, np.zeros(7))
    np.testing.assert_allclose(kinematics.forward(q), goal, atol=1e-5)


@pytest.mark.parametrize(
    ("limit", "complaint"),
    [
        ("", "has no <limit>"),
        ('<limit effort="1" velocity="1"/>', "lower"),
        ('<limit effort="1" lower="1" upper="-1" velocity="1"/>', "lower < upper"),
        ('<limit effort="1" lower="-1" upper="1" velocity="0"/>', "velocity > 0"),
        ('<limit effort="1" lower="-inf" upper="1" velocity="1"/>', "lower < upper"),
        ('<limit effort="1" lower="x" upper="1" velocity="1"/>', "could not convert"),
    ],
)
def test_when_urdf_has_no_usable_limits_expect_error_naming_file_and_joint(
    tmp_path: Path, limit: str, complaint: str
) -> None:
    urdf = one_joint_urdf(tmp_path, limit)
    with pytest.raises(UrdfError, match=complaint) as error:
        read_limits(urdf, ["hinge"], [1.0], [1.0])
    assert str(urdf) in str(error.value)
    assert "'hinge'" in str(error.value)


def test_when_joint_is_absent_expect_error_listing_the_joints(tmp_path: Path) -> None:
    urdf = one_joint_urdf(tmp_path, "")
    with pytest.raises(UrdfError, match="no joint 'elbow'; it has hinge"):
        read_limits(urdf, ["elbow"], [1.0], [1.0])


@pytest.mark.parametrize("content", ["", "not xml", "<robot>"])
def test_when_urdf_is_unreadable_expect_error_naming_the_file(tmp_path: Path, content: str) -> None:
    urdf = tmp_path / "broken.urdf"
    urdf.write_text(content)
    with pytest.raises(UrdfError, match=r"broken\.urdf"):
        read_limits(urdf, ["hinge"], [1.0], [1.0])


def test_when_urdf_is_missing_expect_error_naming_the_file(tmp_path: Path) -> None:
    with pytest.raises(UrdfError, match=r"absent\.urdf"):
        read_limits(tmp_path / "absent.urdf", ["hinge"], [1.0], [1.0])


def test_when_tcp_link_is_absent_expect_error_naming_it(panda: RobotConfig) -> None:
    with pytest.raises(UrdfError, match="'tool0'"):
        Kinematics(replace(panda, tcp_frame="tool0"))


def test_when_joints_are_out_of_order_expect_error(panda: RobotConfig) -> None:
    with pytest.raises(UrdfError, match="base to tip"):
        Kinematics(replace(panda, joint_names=panda.joint_names[::-1]))


def test_limits_are_those_of_the_urdf(kinematics: Kinematics) -> None:
    assert kinematics.limits.lower[1] == -1.8326
    assert kinematics.limits.velocity[0] == 2.175


@pytest.mark.parametrize(
    ("lower", "velocity", "complaint"),
    [(2.0, 1.0, "lower must be below"), (-1.0, 0.0, "velocity must be positive"), (np.nan, 1.0, "finite")],
)
def test_when_limits_contradict_expect_refusal(lower: float, velocity: float, complaint: str) -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match=complaint):
        JointLimits(("a",), np.array([lower]), one, np.array([velocity]), one, one)


def test_folded_arm_collides_with_itself(kinematics: Kinematics) -> None:
    found = kinematics.collisions.find(np.array([0.0, -1.7, 0.0, -3.1, 0.0, 0.0, 0.0]))
    assert found is not None
    assert "touches panda_link" in found


def test_finger_tips_may_touch_the_table_but_other_links_keep_their_margin(
    kinematics: Kinematics, home: FloatArray
) -> None:
    # The finger tips end 7 mm beyond the TCP.
    touching = kinematics.inverse(down_pose(0.5, 0.0, 0.006), home)
    assert kinematics.collisions.find(touching) is None
    deep = kinematics.follow(down_pose(0.5, 0.0, 0.001), touching)
    assert deep is not None
    assert "finger touches the table" in str(kinematics.collisions.find(deep))


def test_collisions_agree_with_pybullet_on_random_configurations(kinematics: Kinematics) -> None:
    """Convex hulls may report more than PyBullet's meshes, never less by more than its contact margin."""
    bullet = BulletClient(pb.DIRECT)
    robot = bullet.loadURDF(kinematics.robot.urdf, useFixedBase=True, flags=pb.URDF_USE_SELF_COLLISION)
    for finger in (9, 10):
        bullet.resetJointState(robot, finger, 0.04)
    rng = np.random.default_rng(1)
    for _ in range(300):
        q = random_positions(kinematics, rng)
        for joint in range(7):
            bullet.resetJointState(robot, joint, q[joint])
        bullet.performCollisionDetection()
        deepest = min(
            (
                c[8]
                for c in bullet.getContactPoints(robot, robot)
                if abs(c[3] - c[4]) > 2 and min(c[3:5]) >= -1
            ),
            default=0.0,
        )
        if deepest < -0.005:
            assert kinematics.collisions.find(q) is not None
    bullet.disconnect()
