"""One goal's course on an arm that records, without ROS nodes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pybullet_data
import pytest

from kalie.affordance.model import Prediction
from kalie.affordance.schema import Affordance, Keypoint
from kalie.control.kinematics import Kinematics
from kalie.control.plan import JointTrajectory
from kalie.control.recording import RecordingArm, RecordingFaults
from kalie.control.robot import panda_config
from kalie.control.safety import SafetyLimits
from kalie.perception.frame import RgbdFrame
from kalie_ros.faults import ArmRefused, NoState
from kalie_ros.goals import GoalEnded
from kalie_ros.robot import Robot
from kalie_ros.task_run import Report, TaskGoal, TaskRun
from kalie_ros.watched import WatchedGate

from ..control.scenes import Box, image_yaw, keypoint, render

HOME = (0.0, -1.4, 0.0, -2.2, 0.0, 2.4, 0.785)
TOOL = Box((0.5, 0.1), (0.03, 0.16, 0.03))


@pytest.fixture(scope="module")
def kinematics() -> Kinematics:
    return Kinematics(panda_config(Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf"))


@pytest.fixture(scope="module")
def frame() -> RgbdFrame:
    return render([TOOL])


@pytest.fixture(scope="module")
def affordance(frame: RgbdFrame) -> Affordance:
    return Affordance(
        grasp=keypoint(frame, 0.5, 0.1, 0.03),
        function=keypoint(frame, 0.5, 0.16, 0.03),
        target=keypoint(frame, 0.55, -0.1),
        pre_contact=keypoint(frame, 0.45, -0.1),
        post_contact=keypoint(frame, 0.6, -0.1),
        grasp_yaw=image_yaw(frame, (0.5, 0.1, 0.03), (1.0, 0.0, 0.0)),
        gripper_width=0.08,
    )


class FakeSenses:
    """Sees one frame, says one thing; `fails` raises in the named step, `waits_in` waits until given up."""

    def __init__(self, frame: RgbdFrame, affordance: Affordance) -> None:
        self._frame, self._affordance = frame, affordance
        self.fails: dict[str, Exception] = {}
        self.plans: list[Sequence[JointTrajectory]] = []
        self.steps: list[str] = []
        self.waits_in, self.given_up = "", threading.Event()

    def see(self) -> RgbdFrame:
        self._enter("see")
        return self._frame

    def judge(self, instruction: str) -> Prediction:
        self._enter("judge")
        return Prediction(self._affordance)

    def planned(self, trajectories: Sequence[JointTrajectory]) -> None:
        self._enter("planned")
        self.plans.append(trajectories)

    def give_up(self) -> None:
        self.given_up.set()

    def _enter(self, step: str) -> None:
        self.steps.append(step)
        if step == self.waits_in:
            assert self.given_up.wait(10)
            raise GoalEnded("NO_IMAGE" if step == "see" else "NO_AFFORDANCE", "given up")
        if step in self.fails:
            raise self.fails[step]


class Bench:
    """A robot whose arm records, and one way to run goals on it."""

    def __init__(self, kinematics: Kinematics, senses: FakeSenses, faults: RecordingFaults | None) -> None:
        gate = WatchedGate(SafetyLimits(kinematics.limits), kinematics.forward)
        self.arm = RecordingArm(gate, np.array(HOME), faults=faults)
        self.senses, self.gate = senses, gate
        link = SimpleNamespace(prepare=lambda: None, refresh=lambda: None)
        self.robot = Robot(kinematics, gate, self.arm, link, 1 / 60)  # pyright: ignore[reportArgumentType]

    def run(self, **goal: object) -> TaskRun:
        asked = TaskGoal("sweep it", "grasp_and_use", None, dry_run=False)
        return TaskRun(self.robot, replace(asked, **goal), self.senses, HOME, 0.5)  # pyright: ignore[reportArgumentType]

    def report(self, **goal: object) -> Report:
        return self.run(**goal).run()

    @property
    def moved(self) -> bool:
        sent = self.arm.driver.sent
        return len(sent) > 0 and float(np.ptp(np.array(sent), axis=0).max()) > 0


@pytest.fixture
def senses(frame: RgbdFrame, affordance: Affordance) -> FakeSenses:
    return FakeSenses(frame, affordance)


@pytest.fixture
def bench(kinematics: Kinematics, senses: FakeSenses) -> Bench:
    return Bench(kinematics, senses, None)


def test_a_goal_looks_judges_plans_and_moves(bench: Bench, affordance: Affordance) -> None:
    report = bench.report()
    assert (report.outcome, report.message) == ("SUCCEEDED", "")
    assert report.affordance == affordance
    assert bench.senses.steps == ["see", "judge", "planned"]
    assert bench.moved


def test_keypoints_that_come_with_the_goal_are_used_unasked(bench: Bench, affordance: Affordance) -> None:
    bench.senses.fails["judge"] = AssertionError("asked")
    assert bench.report(affordance=affordance).outcome == "SUCCEEDED"


def test_a_dry_run_plans_and_moves_nothing(bench: Bench) -> None:
    assert bench.report(dry_run=True).outcome == "SUCCEEDED"
    assert len(bench.senses.plans) == 1
    assert not bench.moved


def test_an_arm_that_rests_elsewhere_goes_home_before_it_looks(bench: Bench) -> None:
    assert bench.report().outcome == "SUCCEEDED"
    sent = len(bench.arm.driver.sent)
    bench.senses.fails["see"] = GoalEnded("NO_IMAGE", "dark")
    assert bench.report().outcome == "NO_IMAGE"
    assert len(bench.arm.driver.sent) > sent
    np.testing.assert_allclose(bench.arm.driver.sent[-1], HOME, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "error", "outcome"),
    [
        ("see", GoalEnded("NO_IMAGE", "the camera stopped"), "NO_IMAGE"),
        ("judge", GoalEnded("NO_AFFORDANCE", "the node has gone"), "NO_AFFORDANCE"),
        ("planned", RuntimeError("boom"), "INTERNAL_ERROR"),
        ("see", NoState("joint_states: nothing heard"), "HALTED"),
        ("judge", ArmRefused("gripper: not there"), "ARM_REFUSED"),
    ],
)
def test_when_a_step_fails_expect_its_reason_and_no_motion(
    bench: Bench, step: str, error: Exception, outcome: str
) -> None:
    bench.senses.fails[step] = error
    report = bench.report()
    assert report.outcome == outcome
    assert str(error) in report.message
    assert not bench.moved


def test_when_the_target_is_out_of_reach_expect_the_waypoint_named_and_no_motion(
    bench: Bench, affordance: Affordance
) -> None:
    far = replace(affordance, post_contact=Keypoint(0.001, 0.001), target=Keypoint(0.99, 0.001))
    report = bench.report(affordance=far)
    assert report.outcome == "UNREACHABLE"
    assert report.message
    assert not bench.moved


def test_when_a_keypoint_is_missing_expect_its_name_and_no_motion(
    bench: Bench, affordance: Affordance
) -> None:
    report = bench.report(affordance=replace(affordance, target=None))
    assert report.outcome == "NO_AFFORDANCE"
    assert "missing keypoint target" in report.message
    assert not bench.moved


@pytest.mark.parametrize("phase", ["approach_grasp", "close", "lift", "target", "retreat"])
@pytest.mark.parametrize("how", ["cancel", "emergency"])
def test_when_stopped_in_any_phase_expect_rest_the_reason_and_no_motion_until_a_fresh_goal(
    kinematics: Kinematics, senses: FakeSenses, phase: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(kinematics, senses, None)
    run = bench.run()
    send = bench.arm.driver.send

    def send_then_stop(positions: np.ndarray, width: float) -> None:
        send(positions, width)
        if run.progress().phase == phase:
            if how == "emergency":
                bench.gate.emergency_stop()
            run.stop("EMERGENCY_STOP" if how == "emergency" else "CANCELED", "asked for")

    monkeypatch.setattr(bench.arm.driver, "send", send_then_stop)
    report = run.run()
    assert report.outcome == ("EMERGENCY_STOP" if how == "emergency" else "CANCELED")
    assert "asked for" in report.message
    assert phase in report.message
    assert bench.gate.at_rest
    sent = len(bench.arm.driver.sent)
    if how == "emergency":
        assert bench.report().outcome == "EMERGENCY_STOP"
        assert np.ptp(np.array(bench.arm.driver.sent[sent - 1 :]), axis=0).max() == 0


@pytest.mark.parametrize("step", ["see", "judge", "planned"])
def test_when_stopped_before_it_moves_expect_no_motion(
    bench: Bench, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.run()
    done = getattr(bench.senses, step)

    def stop_then(*args: object) -> object:
        run.stop("CANCELED", "canceled by the client")
        return done(*args)

    monkeypatch.setattr(bench.senses, step, stop_then)
    report = run.run()
    assert (report.outcome, report.message) == ("CANCELED", "canceled by the client")
    assert not bench.moved


@pytest.mark.parametrize("step", ["see", "judge"])
def test_when_stopped_while_it_waits_expect_the_wait_given_up_and_the_reason(bench: Bench, step: str) -> None:
    bench.senses.waits_in = step
    run = bench.run()
    stopper = threading.Thread(target=lambda: run.stop("CANCELED", "canceled by the client"))
    stopper.start()
    report = run.run()
    stopper.join()
    assert (report.outcome, report.message) == ("CANCELED", "canceled by the client")
    assert not bench.moved


@pytest.mark.parametrize(
    ("faults", "outcome"),
    [
        (RecordingFaults(stall_at=60), "STALLED"),
        (RecordingFaults(nan_at=60), "HALTED"),
        (RecordingFaults(stale_at=60), "HALTED"),
        (RecordingFaults(raise_at=60), "INTERNAL_ERROR"),
        (RecordingFaults(object_width=0.0), "EMPTY_GRASP"),
    ],
)
def test_when_the_arm_fails_expect_its_outcome(
    kinematics: Kinematics, senses: FakeSenses, faults: RecordingFaults, outcome: str
) -> None:
    report = Bench(kinematics, senses, faults).report()
    assert report.outcome == outcome
    assert report.message


def test_progress_grows_and_names_the_phases_in_order(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bench.run()
    seen = []
    send = bench.arm.driver.send

    def watch(positions: np.ndarray, width: float) -> None:
        send(positions, width)
        seen.append(run.progress())

    monkeypatch.setattr(bench.arm.driver, "send", watch)
    assert run.run().outcome == "SUCCEEDED"
    indices = [at.waypoint for at in seen]
    assert indices == sorted(indices)
    assert indices[-1] == seen[-1].waypoints - 1
    assert 0 <= seen[0].share <= seen[-1].share <= 1
