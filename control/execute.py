"""Run a planned motion, phase after phase."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .arm import Arm, Execution
from .plan import JointTrajectory

# Jaws wider than the commanded width by less than this have closed fully: nothing is between them.
EMPTY_WIDTH = 0.002
# Jaws wider than when they gripped by more than this have let go.
OPENED_WIDTH = 0.01


def run(
    arm: Arm, trajectories: Sequence[JointTrajectory], progress: Callable[[int, int], None] | None = None
) -> Execution:
    """Execute trajectories in order; stop at the first that does not end as done, and replay nothing.

    Between gripping and releasing, the jaws' opening tells after each phase whether the object is still held.

    Args:
        arm: behind its safety gate.
        trajectories: from `plan_trajectories`.
        progress: called with (phases done, phases) after each.

    Returns:
        One Execution over all phases: everything sent, every reason, whether any met contact, the status and
        message of the last.
    """
    sent, reasons, contact = [], {}, False
    gripped: float | None = None
    execution = Execution("done")
    for done, trajectory in enumerate(trajectories, start=1):
        execution = arm.execute(trajectory)
        if execution.sent is not None:
            sent.append(execution.sent)
        reasons.update(dict.fromkeys(execution.reasons))
        contact = contact or execution.contact
        if execution.status != "done":
            break
        width, told = arm.state().gripper_width, float(trajectory.gripper_widths[-1])
        gripped = width if trajectory.grips else gripped
        if gripped is not None and told > gripped:
            gripped = None
        if gripped is not None and not told + EMPTY_WIDTH < width < gripped + OPENED_WIDTH:
            message = f"{trajectory.phase}: the object was lost, the jaws are at {width * 1000:.1f} mm"
            execution = replace(execution, status="empty_grasp", message=message)
            break
        if progress is not None:
            progress(done, len(trajectories))
    commands = np.concatenate(sent) if sent else None
    return replace(execution, sent=commands, reasons=tuple(reasons), contact=contact)
