"""What a task goal may ask for, and how it can end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from kalie.control.arm import Execution, ExecutionStatus

TaskName = Literal["sweep", "drawer", "towel", "pour", "unplug"]
OutcomeName = Literal[
    "SUCCEEDED", "REJECTED", "NO_IMAGE", "NO_AFFORDANCE", "UNREACHABLE", "HALTED", "STALLED", "EMPTY_GRASP",
    "CANCELED", "PREEMPTED", "EMERGENCY_STOP", "ARM_REFUSED", "INTERNAL_ERROR",
]  # fmt: skip
# Words that give a task away, whole words only.
_WORDS: Mapping[TaskName, str] = {
    "sweep": r"sweep|brush|wipe",
    "drawer": r"drawer",
    "towel": r"towel|cloth|hang|drape",
    "pour": r"pour|empty|tip",
    "unplug": r"unplug|plug|stick",
}
_OUTCOMES: Mapping[ExecutionStatus, OutcomeName] = {
    "done": "SUCCEEDED",
    "halted": "HALTED",
    "stalled": "STALLED",
    "empty_grasp": "EMPTY_GRASP",
    "stopped": "CANCELED",
    "rejected": "ARM_REFUSED",
}


class GoalEnded(Exception):
    """A goal is over; `outcome` is for programs, the message for people."""

    def __init__(self, outcome: OutcomeName, message: str) -> None:
        super().__init__(message)
        self.outcome: OutcomeName = outcome


def choose_task(named: str, instruction: str) -> TaskName:
    """The task of a goal: the named one, or the one that the instruction's words give away.

    Raises:
        GoalEnded: there is no such task, or the words fit none or several.
    """
    known = ", ".join(_WORDS)
    if named:
        if named not in _WORDS:
            raise GoalEnded("REJECTED", f"task: {named[:40]!r} is not one of {known}")
        return named  # pyright: ignore[reportReturnType]
    found = [name for name, words in _WORDS.items() if re.search(rf"\b(?:{words})s?\b", instruction, re.I)]
    if len(found) != 1:
        fits = f"fits {' and '.join(found)}" if found else "fits no task"
        raise GoalEnded("REJECTED", f"task: the instruction {fits}; name one of {known}")
    return found[0]


def ending(execution: Execution, emergency: bool) -> OutcomeName:
    """How an execution ends its goal; `emergency` says whether the e-stop is latched."""
    return "EMERGENCY_STOP" if emergency and execution.status != "done" else _OUTCOMES[execution.status]
