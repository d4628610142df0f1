"""Arms whose own controller follows whole trajectories (e.g. FollowJointTrajectory), behind the safety gate.

The gate sees every sample before the controller gets any; while the controller follows them, the arm's state
is watched in every control period, and whatever is wrong cancels the motion.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import numpy as np

from ..perception.frame import FloatArray
from .arm import ArmState, Execution, ExecutionStatus
from .gated import STOPPED
from .plan import JointTrajectory
from .safety import JointCommand, SafetyGate
from .watch import ExecutionSettings, Touch, jaws_missed, start_refusal, way_back

# Seconds that a controller may take beyond a trajectory's end to say how it went.
RESULT_GRACE = 2.0


class TrajectoryServer(Protocol):
    """The thin rim of an arm with a trajectory controller of its own."""

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The actuated arm joints, base to tip."""
        ...

    def now(self) -> float:
        """Seconds on the arm's steady clock."""
        ...

    def state(self) -> ArmState:
        """The newest measured state."""
        ...

    def move_jaws(self, width: float) -> None:
        """Send the jaws to an opening, m."""
        ...

    def begin(self, trajectory: JointTrajectory) -> None:
        """Hand a trajectory to the controller; returns at once."""
        ...

    def wait(self) -> None:
        """Let one control period pass."""
        ...

    def result(self) -> str | None:
        """None while the controller is at work, "" when it is done, else why it rejected or aborted."""
        ...

    def cancel(self) -> None:
        """Have the controller stop and hold; nothing happens where it is idle."""
        ...


class FollowingArm:
    """An `Arm` over a trajectory server."""

    def __init__(
        self,
        server: TrajectoryServer,
        gate: SafetyGate,
        period: float,
        settings: ExecutionSettings | None = None,
    ) -> None:
        """Guard `server` with `gate`; `period` is that of the trajectories' samples, s."""
        self._server = server
        self._period = period
        self.gate = gate
        self.settings = settings or ExecutionSettings()
        self._stop_requested = threading.Event()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The actuated arm joints, base to tip."""
        return self._server.joint_names

    def state(self) -> ArmState:
        """The newest measured state."""
        return self._server.state()

    def stop(self) -> None:
        """Have the controller stop and hold, and refuse to move until `resume`; returns at once."""
        self._stop_requested.set()
        self._server.cancel()

    def resume(self) -> None:
        """Allow motion again after a stop; nothing that was stopped is taken up again."""
        self._stop_requested.clear()

    def execute(self, trajectory: JointTrajectory) -> Execution:
        """Run one trajectory to its end; blocks. The server's exceptions cancel and reach the caller."""
        run = _Following(self._server, self.gate, self._period, self.settings, self._stop_requested)
        completed = False
        try:
            execution = run.go(trajectory)
            completed = True
        finally:
            if not completed:
                self._server.cancel()
        return execution


class _Ended(Exception):
    """The execution is over before its end."""

    def __init__(self, status: ExecutionStatus, message: str) -> None:
        super().__init__(message)
        self.status: ExecutionStatus = status


