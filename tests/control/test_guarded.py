"""Guarded moves on an arm that records: contact turns them back, all else ends them as it ends any move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kalie.control.execute import run
from kalie.control.kinematics import Kinematics
from kalie.control.plan import JointTrajectory, MotionPlan, Waypoint
from kalie.control.primitives import pointing_down, pose
from kalie.control.recording import RecordingArm, RecordingFaults
from kalie.control.safety import SafetyGate, SafetyLimits
from kalie.control.trajectory import plan_trajectories
from kalie.perception.frame import FloatArray

HAND = pointing_down(np.array([0.0, 1.0, 0.0]))
START, END, CLEAR = (np.array(xyz) for xyz in ((0.4, 0.0, 0.1), (0.6, 0.0, 0.1), (0.4, 0.0, 0.25)))


@pytest.fixture(scope="module")
def trajectories(kinematics: Kinematics) -> list[JointTrajectory]:
    waypoints = (
        Waypoint("pre_contact", pose(HAND, START), 0.0),
        Waypoint("post_contact", pose(HAND, END), 0.0, speed=0.1, until_contact=True),
        Waypoint("retreat", pose(HAND, CLEAR), 0.0),
    )
    return plan_trajectories(MotionPlan("push", waypoints), kinematics, np.array(kinematics.robot.posture))


@pytest.fixture
def begins(trajectories: list[JointTrajectory]) -> int:
    """Control periods before the guarded move."""
    return len(trajectories[0].times) + 1


def make_arm(kinematics: Kinematics, faults: RecordingFaults | None = None) -> RecordingArm:
    gate = SafetyGate(SafetyLimits(kinematics.limits), kinematics.forward)
    return RecordingArm(gate, np.array(kinematics.robot.posture), faults=faults)


def tips(kinematics: Kinematics, positions: FloatArray) -> FloatArray:
    return np.array([kinematics.forward(q)[:3, 3] for q in positions])


def test_the_next_phase_starts_where_the_guarded_move_began(trajectories: list[JointTrajectory]) -> None:
    _, guarded, retreat = trajectories
    assert guarded.until_contact
    assert not retreat.until_contact
    np.testing.assert_array_equal(retreat.positions[0], guarded.positions[0])


def test_a_guarded_move_that_meets_nothing_goes_all_the_way_and_comes_back(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    execution = run(make_arm(kinematics), trajectories)
    assert execution.status == "done"
    assert not execution.contact
    assert execution.reasons == ()
    assert execution.sent is not None
    way = tips(kinematics, execution.sent)
    np.testing.assert_allclose(way[:, 0].max(), END[0], atol=1e-3)
    np.testing.assert_allclose(way[-1], CLEAR, atol=1e-3)


def test_when_something_holds_the_arm_up_expect_it_back_at_once_and_the_retreat_done(
    kinematics: Kinematics, trajectories: list[JointTrajectory], begins: int
) -> None:
    arm = make_arm(kinematics, RecordingFaults(blocked=(begins + 60, begins + 80)))
    execution = run(arm, trajectories)
    assert execution.status == "done", execution.message
    assert execution.contact
    assert execution.reasons == ()  # nothing jumps: the gate had nothing to do
    assert execution.sent is not None
    way = tips(kinematics, execution.sent)
    met = way[begins + 60, 0]
    assert met < way[:, 0].max() < met + 0.015
    np.testing.assert_allclose(way[-1], CLEAR, atol=1e-3)
    # Straight back along the line that it came by.
    turned = int(way[:, 0].argmax())
    back = way[turned + 1 : turned + 60]
    assert np.all(np.diff(back[:, 0]) < 0)
    np.testing.assert_allclose(back[:, 1:], np.tile(START[1:], (len(back), 1)), atol=1e-3)


@pytest.mark.parametrize(("force", "contact"), [(3.0, False), (40.0, True)])
def test_contact_is_a_force_along_the_way_where_the_arm_measures_efforts(
    kinematics: Kinematics,
    trajectories: list[JointTrajectory],
    begins: int,
    force: float,
    contact: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Efforts by virtual work: tau = J^T F for a force along x that sets in after 60 periods."""
    arm = make_arm(kinematics)
    state, bias = arm.driver.state, np.full(7, 1.5)

    def state_with_efforts() -> object:
        now = state()
        moved = np.array([kinematics.forward(now.positions + 1e-6 * e)[0, 3] for e in np.eye(7)])
        jacobian_x = (moved - kinematics.forward(now.positions)[0, 3]) / 1e-6
        pressing = len(arm.driver.sent) >= begins + 60
        return replace(now, external_efforts=bias + (force * jacobian_x if pressing else 0.0))

    monkeypatch.setattr(arm.driver, "state", state_with_efforts)
    execution = run(arm, trajectories)
    assert execution.status == "done", execution.message
    assert execution.contact is contact
    farthest = int(tips(kinematics, np.array(arm.driver.sent))[:, 0].argmax()) - begins
    assert (farthest < 68) is contact


