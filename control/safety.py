"""The safety gate: every joint command passes it on its way to an arm, simulated or real.

NumPy only, no clock of its own: the caller passes `now` from a steady clock. A command is passed, clamped to
what the limits allow, or refused; a refusal brakes within the acceleration limits instead of stopping dead.
Whatever leaves the gate keeps the joint position, velocity and acceleration limits, and can be stopped before
the position limits and inside the workspace box.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..perception.frame import FloatArray
from .arm import ArmState
from .limits import JointLimits

GateStatus = Literal["passed", "clamped", "refused", "stopped"]
# Rounding of one double-precision step; differences below it are not the command's doing.
EPSILON = 1e-9


@dataclass(frozen=True)
class JointCommand:
    """Joint positions (J,), rad, to be reached one control period from now; `stamp` s on the steady clock."""

    positions: FloatArray
    stamp: float


@dataclass(frozen=True)
class SafetyLimits:
    """What the gate allows.

    Attributes:
        joints: position, velocity and acceleration limits.
        workspace_low: (3,) m, the TCP's least x, y, z in the base frame; z is the minimum height.
        workspace_high: (3,) m, the TCP's greatest x, y, z.
        max_step: rad; a command farther than this from the last one sent is a jump, and refused.
        max_age: s; an older command or state is stale, and refused.
        max_period: s; after a longer silence of the caller the gate starts afresh from the measured state.
        violation: whether a command beyond the dynamic limits is clamped to them or refused.
    """

    joints: JointLimits
    workspace_low: tuple[float, float, float] = (-0.2, -0.8, 0.0)
    workspace_high: tuple[float, float, float] = (0.9, 0.8, 1.2)
    max_step: float = 0.2
    max_age: float = 0.1
    max_period: float = 0.25
    violation: Literal["clamp", "refuse"] = "clamp"


@dataclass(frozen=True)
class GateResult:
    """What may be sent.

    Attributes:
        positions: (J,) rad, always finite, always safe to send.
        status: passed; clamped; refused (braking or holding); stopped (the e-stop is latched).
        reasons: what the gate did and why, naming the joint or field; empty when passed.
    """

    positions: FloatArray
    status: GateStatus
    reasons: tuple[str, ...] = ()


def clamp_velocity(
    wanted: FloatArray, positions: FloatArray, velocities: FloatArray, dt: float, limits: JointLimits
) -> FloatArray:
    """The admissible velocity nearest to the wanted one, per joint; batches (..., J) of all arrays work.

    Besides |v| <= v_max and |v - v0| <= a dt, it keeps v dt + v^2 / (2 a) <= distance to the position limit:
    after this step the joint can still stop before it with deceleration a, whatever the next periods are.
    A joint beyond its limit may only move back.

    Args:
        wanted: (..., J) rad/s.
        positions: (..., J) rad, last sent.
        velocities: (..., J) rad/s, last sent.
        dt: s, positive.
        limits: of the joints.
    """
    change = limits.acceleration * dt
    room_up = np.maximum(limits.upper - positions, 0.0)
    room_down = np.maximum(positions - limits.lower, 0.0)
    up = np.sqrt(change * change + 2 * limits.acceleration * room_up) - change
    down = np.sqrt(change * change + 2 * limits.acceleration * room_down) - change
    high, low = np.minimum(limits.velocity, up), -np.minimum(limits.velocity, down)
    inside = np.minimum(np.maximum(wanted, low), high)
    # Last, so that acceleration wins where a joint starts out too fast or beyond its limit.
    return np.minimum(np.maximum(inside, velocities - change), velocities + change)


def braked_velocity(velocities: FloatArray, dt: float, limits: JointLimits) -> FloatArray:
    """Velocities (..., J) one step of full braking later."""
    return np.sign(velocities) * np.maximum(np.abs(velocities) - limits.acceleration * dt, 0.0)


class SafetyGate:
    """The gate in front of one arm: `start`, then `check` once per control period.

    It remembers only what it last let through. The e-stop latches: once `emergency_stop` was called, every
    check holds the last position until `reset` is called.
    """

    def __init__(self, limits: SafetyLimits, forward: Callable[[FloatArray], FloatArray]) -> None:
        """Guard an arm whose TCP pose (4, 4) at joint positions (J,) is `forward(positions)`."""
        self.limits = limits
        self.forward = forward
        self._positions: FloatArray | None = None
        self._velocities = np.zeros(len(limits.joints.names))
        self._tcp = np.zeros(3)
        self._now = -np.inf
        self._stamp = -np.inf
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether the e-stop is latched."""
        return self._stopped

    @property
    def at_rest(self) -> bool:
        """Whether the last command let through has zero velocity."""
        return not self._velocities.any()

    def start(self, positions: FloatArray, now: float) -> None:
        """Take joint positions (J,) at rest as the present ones: where the arm is, or is held.

        Raises:
            ValueError: they or `now` are not finite, or of the wrong number.
        """
        positions = np.asarray(positions, dtype=np.float64)
        if positions.shape != self._velocities.shape or not np.isfinite(positions).all():
            raise ValueError(f"positions: expected {len(self._velocities)} finite numbers, got {positions}")
        if not np.isfinite(now):
            raise ValueError(f"now: expected a finite time, got {now}")
        self._positions, self._now, self._stamp = positions.copy(), now, -np.inf
        self._velocities = np.zeros_like(positions)
        self._tcp = self.forward(positions)[:3, 3]

    def emergency_stop(self) -> None:
        """Latch the stop: from the next check on the velocity is zero."""
        self._stopped = True

    def reset(self) -> None:
        """Release the latched stop; the arm is at rest where it was held."""
        self._stopped = False

    def check(self, command: JointCommand | None, state: ArmState, now: float) -> GateResult:
        """What may be sent in this control period.

        Args:
            command: the newest command, or None when none came in this period.
            state: the newest measured state.
            now: s, on the same steady clock as the stamps.

        Raises:
            RuntimeError: the gate was not started.
        """
        if self._positions is None:
            raise RuntimeError("SafetyGate.start must be called before check")
        if self._stopped:
            self._now = max(self._now, now) if np.isfinite(now) else self._now
            return self._send(self._positions, 0.0, "stopped", ("e-stop is latched until reset",))
        dt = now - self._now
        if not dt > 0 or not np.isfinite(now):
            return GateResult(self._positions.copy(), "refused", (f"now: {now} is not after {self._now}",))
        self._now = now
        if dt > self.limits.max_period:
            return self._restart(state, dt)
        fault = self._fault(command, state, now)
        if command is None or fault:
            return self._brake(dt, fault)
        self._stamp = command.stamp
        return self._limit(np.asarray(command.positions, dtype=np.float64), dt)

    def state_fault(self, state: ArmState, now: float) -> str:
        """Why nothing may move in this state, `now` in seconds; empty when it may."""
        if not np.isfinite(state.positions).all():
            return f"state: positions are not finite: {state.positions}"
        if not -EPSILON <= now - state.stamp <= self.limits.max_age:
            return f"state: stale, {now - state.stamp:.3f} s old (at most {self.limits.max_age:g})"
        return ""

    def _fault(self, command: JointCommand | None, state: ArmState, now: float) -> str:
        """Why a command cannot be considered at all; empty when it can."""
        fault, age = self.state_fault(state, now), self.limits.max_age
        if fault:
            return fault
        if command is None:
            return "command: none came in this period"
        if np.shape(command.positions) != self._velocities.shape:
            return f"command: expected {len(self._velocities)} positions, got {np.shape(command.positions)}"
        if not np.isfinite(command.positions).all():
            return f"command: positions are not finite: {command.positions}"
        if not -EPSILON <= now - command.stamp <= age:
            return f"command: stale, {now - command.stamp:.3f} s old (at most {age:g})"
        if not command.stamp > self._stamp:
            return f"command: stamp {command.stamp} repeats or precedes the last one, {self._stamp}"
        return ""

    def _limit(self, positions: FloatArray, dt: float) -> GateResult:
        assert self._positions is not None  # noqa: S101 - checked by `check`
        step = np.abs(positions - self._positions)
        if step.max() > self.limits.max_step:
            joint = self.limits.joints.names[int(step.argmax())]
            return self._brake(dt, f"step: {joint} jumps by {step.max():.3f} rad")
        wanted = (positions - self._positions) / dt
        velocities = clamp_velocity(wanted, self._positions, self._velocities, dt, self.limits.joints)
        reasons: tuple[str, ...] = ()
        if np.abs(velocities - wanted).max() > EPSILON:
            reasons = tuple(self._explain(wanted, velocities, positions))
            if self.limits.violation == "refuse":
                return self._brake(dt, *reasons)
            positions = self._positions + velocities * dt
        outside = self._leaves_workspace(positions, velocities)
        if outside:
            return self._brake(dt, *reasons, outside)
        self._velocities = velocities
        return self._send(positions, dt, "clamped" if reasons else "passed", reasons)

    def _explain(self, wanted: FloatArray, given: FloatArray, positions: FloatArray) -> list[str]:
        limits, reasons = self.limits.joints, []
        for i in np.flatnonzero(np.abs(wanted - given) > EPSILON):
            if not limits.lower[i] <= positions[i] <= limits.upper[i]:
                kind = f"position limit: {positions[i]:.3f} rad"
            elif abs(wanted[i]) > limits.velocity[i]:
                kind = f"velocity limit: {wanted[i]:.3f} rad/s"
            else:
                kind = f"acceleration limit: {wanted[i] - self._velocities[i]:.3f} rad/s too suddenly"
            reasons.append(f"{limits.names[i]}: {kind}")
        return reasons

    def _leaves_workspace(self, positions: FloatArray, velocities: FloatArray) -> str:
        """Why the TCP would leave the box, now or while braking from there; empty when it would not.

        A TCP that is outside already may move back toward the box.
        """
        stop = positions + velocities * np.abs(velocities) / (2 * self.limits.joints.acceleration)
        for q in (positions, stop):
            tcp = self.forward(q)[:3, 3]
            away = self._outside(tcp)
            if away > 0 and not away < self._outside(self._tcp) - EPSILON:
                return f"workspace: TCP at ({tcp[0]:.3f}, {tcp[1]:.3f}, {tcp[2]:.3f}) m, {away:.3f} m outside"
        return ""

    def _outside(self, tcp: FloatArray) -> float:
        low, high = self.limits.workspace_low, self.limits.workspace_high
        return max(max(low[i] - tcp[i], tcp[i] - high[i]) for i in range(3))

    def _brake(self, dt: float, *reasons: str) -> GateResult:
        assert self._positions is not None  # noqa: S101 - checked by `check`
        if self.at_rest:
            return self._send(self._positions, dt, "refused", reasons)
        velocities = braked_velocity(self._velocities, dt, self.limits.joints)
        positions = self._positions + velocities * dt
        if self._outside(self.forward(positions)[:3, 3]) > max(0.0, self._outside(self._tcp)):
            # The box outranks smoothness: joints that brake unevenly may bend the TCP's path outward.
            velocities, positions = np.zeros_like(velocities), self._positions
        self._velocities = velocities
        return self._send(positions, dt, "refused", reasons)

    def _restart(self, state: ArmState, dt: float) -> GateResult:
        """After a silence the arm has reached the last command; what it did since is unknown."""
        finite = bool(np.isfinite(state.positions).all())
        self.start(state.positions if finite else np.asarray(self._positions), self._now)
        return self._send(
            np.asarray(self._positions), 0.0, "refused", (f"dt: {dt:.3f} s since the last check",)
        )

    def _send(
        self, positions: FloatArray, dt: float, status: GateStatus, reasons: tuple[str, ...]
    ) -> GateResult:
        if dt <= 0:
            self._velocities = np.zeros_like(self._velocities)
        elif positions is not self._positions:
            self._tcp = self.forward(positions)[:3, 3]
        self._positions = positions
        return GateResult(positions.copy(), status, reasons)
