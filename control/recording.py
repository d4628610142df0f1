"""A fake arm that follows perfectly, keeps what it was sent, and fails on demand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..perception.frame import FloatArray
from .arm import ArmState
from .gated import GatedArm
from .safety import SafetyGate
from .watch import ExecutionSettings


class ArmFault(RuntimeError):
    """The arm's driver failed."""


@dataclass(frozen=True)
class RecordingFaults:
    """Faults to inject, each from the given control period on unless said otherwise (None: never).

    Attributes:
        stall_at: the joints stop following.
        blocked: something in the way holds the joints from the first period to the one before the second.
        stale_at: the state's stamp stops advancing.
        nan_at: the state's positions become NaN.
        raise_at: sending raises ArmFault.
        open_at: the jaws fall open, whatever they are told.
        object_width: m, of what lies between the jaws; 0 = nothing is there.
    """

    stall_at: int | None = None
    blocked: tuple[int, int] | None = None
    stale_at: int | None = None
    nan_at: int | None = None
    raise_at: int | None = None
    open_at: int | None = None
    object_width: float = 0.02


class RecordingDriver:
    """Follows every command within one control period, on a clock of its own.

    Attributes:
        sent: every joint command (J,) sent, in order.
        widths: every jaw opening sent, m.
        halts: how often the arm was halted.
    """

    def __init__(
        self, joint_names: tuple[str, ...], start: FloatArray, period: float, faults: RecordingFaults
    ) -> None:
        """An arm at rest at joint positions `start` (J,) with open jaws."""
        self.sent: list[FloatArray] = []
        self.widths: list[float] = []
        self.halts = 0
        self._names, self._period, self._faults = joint_names, period, faults
        self._positions = np.array(start, dtype=np.float64)
        self._velocities = np.zeros_like(self._positions)
        self._width = 0.08

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The actuated arm joints, base to tip."""
        return self._names

    def now(self) -> float:
        """Seconds: control periods passed times their length."""
        return len(self.sent) * self._period

    def state(self) -> ArmState:
        """The state, as the faults have it."""
        stale = len(self.sent) if not self._past(self._faults.stale_at) else self._faults.stale_at or 0
        positions = self._positions.copy()
        if self._past(self._faults.nan_at):
            positions[:] = np.nan
        return ArmState(positions, self._velocities.copy(), self._width, stale * self._period)

    def send(self, positions: FloatArray, gripper_width: float) -> None:
        """Record a command and follow it, unless a fault forbids."""
        if self._past(self._faults.raise_at):
            raise ArmFault(f"the connection broke after {len(self.sent)} commands")
        if not self._past(self._faults.stall_at) and not self._blocked():
            self._velocities = (positions - self._positions) / self._period
            self._positions = np.array(positions)
        self._width = max(gripper_width, self._faults.object_width)
        if self._past(self._faults.open_at):
            self._width = 0.08
        self.sent.append(np.array(positions))
        self.widths.append(gripper_width)

    def halt(self) -> None:
        """Stop where the arm is."""
        self._velocities[:] = 0
        self.halts += 1

    def _blocked(self) -> bool:
        first, end = self._faults.blocked or (0, 0)
        return first <= len(self.sent) < end

    def _past(self, period: int | None) -> bool:
        return period is not None and len(self.sent) >= period


class RecordingArm(GatedArm):
    """A gated fake arm for tests and dry runs; `driver` holds what was sent."""

    def __init__(
        self,
        gate: SafetyGate,
        start: FloatArray,
        period: float = 1 / 60,
        faults: RecordingFaults | None = None,
        settings: ExecutionSettings | None = None,
    ) -> None:
        """An arm with the gate's joints, at rest at `start` (J,)."""
        faults = faults or RecordingFaults()
        self.driver = RecordingDriver(gate.limits.joints.names, start, period, faults)
        super().__init__(self.driver, gate, settings)