def test_when_efforts_turn_nan_expect_the_lag_to_tell_contact(
    kinematics: Kinematics, trajectories: list[JointTrajectory], begins: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = make_arm(kinematics, RecordingFaults(blocked=(begins + 60, begins + 80)))
    state = arm.driver.state
    monkeypatch.setattr(arm.driver, "state", lambda: replace(state(), external_efforts=np.full(7, np.nan)))
    execution = run(arm, trajectories)
    assert execution.status == "done", execution.message
    assert execution.contact


@pytest.mark.parametrize("phase", ["pre_contact", "retreat"])
def test_when_the_arm_stalls_outside_the_guarded_move_expect_stalled(
    kinematics: Kinematics, trajectories: list[JointTrajectory], phase: str
) -> None:
    free = run(make_arm(kinematics), trajectories)
    assert free.sent is not None
    at = 30 if phase == "pre_contact" else len(free.sent) - len(trajectories[2].times)
    execution = run(make_arm(kinematics, RecordingFaults(stall_at=at)), trajectories)
    assert execution.status == "stalled"
    assert execution.message.startswith(phase)


def test_when_the_arm_does_not_come_back_from_contact_expect_stalled(
    kinematics: Kinematics, trajectories: list[JointTrajectory], begins: int
) -> None:
    """What holds the arm up may do so only on the way out: stuck is not touching."""
    execution = run(make_arm(kinematics, RecordingFaults(stall_at=begins + 110)), trajectories)
    assert execution.status == "stalled"
    assert execution.message.startswith("post_contact")


@pytest.mark.parametrize("after", [30, 90, 150])
def test_when_stop_is_requested_on_the_way_out_or_back_expect_braking_from_the_next_period(
    kinematics: Kinematics,
    trajectories: list[JointTrajectory],
    begins: int,
    after: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """B13: within one period."""
    arm = make_arm(kinematics, RecordingFaults(blocked=(begins + 80, begins + 100)))
    send = arm.driver.send

    def send_then_stop(positions: FloatArray, width: float) -> None:
        send(positions, width)
        if len(arm.driver.sent) == begins + after:
            arm.stop()

    monkeypatch.setattr(arm.driver, "send", send_then_stop)
    execution = run(arm, trajectories)
    assert execution.status == "stopped"
    assert arm.gate.at_rest
    speeds = np.abs(np.diff(arm.driver.sent[begins + after - 2 :], axis=0)).max(axis=1)
    assert np.all(np.diff(speeds) <= 1e-9)


def test_when_the_state_goes_stale_in_a_guarded_move_expect_halt(
    kinematics: Kinematics, trajectories: list[JointTrajectory], begins: int
) -> None:
    arm = make_arm(kinematics, RecordingFaults(stale_at=begins + 40))
    execution = run(arm, trajectories)
    assert execution.status == "halted"
    assert "stale" in execution.message
    assert arm.gate.at_rest
