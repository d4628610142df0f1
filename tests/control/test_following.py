from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kalie.control.arm import ArmState, Execution
from kalie.control.execute import run
from kalie.control.following import FollowingArm
from kalie.control.kinematics import Kinematics
from kalie.control.plan import JointTrajectory
from kalie.control.safety import SafetyGate, SafetyLimits
from kalie.control.trajectory import plan_trajectories
from kalie.perception.frame import FloatArray

from .test_trajectory import sweep_plan

PERIOD = 1 / 60


class FakeController:
    """A trajectory controller on a clock of its own that follows perfectly, and fails on demand.

    Attributes:
        begun: trajectories handed over.
        cancels: how often it was told to stop.
        at_period: called with the number of periods since the first trajectory.
    """

    def __init__(self, names: tuple[str, ...], start: FloatArray) -> None:
        self._names, self._positions, self._width = names, np.array(start), 0.08
        self._periods, self._began = 0, 0
        self._active: JointTrajectory | None = None
        self._answer: str | None = ""
        self.begun: list[JointTrajectory] = []
        self.cancels = 0
        self.object_width = 0.02
        self.rejects = ""
        self.stalls_at: int | None = None
        self.nan_at: int | None = None
        self.stale_at: int | None = None
        self.silent = False
        self.at_period: Callable[[int], None] = lambda periods: None

    @property
    def joint_names(self) -> tuple[str, ...]:
        return self._names

    def now(self) -> float:
        return self._periods * PERIOD

    def state(self) -> ArmState:
        positions = self._positions.copy()
        if self.nan_at is not None and self._periods >= self.nan_at:
            positions[:] = np.nan
        stale = self.stale_at is not None and self._periods >= self.stale_at
        stamp = self.stale_at * PERIOD if stale and self.stale_at is not None else self.now()
        return ArmState(positions, np.zeros_like(positions), self._width, stamp)

    def move_jaws(self, width: float) -> None:
        self._width = max(width, self.object_width)

    def begin(self, trajectory: JointTrajectory) -> None:
        self.begun.append(trajectory)
        self._active, self._began = trajectory, self._periods
        self._answer = self.rejects or None

    def wait(self) -> None:
        self._periods += 1
        self.at_period(self._periods)
        if self._active is None or self._answer is not None:
            return
        index = self._periods - self._began
        if self.stalls_at is None or self._periods < self.stalls_at:
            self._positions = self._active.positions[min(index, len(self._active.times) - 1)].copy()
        if index >= len(self._active.times) - 1 and not self.silent:
            self._answer = ""

    def result(self) -> str | None:
        return self._answer

    def cancel(self) -> None:
        self.cancels += 1
        self._active, self._answer = None, "canceled"


@pytest.fixture(scope="module")
def trajectories(kinematics: Kinematics) -> list[JointTrajectory]:
    return plan_trajectories(sweep_plan(), kinematics, np.array(kinematics.robot.posture))


@pytest.fixture
def controller(kinematics: Kinematics) -> FakeController:
    return FakeController(kinematics.limits.names, np.array(kinematics.robot.posture))


@pytest.fixture
def arm(kinematics: Kinematics, controller: FakeController) -> FollowingArm:
    gate = SafetyGate(SafetyLimits(kinematics.limits), kinematics.forward)
    return FollowingArm(controller, gate, PERIOD)


def reached(trajectories: list[JointTrajectory], execution: Execution) -> bool:
    assert execution.sent is not None
    return bool(np.allclose(execution.sent[-1], trajectories[-1].positions[-1]))


def test_a_planned_motion_is_followed_to_its_end(
    arm: FollowingArm, controller: FakeController, trajectories: list[JointTrajectory]
) -> None:
    execution = run(arm, trajectories)
    assert (execution.status, execution.message, controller.cancels) == ("done", "", 0)
    assert reached(trajectories, execution)
    assert [t.phase for t in controller.begun] == [t.phase for t in trajectories]
    for begun, planned in zip(controller.begun, trajectories, strict=True):
        np.testing.assert_allclose(begun.positions, planned.positions)


def test_when_the_gate_refuses_a_sample_expect_nothing_handed_over(
    arm: FollowingArm, controller: FakeController, trajectories: list[JointTrajectory]
) -> None:
    bad = trajectories[0].positions.copy()
    bad[len(bad) // 2] = np.nan
    execution = arm.execute(_with(trajectories[0], bad))
    assert execution.status == "halted"
    assert "not finite" in execution.message
    assert not controller.begun


def test_when_the_controller_rejects_expect_its_reason(
    arm: FollowingArm, controller: FakeController, trajectories: list[JointTrajectory]
) -> None:
    controller.rejects = "the brakes are closed"
    execution = run(arm, trajectories)
    assert execution.status == "rejected"
    assert "the brakes are closed" in execution.message
    assert len(controller.begun) == 1


@pytest.mark.parametrize(("fault", "word"), [("nan_at", "not finite"), ("stale_at", "stale")])
def test_when_state_is_lost_in_motion_expect_cancel_within_two_periods_of_the_limit(
    arm: FollowingArm, controller: FakeController, trajectories: list[JointTrajectory], fault: str, word: str
) -> None:
    setattr(controller, fault, 20)
    execution = run(arm, trajectories)
    assert execution.status == "halted"
    assert word in execution.message
    assert controller.cancels == 1
    allowed = 2 + (np.ceil(arm.gate.limits.max_age / PERIOD) if fault == "stale_at" else 0)
    assert controller.now() <= (20 + allowed) * PERIOD


def test_when_the_arm_stalls_expect_cancel_and_the_joint_named(
    arm: FollowingArm, controller: FakeController, trajectories: list[JointTrajectory]
) -> None:
    controller.stalls_at = 10
    execution = run(arm, trajectories)
    assert execution.status == "stalled"
    assert "panda_joint" in execution.message
    assert controller.cancels == 1


def test_when_the_controller_never_answers_expect_a_stall_not_a_hang(
    arm: FollowingArm, controller: FakeController, trajectories: list[JointTrajectory]
) -> None:
    controller.silent = True
    execution = arm.execute(trajectories[0])
    assert execution.status == "stalled"
    assert "over time" in execution.message


@pytest.mark.parametrize("emergency", [False, True])
def test_when_stopped_in_motion_expect_cancel_in_the_same_period_and_no_further_trajectory(
    arm: FollowingArm, controller: FakeController, trajectories: list[JointTrajectory], emergency: bool
) -> None:
    def at_period(periods: int) -> None:
        if periods == 15:
            arm.gate.emergency_stop() if emergency else arm.stop()

    controller.at_period = at_period
    execution = run(arm, trajectories)
    assert execution.status == ("halted" if emergency else "stopped")
    assert controller.now() == pytest.approx(15 * PERIOD)
    assert controller.cancels >= 1
    begun = len(controller.begun)
    assert run(arm, trajectories).status != "done"
    assert len(controller.begun) == begun


def test_when_nothing_is_grasped_expect_empty_grasp(
    arm: FollowingArm, controller: FakeController, trajectories: list[JointTrajectory]
) -> None:
    controller.object_width = 0.0
    assert run(arm, trajectories).status == "empty_grasp"


def _with(trajectory: JointTrajectory, positions: FloatArray) -> JointTrajectory:
    return replace(trajectory, positions=positions)
