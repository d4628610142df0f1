"""Arms behind the safety gate: any driver becomes an `Arm` that sends only what the gate let through."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from ..perception.frame import FloatArray
from .arm import ArmDriver, ArmState, Execution, ExecutionStatus
from .plan import JointTrajectory
from .safety import GateResult, JointCommand, SafetyGate


@dataclass(frozen=True)
class ExecutionSettings:
    """When an execution counts as failed.

    Attributes:
        start_tolerance: rad; the arm must be this near to where the trajectory starts.
        stall_error: rad; a joint farther than this from what was sent has stalled.
        settle_error: rad; the arm has arrived when every joint is this near.
        settle_time: s; how long to wait for it, at most.
        empty_width: m; jaws that closed to within this of their target hold nothing.
        braking_periods: control periods that braking may take, at most.
    """

    start_tolerance: float = 0.05
    stall_error: float = 0.3
    settle_error: float = 0.01
    settle_time: float = 0.5
    empty_width: float = 0.002
    braking_periods: int = 200


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
        self._held: FloatArray | None = None

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The actuated arm joints, base to tip."""
        return self._driver.joint_names

    def state(self) -> ArmState:
        """The newest measured state."""
        return self._driver.state()

    def stop(self) -> None:
        """Hold the present position and refuse further motion until the next `execute`; thread-safe."""
        self._stop_requested.set()
        self._driver.halt()

    def execute(self, trajectory: JointTrajectory) -> Execution:
        """Run one trajectory to its end through the gate; blocks.

        An exception of the driver halts the arm and then reaches the caller.
        """
        self._stop_requested.clear()
        run = _Run(self._driver, self.gate, self.settings, trajectory, self._stop_requested)
        completed = False
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

    def go(self, held: FloatArray | None) -> Execution:
        state, first = self._driver.state(), self._trajectory.positions[0]
        refusal = self._refusal(state, first)
        if refusal:
            return self._end("halted", refusal)
        near = held is not None and float(np.abs(held - first).max()) < self._settings.start_tolerance
        rest = held if near and held is not None else state.positions
        self._gate.start(rest, self._driver.now())
        self._send(rest, float(self._trajectory.gripper_widths[0]))
        for positions, width in zip(self._trajectory.positions, self._trajectory.gripper_widths, strict=True):
            ended = self._step(positions, float(width))
            if ended is not None:
                return ended
        return self._settle()

    def _refusal(self, state: ArmState, first: FloatArray) -> str:
        """Why the trajectory cannot start at all; empty when it can."""
        if self._trajectory.joint_names != self._driver.joint_names:
            return f"joint_names: the arm has {self._driver.joint_names}"
        if not np.isfinite(state.positions).all():
            return f"state: positions are not finite: {state.positions}"
        gap = np.abs(state.positions - first)
        # Pressing on something, an arm stands off what it was told; a stall is judged while moving.
        if gap.max() > self._settings.stall_error:
            joint = self._driver.joint_names[int(gap.argmax())]
            return f"start: {joint} is {gap.max():.3f} rad from where the trajectory starts"
        return ""

    def _step(self, positions: FloatArray, width: float) -> Execution | None:
        """Send one sample; an Execution when the run ends here."""
        if self._stop_requested.is_set():
            return self._end("stopped", "stop was requested")
        state, now = self._driver.state(), self._driver.now()
        gap = np.abs(state.positions - self.sent[-1])
        if gap.max() > self._settings.stall_error:
            joint = self._driver.joint_names[int(gap.argmax())]
            self._driver.halt()
            return self._end("stalled", f"{joint} is {gap.max():.3f} rad behind what was sent")
        result = self._gate.check(JointCommand(positions, now), state, now)
        self._reasons.update(dict.fromkeys(result.reasons))
        self._send(result.positions, width)
        if result.status in ("refused", "stopped"):
            return self._brake(result, width)
        return None

    def _brake(self, result: GateResult, width: float) -> Execution:
        """Let the gate bring the arm to rest."""
        for _ in range(self._settings.braking_periods):
            if self._gate.at_rest:
                break
            braked = self._gate.check(None, self._driver.state(), self._driver.now())
            self._send(braked.positions, width)
        return self._end("halted", "; ".join(result.reasons))

    def _settle(self) -> Execution:
        last, width = self._trajectory.positions[-1], float(self._trajectory.gripper_widths[-1])
        deadline = self._driver.now() + self._settings.settle_time
        while (
            np.abs(self._driver.state().positions - last).max() > self._settings.settle_error
            and self._driver.now() < deadline
        ):
            ended = self._step(last, width)
            if ended is not None:
                return ended
        opening = self._driver.state().gripper_width
        if self._trajectory.grips and opening <= width + self._settings.empty_width:
            return self._end("empty_grasp", f"the jaws closed to {opening * 1000:.1f} mm: nothing is held")
        return self._end("done", "")

    def _send(self, positions: FloatArray, width: float) -> None:
        self._driver.send(positions, width)
        self.sent.append(positions)

    def _end(self, status: ExecutionStatus, message: str) -> Execution:
        sent = np.array(self.sent) if self.sent else np.zeros((0, len(self._driver.joint_names)))
        text = f"{self._trajectory.phase}: {message}" if message else ""
        return Execution(status, text, sent, tuple(self._reasons))
