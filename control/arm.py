"""The arm protocol: every arm, simulated or real, executes one timed trajectory behind the safety gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ..perception.frame import FloatArray
from .plan import JointTrajectory

ExecutionStatus = Literal["done", "halted", "stalled", "empty_grasp", "stopped", "rejected"]


@dataclass(frozen=True)
class ArmState:
    """What the arm reports.

    Attributes:
        positions: (J,) rad.
        velocities: (J,) rad/s.
        gripper_width: m between the jaws.
        stamp: s, steady clock.
        external_efforts: (J,) N m with which the motors push against the world, beyond what carrying and
            moving the arm takes; None from an arm that does not measure them.
    """

    positions: FloatArray
    velocities: FloatArray
    gripper_width: float
    stamp: float
    external_efforts: FloatArray | None = None


@dataclass(frozen=True)
class Execution:
    """What was really sent, and how it ended.

    Attributes:
        status: done; halted by the safety gate; stalled (the arm did not follow); empty_grasp (the jaws
            closed on nothing, or not at all); stopped by request; rejected or aborted by the arm's own
            controller.
        message: the reason when not done.
        sent: the joint commands that left the gate, (K, J).
        reasons: what the safety gate did, in order, without repeats.
        contact: whether a guarded move was ended by contact, as it was meant to be.
    """

    status: ExecutionStatus
    message: str = ""
    sent: FloatArray | None = None
    reasons: Sequence[str] = field(default_factory=tuple)
    contact: bool = False


class Arm(Protocol):
    """A position-controlled arm with a parallel gripper."""

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The actuated arm joints, base to tip."""
        ...

    def state(self) -> ArmState:
        """The newest measured state."""
        ...

    def execute(self, trajectory: JointTrajectory) -> Execution:
        """Run one trajectory to its end, through the safety gate; blocks; reports what was really sent."""
        ...

    def stop(self) -> None:
        """Come to rest, and refuse to move until `resume`; from any thread, returns at once."""
        ...

    def resume(self) -> None:
        """Allow motion again after a stop; nothing that was stopped is taken up again."""
        ...


class ArmDriver(Protocol):
    """The thin rim of one arm: reads and sends joint positions, one control period at a time."""

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The actuated arm joints, base to tip."""
        ...

    def now(self) -> float:
        """Seconds on the arm's steady clock (a simulator's own time)."""
        ...

    def state(self) -> ArmState:
        """The newest measured state."""
        ...

    def send(self, positions: FloatArray, gripper_width: float) -> None:
        """Send joint positions (J,) and a jaw opening (m), and let one control period pass."""
        ...

    def halt(self) -> None:
        """Hold the measured position at once."""
        ...
