"""Arms behind the safety gate: any driver becomes an `Arm` that sends only what the gate let through."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..perception.frame import FloatArray
from .arm import ArmDriver, ArmState, Execution, ExecutionStatus
from .plan import JointTrajectory
from .safety import GateResult, JointCommand, SafetyGate

# Metres of TCP travel in a control period below which no force along it can be told.
LEAST_WAY = 1e-4


@dataclass(frozen=True)
class ExecutionSettings:
    """When an execution counts as failed.

    Attributes:
        start_tolerance: rad; the arm must be this near to where the trajectory starts.
        stall_error: rad; a joint farther than this from what was sent has stalled.
        settle_error: rad; the arm has arrived when every joint is this near.
        settle_time: s; how long to wait for it, at most.
        contact_force: N; a guarded move has met something when going on takes this much more than its start,
            if the arm measures efforts.
        contact_periods: over about how many control periods that force is averaged; a knock is shorter.
        contact_lag: m; it also has when the TCP is this much farther behind what was sent than at the start.
        turn_back: per control period; how fast a guarded move turns from forward (1) to back (-1).
        empty_width: m; jaws that closed to within this of their target, or by less than this, hold nothing.
        braking_periods: control periods that braking may take, at most.
    """

    start_tolerance: float = 0.05
    stall_error: float = 0.3
    settle_error: float = 0.01
    settle_time: float = 0.5
    contact_force: float = 15.0
    contact_periods: int = 3
    contact_lag: float = 0.008
    turn_back: float = 0.25
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

        A guarded move (`until_contact`) ends where it began: contact, or its end, turns it back at once along
        its own samples, so that the arm neither winds up force nor leaves while pressing.

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


class _Touch:
    """Whether an arm has met something since a guarded move began, told from its state alone."""

    def __init__(
        self,
        state: ArmState,
        sent: FloatArray,
        forward: Callable[[FloatArray], FloatArray],
        settings: ExecutionSettings,
    ) -> None:
        self._forward, self._settings = forward, settings
        self._sent, self._efforts = sent, state.external_efforts
        self._standing_off, self._force = self._lag(state, sent), 0.0

    def felt(self, state: ArmState, sent: FloatArray) -> bool:
        """Whether contact holds up the step to joint positions `sent` (J,)."""
        step, self._sent = sent - self._sent, sent
        behind = float(np.linalg.norm(self._lag(state, sent) - self._standing_off))
        if behind > self._settings.contact_lag:
            return True
        if state.external_efforts is None or self._efforts is None:
            return False
        # Virtual work: what the joints do along this step, force along the TCP's way does.
        way = float(np.linalg.norm((self._forward(sent) - self._forward(sent - step))[:3, 3]))
        work = float((state.external_efforts - self._efforts) @ step)
        force = work / way if way > LEAST_WAY else 0.0
        self._force += (force - self._force) / self._settings.contact_periods
        return self._force > self._settings.contact_force

    def _lag(self, state: ArmState, sent: FloatArray) -> FloatArray:
        """How far (3,) the TCP is behind what was sent last, m."""
        return (self._forward(sent) - self._forward(state.positions))[:3, 3]


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
        refusal = self._refusal(state, first)
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
        touch = _Touch(self._driver.state(), self.sent[-1], self._gate.forward, self._settings)
        reached = 0
        while not self._contact and reached < len(samples):
            ended = self._step(samples[reached], width)
            if ended is not None:
                return ended
            self._contact = touch.felt(self._driver.state(), self.sent[-1])
            reached += 1
        for positions in self._way_back(samples, reached - 1):
            ended = self._step(positions, width)
            if ended is not None:
                return ended
        return self._settle(samples[0])

    def _way_back(self, samples: FloatArray, reached: int) -> Iterator[FloatArray]:
        """From sample `reached` back to the first; the pace turns steadily, from forward after contact."""
        last = len(samples) - 1
        at, pace = float(reached), 1.0 if self._contact else 0.0
        while at > 0 or pace > 0:
            pace = max(pace - self._settings.turn_back, -1.0)
            at = min(max(at + pace, 0.0), float(last))
            below = int(at)
            yield samples[below] + (at - below) * (samples[min(below + 1, last)] - samples[below])

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
        missed = self._missed(width, self._driver.state().gripper_width) if self._trajectory.grips else ""
        return self._end("empty_grasp", missed) if missed else self._end("done", "")

    def _missed(self, told: float, width: float) -> str:
        """Why jaws told to close to a width, and found at another, hold nothing; empty when they hold."""
        if width <= told + self._settings.empty_width:
            return f"the jaws closed to {width * 1000:.1f} mm: nothing is held"
        if width > self._opening - self._settings.empty_width:
            return f"the jaws stayed open at {width * 1000:.1f} mm: nothing is held"
        return ""

    def _send(self, positions: FloatArray, width: float) -> None:
        self._driver.send(positions, width)
        self.sent.append(positions)

    def _end(self, status: ExecutionStatus, message: str) -> Execution:
        sent = np.array(self.sent) if self.sent else np.zeros((0, len(self._driver.joint_names)))
        text = f"{self._trajectory.phase}: {message}" if message else ""
        return Execution(status, text, sent, tuple(self._reasons), self._contact)
