"""The planned motions on a bare PyBullet Panda: real contact, no welded grasps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pybullet as pb
import pytest
from pybullet_utils.bullet_client import BulletClient

from kalie.affordance.schema import Affordance
from kalie.control.arm import ArmState, Execution
from kalie.control.execute import run
from kalie.control.gated import GatedArm
from kalie.control.kinematics import Kinematics
from kalie.control.plan import Primitive
from kalie.control.primitives import plan
from kalie.control.safety import SafetyGate, SafetyLimits
from kalie.control.trajectory import plan_trajectories
from kalie.perception.frame import FloatArray, RgbdFrame

from .scenes import Box, image_yaw, keypoint, render

STEPS = 4  # of 1/240 s in a control period
FINGERS = (9, 10)


class BulletDriver:
    """The least that drives a Panda in PyBullet."""

    def __init__(self, kinematics: Kinematics, bullet: BulletClient, measures_efforts: bool = True) -> None:
        self.bullet, self._names = bullet, kinematics.robot.joint_names
        self.robot = bullet.loadURDF(kinematics.robot.urdf, useFixedBase=True)
        for joint, angle in enumerate(kinematics.robot.posture):
            bullet.resetJointState(self.robot, joint, angle)
        for finger in FINGERS:
            bullet.resetJointState(self.robot, finger, 0.04)
            bullet.changeDynamics(self.robot, finger, lateralFriction=1.5)
        self.steps, self._measures_efforts = 0, measures_efforts
        self._last = np.array(kinematics.robot.posture)

    @property
    def joint_names(self) -> tuple[str, ...]:
        return self._names

    def now(self) -> float:
        return self.steps / 240

    def state(self) -> ArmState:
        joints = self.bullet.getJointStates(self.robot, (*range(7), *FINGERS))
        values = np.array([(*joint[:2], joint[3]) for joint in joints])
        efforts = None
        if self._measures_efforts:
            resting = [0.0] * len(joints)
            needed = self.bullet.calculateInverseDynamics(
                self.robot, values[:, 0].tolist(), values[:, 1].tolist(), resting
            )
            efforts = values[:7, 2] - needed[:7]
        return ArmState(values[:7, 0], values[:7, 1], float(values[7:, 0].sum()), self.now(), efforts)

    def send(self, positions: FloatArray, gripper_width: float) -> None:
        for finger in FINGERS:
            self.bullet.setJointMotorControl2(
                self.robot, finger, pb.POSITION_CONTROL, gripper_width / 2, force=40, maxVelocity=0.2
            )
        start = self._last
        for step in range(1, STEPS + 1):
            self._drive(start + (positions - start) * step / STEPS, (positions - start) * 240 / STEPS)
            self.bullet.stepSimulation()
            self.steps += 1
        self._last = positions

    def halt(self) -> None:
        self._last = self.state().positions
        self._drive(self._last, np.zeros(7))

    def _drive(self, positions: FloatArray, velocities: FloatArray) -> None:
        self.bullet.setJointMotorControlArray(
            self.robot,
            range(7),
            pb.POSITION_CONTROL,
            targetPositions=positions.tolist(),
            targetVelocities=velocities.tolist(),
            forces=[87.0] * 4 + [12.0] * 3,
        )


@pytest.fixture
def bullet() -> Iterator[BulletClient]:
    client = BulletClient(pb.DIRECT)
    client.setGravity(0, 0, -9.81)
    client.createMultiBody(0, client.createCollisionShape(pb.GEOM_PLANE))
    yield client
    client.disconnect()


def add_body(bullet: BulletClient, boxes: list[Box], mass: float) -> int:
    """One rigid body of boxes; its frame is at the first one's centre."""
    first = boxes[0]
    origin = np.array([*first.centre, first.bottom + first.size[2] / 2])
    positions = [(np.array([*box.centre, box.bottom + box.size[2] / 2]) - origin).tolist() for box in boxes]
    turns = [bullet.getQuaternionFromEuler([0, 0, box.yaw]) for box in boxes]
    shape = bullet.createCollisionShapeArray(
        [pb.GEOM_BOX] * len(boxes),
        halfExtents=[(np.array(box.size) / 2).tolist() for box in boxes],
        collisionFramePositions=positions,
        collisionFrameOrientations=turns,
    )
    body = bullet.createMultiBody(mass, shape, basePosition=origin.tolist())
    bullet.changeDynamics(body, -1, lateralFriction=1.0)
    return body


