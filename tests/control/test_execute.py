from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kalie.control.arm import Execution
from kalie.control.execute import run
from kalie.control.kinematics import Kinematics
from kalie.control.plan import JointTrajectory
from kalie.control.recording import ArmFault, RecordingArm, RecordingFaults
from kalie.control.safety import SafetyGate, SafetyLimits
from kalie.control.trajectory import plan_trajectories
from kalie.perception.frame import FloatArray

from .test_trajectory import sweep_plan

PERIOD = 1 / 60


@pytest.fixture(scope="module")
def trajectories(kinematics: Kinematics) -> list[JointTrajectory]:
    return plan_trajectories(sweep_plan(), kinematics, np.array(kinematics.robot.posture))


def make_arm(kinematics: Kinematics, faults: RecordingFaults | None = None) -> RecordingArm:
    gate = SafetyGate(SafetyLimits(kinematics.limits), kinematics.forward)
    return RecordingArm(gate, np.array(kinematics.robot.posture), faults=faults)


def phase_start(trajectories: list[JointTrajectory], phase: str) -> int:
    """About how many control periods pass before a phase."""
    names = [t.phase for t in trajectories]
    return sum(len(t.times) + 1 for t in trajectories[: names.index(phase)])


def test_a_planned_motion_passes_the_gate_untouched(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    arm = make_arm(kinematics)
    execution = run(arm, trajectories)
    assert execution.status == "done"
    assert execution.reasons == ()
    assert execution.message == ""
    np.testing.assert_allclose(arm.driver.sent[-1], trajectories[-1].positions[-1], atol=1e-9)
    assert execution.sent is not None
    assert np.array_equal(execution.sent, np.array(arm.driver.sent))
    planned = np.concatenate([t.positions for t in trajectories])
    sent = {tuple(q) for q in np.round(execution.sent, 9)}
    assert all(tuple(q) in sent for q in np.round(planned, 9))


def test_progress_is_reported_phase_by_phase(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    seen: list[tuple[int, int]] = []
    run(make_arm(kinematics), trajectories, lambda done, total: seen.append((done, total)))
    assert seen == [(i, 9) for i in range(1, 10)]


@pytest.mark.parametrize("phase", ["approach_grasp", "lift", "target"])
def test_when_arm_stalls_expect_stalled_and_nothing_after_it(
    kinematics: Kinematics, trajectories: list[JointTrajectory], phase: str
) -> None:
    arm = make_arm(kinematics, RecordingFaults(stall_at=phase_start(trajectories, phase)))
    execution = run(arm, trajectories)
    assert execution.status in ("stalled", "halted")
    assert arm.driver.halts + (execution.status == "halted") >= 1
    assert len(arm.driver.sent) < phase_start(trajectories, phase) + 150


def test_when_arm_stalls_expect_the_joint_named(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    arm = make_arm(kinematics, RecordingFaults(stall_at=10))
    execution = arm.execute(trajectories[0])
    assert execution.status == "stalled"
    assert execution.message.startswith("approach_grasp: panda_joint")


def test_when_nothing_is_grasped_expect_empty_grasp_and_no_lift(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    """B11."""
    arm = make_arm(kinematics, RecordingFaults(object_width=0.0))
    execution = run(arm, trajectories)
    assert execution.status == "empty_grasp"
    assert execution.message.startswith("close: the jaws closed to 0.0 mm")
    np.testing.assert_allclose(arm.driver.sent[-1], trajectories[2].positions[-1])


def test_when_jaws_fall_open_while_carrying_expect_loss_reported(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    """B11."""
    opens = phase_start(trajectories, "approach_contact") + 20
    execution = run(make_arm(kinematics, RecordingFaults(open_at=opens)), trajectories)
    assert execution.status == "empty_grasp"
    assert execution.message == "approach_contact: the object was lost, the jaws are at 80.0 mm"


def test_when_the_jaws_never_close_expect_a_failure_and_no_lift(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    """B11: a gripper that stalls open holds nothing."""
    arm = make_arm(kinematics, RecordingFaults(open_at=0))
    execution = run(arm, trajectories)
    assert execution.status == "empty_grasp"
    assert execution.message == "close: the jaws stayed open at 80.0 mm: nothing is held"
    np.testing.assert_allclose(arm.driver.sent[-1], trajectories[2].positions[-1])


@pytest.mark.parametrize("fault", ["stale_at", "nan_at"])
def test_when_state_is_stale_or_nan_expect_halt_and_rest(
    kinematics: Kinematics, trajectories: list[JointTrajectory], fault: str
) -> None:
    arm = make_arm(kinematics, replace(RecordingFaults(), **{fault: 40}))
    execution = run(arm, trajectories)
    assert execution.status == "halted"
    assert "state" in execution.message
    assert execution.sent is not None
    assert np.isfinite(execution.sent).all()
    np.testing.assert_allclose(execution.sent[-1], execution.sent[-2], atol=2e-3)
    assert arm.gate.at_rest


def test_when_state_is_nan_at_the_start_expect_nothing_sent(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    """B1."""
    arm = make_arm(kinematics, RecordingFaults(nan_at=0))
    execution = run(arm, trajectories)
    assert execution.status == "halted"
    assert "state: positions are not finite" in execution.message
    assert arm.driver.sent == []


def test_when_state_is_stale_expect_braking_within_one_period_of_the_limit(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    """B4: 0.1 s and one period after the last fresh state, the speed falls."""
    arm = make_arm(kinematics, RecordingFaults(stale_at=40))
    run(arm, trajectories)
    speed = np.abs(np.diff(np.array(arm.driver.sent), axis=0)).max(axis=1)
    last_fast = 40 + int(0.1 * 60) + 1
    assert speed[39] > 1e-3
    assert speed[last_fast + 1] < speed[last_fast - 1]
    assert speed[-1] < 2e-3


@pytest.mark.parametrize("at", [0, 1, 60, 200, 400])
def test_when_driver_raises_expect_halt_and_the_error(
    kinematics: Kinematics, trajectories: list[JointTrajectory], at: int
) -> None:
    """B12."""
    arm = make_arm(kinematics, RecordingFaults(raise_at=at))
    with pytest.raises(ArmFault, match=f"after {at} commands"):
        run(arm, trajectories)
    assert arm.driver.halts == 1
    assert len(arm.driver.sent) == at


@pytest.mark.parametrize("method", ["state", "now", "send"])
@pytest.mark.parametrize("at", [0, 1, 7, 300])
def test_when_any_call_to_the_driver_raises_expect_halt_and_no_further_command(
    kinematics: Kinematics,
    trajectories: list[JointTrajectory],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    at: int,
) -> None:
    """B12: on every call that an execution makes, not only on sending."""
    arm = make_arm(kinematics)
    works, calls = getattr(arm.driver, method), []

    def fail(*arguments: object) -> object:
        calls.append(len(arm.driver.sent))
        if len(calls) > at:
            raise ArmFault("the connection broke")
        return works(*arguments)

    monkeypatch.setattr(arm.driver, method, fail)
    with pytest.raises(ArmFault):
        run(arm, trajectories)
    assert arm.driver.halts == 1
    assert len(arm.driver.sent) == calls[-1]


def test_when_the_gate_itself_raises_expect_halt(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    """B12."""
    arm, calls = make_arm(kinematics), []

    def forward(positions: FloatArray) -> FloatArray:
        calls.append(positions)
        if len(calls) > 50:
            raise ZeroDivisionError
        return kinematics.forward(positions)

    arm.gate.forward = forward
    with pytest.raises(ZeroDivisionError):
        run(arm, trajectories)
    assert arm.driver.halts == 1


def test_when_progress_callback_raises_expect_arm_at_rest(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    """B12: a callback runs between phases only, when the arm rests."""
    arm = make_arm(kinematics)

    def fail(done: int, total: int) -> None:
        raise KeyError("display")

    with pytest.raises(KeyError):
        run(arm, trajectories, fail)
    assert np.abs(arm.driver.state().velocities).max() < 0.05


def test_when_stop_is_requested_at_any_phase_expect_braking_from_the_next_period(
    kinematics: Kinematics, trajectories: list[JointTrajectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """B13: in the middle of each phase; the acceleration limits say how soon the arm can rest."""
    starts = [phase_start(trajectories, t.phase) for t in trajectories]
    for at in [start + len(t.times) // 2 for start, t in zip(starts, trajectories, strict=True)]:
        arm = make_arm(kinematics)
        send = arm.driver.send

        def send_then_stop(
            positions: FloatArray, width: float, arm: RecordingArm = arm, at: int = at, send: object = send
        ) -> None:
            assert callable(send)
            send(positions, width)
            if len(arm.driver.sent) == at:
                arm.stop()

        monkeypatch.setattr(arm.driver, "send", send_then_stop)
        execution = run(arm, trajectories)
        assert execution.status == "stopped"
        assert arm.gate.at_rest
        velocities = np.diff(arm.driver.sent, axis=0) / PERIOD
        speeds, limits = np.abs(velocities[at - 2 :]), kinematics.limits.acceleration * PERIOD
        assert np.all(np.diff(speeds, axis=0) <= 1e-9)
        assert len(speeds) - 1 <= 1 + np.ceil(speeds[0] / limits).max()


def test_when_stopped_expect_no_motion_until_resumed_and_the_old_goal_forgotten(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    arm = make_arm(kinematics)
    arm.stop()
    assert run(arm, trajectories).status == "stopped"
    assert not arm.driver.sent
    arm.resume()
    assert arm.execute(trajectories[0]).status == "done"
    assert len(arm.driver.sent) == len(trajectories[0].times) + 1


def test_when_emergency_stop_is_latched_expect_no_motion(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    arm = make_arm(kinematics)
    arm.gate.emergency_stop()
    for _ in range(3):
        execution = run(arm, trajectories)
        assert execution.status == "halted"
        assert "e-stop" in execution.message
    assert np.ptp(np.array(arm.driver.sent), axis=0).max() == 0
    arm.gate.reset()
    assert run(arm, trajectories).status == "done"


def test_when_arm_is_elsewhere_expect_refusal_naming_the_joint(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    arm = make_arm(kinematics)
    execution = arm.execute(trajectories[5])
    assert execution.status == "halted"
    assert "from where the trajectory starts" in execution.message
    assert arm.driver.sent == []


def test_when_joints_are_not_the_arms_expect_refusal(
    kinematics: Kinematics, trajectories: list[JointTrajectory]
) -> None:
    arm = make_arm(kinematics)
    other = replace(trajectories[0], joint_names=tuple("abcdefg"))
    assert "joint_names" in arm.execute(other).message
    assert arm.driver.sent == []


@pytest.mark.parametrize("bad", [np.nan, 9.0])
def test_when_a_sample_is_bad_expect_halt_there_and_no_later_sample(
    kinematics: Kinematics, trajectories: list[JointTrajectory], bad: float
) -> None:
    positions = trajectories[0].positions.copy()
    positions[50, 2] = bad
    arm = make_arm(kinematics)
    execution = run(arm, [replace(trajectories[0], positions=positions), *trajectories[1:]])
    assert execution.status == "halted"
    assert execution.sent is not None
    assert np.isfinite(execution.sent).all()
    ahead = np.abs(execution.sent[-1] - trajectories[0].positions[-1]).max()
    assert ahead > 0.1


def test_nothing_to_execute_is_done(kinematics: Kinematics) -> None:
    assert run(make_arm(kinematics), []) == Execution("done")