class _Following:
    """One execution of one trajectory."""

    def __init__(
        self,
        server: TrajectoryServer,
        gate: SafetyGate,
        period: float,
        settings: ExecutionSettings,
        stop_requested: threading.Event,
    ) -> None:
        self._server, self._gate, self._period, self._settings = server, gate, period, settings
        self._stop_requested = stop_requested
        self._sent: list[FloatArray] = []
        self._reasons: dict[str, None] = {}

    def go(self, trajectory: JointTrajectory) -> Execution:
        contact, status, message = False, "done", ""
        state = self._server.state()
        try:
            refusal = start_refusal(trajectory, self._server.joint_names, state, self._settings)
            if refusal:
                raise _Ended("halted", refusal)
            if self._stop_requested.is_set():
                raise _Ended("stopped", STOPPED)
            passed = self._passed(trajectory.positions, state)
            width = float(trajectory.gripper_widths[-1])
            self._server.move_jaws(width)
            if trajectory.until_contact:
                contact = self._feel(trajectory, passed)
            else:
                self._follow(trajectory, passed, None)
            found = self._server.state().gripper_width
            missed = jaws_missed(width, found, state.gripper_width, self._settings)
            if trajectory.grips and missed:
                raise _Ended("empty_grasp", missed)
        except _Ended as ended:
            status, message = ended.status, f"{trajectory.phase}: {ended}"
        sent = np.array(self._sent) if self._sent else np.zeros((0, len(self._server.joint_names)))
        return Execution(status, message, sent, tuple(self._reasons), contact)

    def _feel(self, trajectory: JointTrajectory, passed: FloatArray) -> bool:
        """Go on until contact or the end, then back to where the move began; whether there was contact."""
        touch = Touch(self._server.state(), passed[0], self._gate.forward, self._settings)
        reached = self._follow(trajectory, passed, touch)
        contact = reached < len(passed) - 1
        back = list(way_back(passed, reached, contact, self._settings))
        if back:
            start = self._server.state()
            self._follow(trajectory, self._passed([passed[reached], *back], start), None)
        return contact

    def _passed(self, samples: Iterable[FloatArray], state: ArmState) -> FloatArray:
        """The samples (N, J) as the gate lets them through, checked before any is sent.

        Raises:
            _Ended: the gate refuses one.
        """
        if self._gate.stopped:
            raise _Ended("halted", "e-stop is latched until reset")
        samples = list(samples)
        rehearsal = SafetyGate(self._gate.limits, self._gate.forward)
        rehearsal.start(samples[0], 0.0)
        passed = [np.asarray(samples[0])]
        for index, sample in enumerate(samples[1:], start=1):
            now = index * self._period
            expected = replace(state, positions=passed[-1], stamp=now)
            result = rehearsal.check(JointCommand(sample, now), expected, now)
            self._reasons.update(dict.fromkeys(result.reasons))
            if result.status == "refused":
                raise _Ended("halted", "; ".join(result.reasons))
            passed.append(result.positions)
        return np.array(passed)

    def _follow(self, trajectory: JointTrajectory, samples: FloatArray, touch: Touch | None) -> int:
        """Have samples (N, J) followed, to the end or to contact; the index of the last one reached.

        Raises:
            _Ended: something went wrong; the controller holds.
        """
        times = np.arange(len(samples)) * self._period
        velocities = np.gradient(samples, self._period, axis=0)
        velocities[[0, -1]] = 0.0
        widths = np.full(len(samples), trajectory.gripper_widths[-1])
        part = replace(
            trajectory, times=times, positions=samples, velocities=velocities, gripper_widths=widths
        )
        began, followed = self._server.now(), 0
        self._server.begin(part)
        while True:
            self._server.wait()
            elapsed = self._server.now() - began
            index = min(int(elapsed / self._period), len(samples) - 1)
            self._sent.extend(samples[followed : index + 1])
            followed = index + 1
            self._watch(samples[index], elapsed - times[-1])
            result = self._server.result()
            if result == "":
                return len(samples) - 1
            if result is not None:
                raise _Ended("rejected", f"the arm's controller: {result}")
            if touch is not None and touch.felt(self._server.state(), samples[index]):
                self._server.cancel()
                return index

    def _watch(self, expected: FloatArray, overdue: float) -> None:
        """Cancel and end where the state, or the want of a result, says that something is wrong."""
        state, now = self._server.state(), self._server.now()
        fault = self._gate.state_fault(state, now)
        if self._gate.stopped:
            fault = "e-stop is latched until reset"
        if fault or self._stop_requested.is_set():
            self._server.cancel()
            raise _Ended("halted", fault) if fault else _Ended("stopped", STOPPED)
        gap = np.abs(state.positions - expected)
        if gap.max() > self._settings.stall_error:
            self._server.cancel()
            joint = self._server.joint_names[int(gap.argmax())]
            raise _Ended("stalled", f"{joint} is {gap.max():.3f} rad behind what was sent")
        if overdue > RESULT_GRACE:
            self._server.cancel()
            raise _Ended("stalled", f"the controller is {overdue:.1f} s over time")
