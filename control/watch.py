"""What an arm's state tells while it executes: may it start, has it met something, do the jaws hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..perception.frame import FloatArray
from .arm import ArmState
from .plan import JointTrajectory

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


class Touch:
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


def way_back(
    samples: FloatArray, reached: int, contact: bool, settings: ExecutionSettings
) -> Iterator[FloatArray]:
    """From sample `reached` of samples (N, J) back to the first; after contact the pace turns steadily."""
    last = len(samples) - 1
    at, pace = float(reached), 1.0 if contact else 0.0
    while at > 0 or pace > 0:
        pace = max(pace - settings.turn_back, -1.0)
        at = min(max(at + pace, 0.0), float(last))
        below = int(at)
        yield samples[below] + (at - below) * (samples[min(below + 1, last)] - samples[below])


def start_refusal(
    trajectory: JointTrajectory,
    joint_names: tuple[str, ...],
    state: ArmState,
    settings: ExecutionSettings,
) -> str:
    """Why an arm with these joints, in this state, cannot start a trajectory at all; empty when it can."""
    if trajectory.joint_names != joint_names:
        return f"joint_names: the arm has {joint_names}"
    if not np.isfinite(state.positions).all():
        return f"state: positions are not finite: {state.positions}"
    gap = np.abs(state.positions - trajectory.positions[0])
    # Pressing on something, an arm stands off what it was told; a stall is judged while moving.
    if gap.max() > settings.stall_error:
        joint = joint_names[int(gap.argmax())]
        return f"start: {joint} is {gap.max():.3f} rad from where the trajectory starts"
    return ""


def jaws_missed(told: float, width: float, opening: float, settings: ExecutionSettings) -> str:
    """Why jaws hold nothing after gripping; empty when they hold.

    Args:
        told: m, to which width they were to close.
        width: m, at which they are found.
        opening: m, their width before.
        settings: with the tolerance.
    """
    if width <= told + settings.empty_width:
        return f"the jaws closed to {width * 1000:.1f} mm: nothing is held"
    if width > opening - settings.empty_width:
        return f"the jaws stayed open at {width * 1000:.1f} mm: nothing is held"
    return ""
