"""Arms behind the safety gate: any driver becomes an `Arm` that sends only what the gate let through."""

from __future__ import annotations

import threading

import numpy as np

from ..perception.frame import FloatArray
from .arm import ArmDriver, ArmState, Execution, ExecutionStatus
from .plan import JointTrajectory
from .safety import GateResult, JointCommand, SafetyGate
from .watch import ExecutionSettings, Touch, jaws_missed, start_refusal, way_back

STOPPED = "a stop was requested"


class GatedArm:
    """An `Arm` over a driver. Nothing is queued: a trajectory that ended early is never taken up again."""

    def __init__(
        self, driver: ArmDriver, gate: SafetyGate, settings: ExecutionSettings | None = None
    ) -> None:
        """Guard `driver` with `gate`."""
        self._driver = driver
        self.gate = gate
        self.settings = settings or ExecutionSettings()
        self._stop_requested = threading.Event()
        self._running = threading.Lock()
        self._held: FloatArray | None = None

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The actuated arm joints, base to tip."""
        return self._driver.joint_names

    def state(self) -> ArmState:
        """The newest measured state."""
        return self._driver.state()

    def stop(self) -> None:
        """Come to rest, and refuse to move until `resume`; from any thread, returns at once.

        An execution brakes from its next control period on, within the acceleration limits.
        """
        self._stop_requested.set()
        if not self._running.locked():
            self._driver.halt()

    def resume(self) -> None:
        """Allow motion again after a stop; nothing that was stopped is taken up again."""
        self._stop_requested.clear()

    def execute(self, trajectory: JointTrajectory) -> Execution:
        """Run one trajectory to its end through the gate; blocks.

        A guarded move (`until_contact`) ends where it began: contact, or its end, turns it back at once along
        its own samples, so that the arm neither winds up force nor leaves while pressing.

        An exception of the driver halts the arm and then reaches the caller.
        """
        run = _Run(self._driver, self.gate, self.settings, trajectory, self._stop_requested)
        completed = False
        with self._running:
            try:
                execution = run.go(self._held)
                completed = True
            finally:
                if not completed:
                    self._driver.halt()
        # What was sent last is where a position-controlled arm is held, sagging or pressing a little.
        self._held = run.sent[-1] if execution.status == "done" and run.sent else None
        return execution


class _Run:
    """One execution of one trajectory."""

    def __init__(
        self,
        driver: ArmDriver,
        gate: SafetyGate,
        settings: ExecutionSettings,
        trajectory: JointTrajectory,
        stop_requested: threading.Event,
    ) -> None:
        self._driver, self._gate, self._settings = driver, gate, settings
        self._trajectory, self._stop_requested = trajectory, stop_requested
        self.sent: list[FloatArray] = []
        self._reasons: dict[str, None] = {}
        self._contact = False
        self._opening = np.inf

    def go(self, held: FloatArray | None) -> Execution:
        state, first = self._driver.state(), self._trajectory.positions[0]
        self._opening = state.gripper_width
        if self._stop_requested.is_set():
            return self._end("stopped", STOPPED)
        refusal = start_refusal(self._trajectory, self._driver.joint_names, state, self._settings)
        if refusal:
            return self._end("halted", refusal)
        near = held is not None and float(np.abs(held - first).max()) < self._settings.start_tolerance
        rest = held if near and held is not None else state.positions
        self._gate.start(rest, self._driver.now())
        self._send(rest, float(self._trajectory.gripper_widths[0]))
        if self._trajectory.until_contact:
            return self._feel()
        for positions, width in zip(self._trajectory.positions, self._trajectory.gripper_widths, strict=True):
            ended = self._step(positions, float(width))
            if ended is not None:
                return ended
        return self._settle(self._trajectory.positions[-1])

    def _feel(self) -> Execution:
        """Go on until contact or the end, then back to where the move began."""
        samples, width = self._trajectory.positions, float(self._trajectory.gripper_widths[-1])
        touch = Touch(self._driver.state(), self.sent[-1], self._gate.forward, self._settings)
        reached = 0
        while not self._contact and reached < len(samples):
            ended = self._step(samples[reached], width)
            if ended is not None:
                return ended
            self._contact = touch.felt(self._driver.state(), self.sent[-1])
            reached += 1
        for positions in way_back(samples, reached - 1, self._contact, self._settings):
            ended = self._step(positions, width)
            if ended is not None:
                return ended
        return self._settle(samples[0])

    def _step(self, positions: FloatArray, width: float) -> Execution | None:
        """Send one sample; an Execution when the run ends here."""
        state, now = self._driver.state(), self._driver.now()
        if self._stop_requested.is_set():
            self._brake(self._gate.check(None, state, now), width)
            return self._end("stopped", STOPPED)
        gap = np.abs(state.positions - self.sent[-1])
        if gap.max() > self._settings.stall_error:
            joint = self._driver.joint_names[int(gap.argmax())]
            self._driver.halt()
            return self._end("stalled", f"{joint} is {gap.max():.3f} rad behind what was sent")
        result = self._gate.check(JointCommand(positions, now), state, now)
        self._reasons.update(dict.fromkeys(result.reasons))
        if result.status in ("refused", "stopped"):
            self._brake(result, width)
            return self._end("halted", "; ".join(result.reasons))
        self._send(result.positions, width)
        return None

    def _brake(self, result: GateResult, width: float) -> None:
        """Let the gate bring the arm to rest; `result` is the first step of it."""
        self._send(result.positions, width)
        for _ in range(self._settings.braking_periods):
            if self._gate.at_rest:
                break
            braked = self._gate.check(None, self._driver.state(), self._driver.now())
            self._send(braked.positions, width)

    def _settle(self, last: FloatArray) -> Execution:
        width = float(self._trajectory.gripper_widths[-1])
        deadline = self._driver.now() + self._settings.settle_time
        while (
            np.abs(self._driver.state().positions - last).max() > self._settings.settle_error
            and self._driver.now() < deadline
        ):
            ended = self._step(last, width)
            if ended is not None:
                return ended
        found = self._driver.state().gripper_width
        missed = jaws_missed(width, found, self._opening, self._settings) if self._trajectory.grips else ""
        return self._end("empty_grasp", missed) if missed else self._end("done", "")

    def _send(self, positions: FloatArray, width: float) -> None:
        self._driver.send(positions, width)
        self.sent.append(positions)

    def _end(self, status: ExecutionStatus, message: str) -> Execution:
        sent = np.array(self.sent) if self.sent else np.zeros((0, len(self._driver.joint_names)))
        text = f"{self._trajectory.phase}: {message}" if message else ""
        return Execution(status, text, sent, tuple(self._reasons), self._contact)