def carry_out(
    bullet: BulletClient,
    kinematics: Kinematics,
    primitive: Primitive,
    affordance: Affordance,
    frame: RgbdFrame,
    measures_efforts: bool = True,
) -> Execution:
    driver = BulletDriver(kinematics, bullet, measures_efforts)
    arm = GatedArm(driver, SafetyGate(SafetyLimits(kinematics.limits), kinematics.forward))
    start = driver.state().positions
    trajectories = plan_trajectories(plan(primitive, affordance, frame), kinematics, start)
    return run(arm, trajectories)


def brush(yaw: float) -> tuple[list[Box], FloatArray, FloatArray]:
    along = np.array([-np.sin(yaw), np.cos(yaw)])
    grasp = np.array([0.45, -0.15])
    head = grasp + 0.12 * along
    boxes = [
        Box((grasp[0], grasp[1]), (0.025, 0.2, 0.03), yaw),
        Box((head[0], head[1]), (0.12, 0.03, 0.03), yaw),
    ]
    return boxes, np.array([*grasp, 0.03]), np.array([*head, 0.03])


@pytest.mark.parametrize("yaw", [-0.7, 0.0, 0.9])
def test_a_grasped_brush_sweeps_a_cube_along_the_stroke_and_is_lifted(
    bullet: BulletClient, kinematics: Kinematics, yaw: float
) -> None:
    boxes, grasp, function = brush(yaw)
    cube = Box((0.52, 0.1), (0.025, 0.025, 0.025))
    frame = render([*boxes, cube])
    tool, trash = add_body(bullet, boxes, 0.12), add_body(bullet, [cube], 0.02)
    affordance = Affordance(
        grasp=keypoint(frame, *grasp),
        function=keypoint(frame, *function),
        pre_contact=keypoint(frame, 0.52, 0.02),
        target=keypoint(frame, 0.52, 0.1),
        post_contact=keypoint(frame, 0.54, 0.3),
        grasp_yaw=image_yaw(frame, grasp, (np.cos(yaw), np.sin(yaw), 0.0)),
        pre_height=0.0,
        target_height=0.0,
        post_height=0.0,
    )
    execution = carry_out(bullet, kinematics, "grasp_and_use", affordance, frame)
    assert execution.status == "done", execution.message
    assert bullet.getBasePositionAndOrientation(trash)[0][1] > 0.25
    assert bullet.getBasePositionAndOrientation(tool)[0][2] > 0.08


def test_a_pull_drags_a_stick_to_the_target(bullet: BulletClient, kinematics: Kinematics) -> None:
    stick = Box((0.55, 0.05), (0.02, 0.07, 0.02))
    frame = render([stick])
    body = add_body(bullet, [stick], 0.03)
    affordance = Affordance(
        grasp=keypoint(frame, 0.55, 0.05, 0.02),
        target=keypoint(frame, 0.55, -0.1),
        grasp_yaw=image_yaw(frame, (0.55, 0.05, 0.02), (1.0, 0.0, 0.0)),
    )
    assert carry_out(bullet, kinematics, "pull", affordance, frame).status == "done"
    x, y, _ = bullet.getBasePositionAndOrientation(body)[0]
    assert (x, y) == (pytest.approx(0.55, abs=0.02), pytest.approx(-0.1, abs=0.02))


def push_of(frame: RgbdFrame, way: tuple[float, float, float], top: float) -> Affordance:
    """A push along x, half way up a thing of height `top`: from free space, against its edge, to the end."""
    before, edge, after = way
    return Affordance(
        pre_contact=keypoint(frame, before, 0.0),
        target=keypoint(frame, edge, 0.0, top),
        post_contact=keypoint(frame, after, 0.0, top),
        pre_height=top / 2,
        target_height=-top / 2,
        post_height=-top / 2,
    )


def test_a_push_moves_a_box_along(bullet: BulletClient, kinematics: Kinematics) -> None:
    box = Box((0.55, 0.0), (0.1, 0.08, 0.06))
    frame = render([box])
    body = add_body(bullet, [box], 0.2)
    affordance = push_of(frame, (0.43, 0.51, 0.58), 0.06)
    execution = carry_out(bullet, kinematics, "push", affordance, frame)
    assert execution.status == "done"
    assert not execution.contact  # what gives way is no contact that ends a push
    assert bullet.getBasePositionAndOrientation(body)[0][0] > 0.6


