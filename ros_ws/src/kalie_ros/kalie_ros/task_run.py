"""One task goal from its instruction to its end: check, go home, look, judge, plan, move. No ROS in here."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from kalie.affordance.model import Prediction
from kalie.affordance.schema import Affordance
from kalie.control.execute import run
from kalie.control.plan import JointTrajectory, MissingKeypoints, PlanError, Primitive
from kalie.control.planner import plan_motion
from kalie.control.trajectory import plan_return
from kalie.perception.frame import FloatArray, RgbdFrame

from .faults import ArmRefused, NoState
from .goals import GoalEnded, OutcomeName, ending
from .watched import WatchedArm

if TYPE_CHECKING:
    from .robot import Robot

# Joints nearer to home than this, rad, are home.
NEAR_HOME = 0.05


@dataclass(frozen=True)
class TaskGoal:
    """What is asked for, checked.

    Attributes:
        instruction: in words.
        primitive: that carries it out.
        affordance: keypoints to use; None = ask for them.
        dry_run: plan, and do not move.
    """

    instruction: str
    primitive: Primitive
    affordance: Affordance | None
    dry_run: bool


class Senses(Protocol):
    """Where a run gets what it does not know, and who hears of its plan; all raise GoalEnded."""

    def see(self) -> RgbdFrame:
        """A fresh frame."""
        ...

    def judge(self, instruction: str) -> Prediction:
        """Keypoints for the frame that was seen."""
        ...

    def planned(self, trajectories: Sequence[JointTrajectory]) -> None:
        """Told of the plan before anything moves."""
        ...

    def give_up(self) -> None:
        """Let whatever waits for a frame or keypoints end soon; from any thread."""
        ...


@dataclass(frozen=True)
class Progress:
    """Where a run stands: phase, its waypoint of so many, and the share of the task that is done."""

    phase: str
    waypoint: int = 0
    waypoints: int = 0
    share: float = 0.0


@dataclass(frozen=True)
class Report:
    """How a run ended."""

    outcome: OutcomeName
    message: str
    affordance: Affordance | None
    seconds: float


class TaskRun:
    """One goal under way. `run` blocks; `stop` and `progress` may be called from other threads."""

    def __init__(
        self, robot: Robot, goal: TaskGoal, senses: Senses, home: Sequence[float], velocity_scale: float
    ) -> None:
        """Prepare; nothing moves before `run`. What stopped an earlier run is over, the e-stop excepted.

        Args:
            robot: that carries it out.
            goal: what is asked for.
            senses: where frames and keypoints come from.
            home: (J,) rad, taken before looking; empty = look from wherever the arm is.
            velocity_scale: share of the joint limits that motions use.
        """
        self._robot, self._goal, self._senses = robot, goal, senses
        self._home, self._scale = np.array(home, dtype=np.float64), velocity_scale
        self._affordance = goal.affordance
        self._lock = threading.Lock()
        self._stopped: tuple[OutcomeName, str] | None = None
        self._phase = "look"
        self._arm: WatchedArm | None = None
        self._phases = 0
        # Here, before anybody can stop this run: a stop is never forgotten once the run is known, and brings
        # the arm to rest where it is, not where an earlier run sent it.
        robot.link.prepare()
        robot.arm.resume()

    def run(self) -> Report:
        """Carry it out; whatever happens, the report says how it ended and the arm rests."""
        began, outcome, message = time.monotonic(), "SUCCEEDED", ""
        try:
            self._carry_out()
        except GoalEnded as ended:
            outcome, message = self._reason(ended)
        except NoState as error:
            outcome, message = "HALTED", str(error)
        except ArmRefused as error:
            outcome, message = "ARM_REFUSED", str(error)
        except Exception as error:  # noqa: BLE001 - the arm was halted on the way here; the goal must still end
            outcome, message = "INTERNAL_ERROR", f"{type(error).__name__}: {error}"
        self._arm = None
        return Report(outcome, message, self._affordance, time.monotonic() - began)

    def stop(self, outcome: OutcomeName, message: str) -> None:
        """End the run, for this reason; the first one counts."""
        with self._lock:
            self._stopped = self._stopped or (outcome, message)
        self._robot.arm.stop()
        self._senses.give_up()

    def progress(self) -> Progress:
        """Where it stands now."""
        arm = self._arm
        if arm is None:
            return Progress(self._phase)
        phase, index, share = arm.progress()
        return Progress(phase, index, self._phases, share)

    def _carry_out(self) -> None:
        self._check()
        self._robot.link.refresh()
        self._go_home()
        self._enter("look")
        frame = self._senses.see()
        if self._affordance is None:
            self._enter("judge")
            self._affordance = self._senses.judge(self._goal.instruction).affordance
        assert self._affordance is not None  # noqa: S101 - `judge` raises instead
        self._enter("plan")
        trajectories = self._plan(self._affordance, frame)
        self._senses.planned(trajectories)
        self._check()
        if not self._goal.dry_run:
            self._move(trajectories)

    def _go_home(self) -> None:
        state = self._robot.arm.state()
        away = self._home.size > 0 and np.abs(state.positions - self._home).max() > NEAR_HOME
        if not away or self._goal.dry_run:
            return
        self._enter("home")
        timing = self._robot.timing(self._scale)
        try:
            way = plan_return(
                self._robot.kinematics, state.positions, self._home, state.gripper_width, timing
            )
        except PlanError as error:
            raise GoalEnded("UNREACHABLE", str(error)) from error
        self._move([way])

    def _plan(self, affordance: Affordance, frame: RgbdFrame) -> Sequence[JointTrajectory]:
        start: FloatArray = self._robot.arm.state().positions
        settings, kinematics = self._robot.planner(self._scale), self._robot.kinematics
        try:
            motion = plan_motion(self._goal.primitive, affordance, frame, kinematics, start, settings)
        except MissingKeypoints as error:
            raise GoalEnded("NO_AFFORDANCE", str(error)) from error
        except PlanError as error:
            raise GoalEnded("UNREACHABLE", str(error)) from error
        return motion.trajectories

    def _move(self, trajectories: Sequence[JointTrajectory]) -> None:
        self._check()
        self._robot.link.prepare()
        self._arm, self._phases = WatchedArm(self._robot.arm, trajectories), len(trajectories)
        execution = run(self._arm, trajectories)
        self._check(execution.message)
        if execution.status != "done":
            raise GoalEnded(ending(execution, self._robot.gate.stopped), execution.message)

    def _reason(self, ended: GoalEnded) -> tuple[OutcomeName, str]:
        """Why a run is over: a stop that was asked for goes before what it brought about."""
        with self._lock:
            stopped = self._stopped
        if stopped is None or stopped[0] == ended.outcome:
            return ended.outcome, str(ended)
        return stopped

    def _enter(self, phase: str) -> None:
        self._check()
        self._phase, self._arm = phase, None

    def _check(self, where: str = "") -> None:
        """End here if a stop was asked for. Raises GoalEnded."""
        with self._lock:
            stopped = self._stopped
        if stopped is not None:
            outcome, message = stopped
            raise GoalEnded(outcome, f"{message} ({where})" if where else message)