def test_when_the_object_is_not_there_expect_empty_grasp_and_no_stroke(
    bullet: BulletClient, kinematics: Kinematics
) -> None:
    """B11: the photo shows a brush that someone has taken away since."""
    boxes, grasp, function = brush(0.0)
    frame = render(boxes)
    affordance = Affordance(
        grasp=keypoint(frame, *grasp),
        function=keypoint(frame, *function),
        pre_contact=keypoint(frame, 0.52, 0.02),
        target=keypoint(frame, 0.52, 0.1),
        post_contact=keypoint(frame, 0.54, 0.3),
    )
    execution = carry_out(bullet, kinematics, "grasp_and_use", affordance, frame)
    assert execution.status == "empty_grasp"
    assert execution.message.startswith("close")


def wall_scene(bullet: BulletClient) -> tuple[RgbdFrame, Affordance]:
    """A low wall from x = 0.575 that no photo shows, and a push through it."""
    add_body(bullet, [Box((0.6, 0.0), (0.05, 0.6, 0.1))], 0.0)
    frame = render([])
    points = {name: keypoint(frame, x, 0.0) for name, x in
              (("pre_contact", 0.45), ("target", 0.55), ("post_contact", 0.72))}  # fmt: skip
    heights = Affordance(pre_height=0.05, target_height=0.05, post_height=0.05)
    return frame, replace(heights, **points)


def test_when_the_arm_meets_a_wall_expect_a_stall_not_a_success(
    bullet: BulletClient, kinematics: Kinematics
) -> None:
    """The published code counted a stall as the end of a phase."""
    frame, affordance = wall_scene(bullet)
    unguarded = replace(affordance, target=affordance.post_contact, post_contact=None)
    execution = carry_out(bullet, kinematics, "push", unguarded, frame)
    assert execution.status == "stalled"
    assert "behind what was sent" in execution.message


@pytest.mark.parametrize("measures_efforts", [True, False])
def test_a_guarded_push_that_meets_a_wall_backs_off_at_once(
    bullet: BulletClient, kinematics: Kinematics, measures_efforts: bool
) -> None:
    frame, affordance = wall_scene(bullet)
    execution = carry_out(bullet, kinematics, "push", affordance, frame, measures_efforts)
    assert execution.status == "done", execution.message
    assert execution.contact
    assert execution.reasons == ()
    assert execution.sent is not None
    told = np.array([kinematics.forward(q)[:3, 3] for q in execution.sent])
    # The fist is 1 cm thick to either side of the TCP; what is sent goes little beyond the wall.
    assert 0.555 < told[:, 0].max() < (0.575 if measures_efforts else 0.59)
    np.testing.assert_allclose(told[-1, :2], (0.45, 0.0), atol=0.01)


@pytest.mark.parametrize("off", [-0.05, 0.0, 0.05])
def test_a_guarded_push_leaves_a_heavy_thing_where_it_stands(
    bullet: BulletClient, kinematics: Kinematics, off: float
) -> None:
    """As where a closed drawer meets its cabinet, pushed off the middle: 8 kg held by friction alone."""
    chest = Box((0.6, off), (0.1, 0.25, 0.1))
    frame = render([chest])
    body = add_body(bullet, [chest], 8.0)
    start, _ = bullet.getBasePositionAndOrientation(body)
    affordance = push_of(frame, (0.45, 0.56, 0.63), 0.1)
    execution = carry_out(bullet, kinematics, "push", affordance, frame)
    assert execution.status == "done", execution.message
    assert execution.contact
    assert np.linalg.norm(np.subtract(bullet.getBasePositionAndOrientation(body)[0], start)) < 0.01


def test_the_same_run_is_the_same_bit_for_bit(kinematics: Kinematics) -> None:
    sent = []
    for _ in range(2):
        client = BulletClient(pb.DIRECT)
        client.setGravity(0, 0, -9.81)
        stick = Box((0.55, 0.05), (0.02, 0.07, 0.02))
        frame = render([stick])
        add_body(client, [stick], 0.03)
        affordance = Affordance(grasp=keypoint(frame, 0.55, 0.05, 0.02), target=keypoint(frame, 0.55, -0.1))
        sent.append(carry_out(client, kinematics, "pull", affordance, frame).sent)
        client.disconnect()
    assert np.array_equal(sent[0], sent[1])
