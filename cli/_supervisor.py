"""What to do next with each node of a graph, so that all become active and stay so; no process, clock, ROS.

`Supervision.step` is told what is seen of every node and answers what to do. At first the nodes become active
one after the other, in their order; whatever goes wrong ends the attempt. From then on a node that dies is
started again after a growing delay, and made active again; the others go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..core.ranges import above

Act = Literal["start", "configure", "activate", "kill"]
Phase = Literal["waiting", "starting", "configuring", "activating", "active"]


class BringUpError(OSError):
    """A node could not be made active; the message names it and says why."""


@dataclass(frozen=True)
class Patience:
    """How long things may take, in seconds.

    Attributes:
        answer: from the start of a process until its lifecycle services answer.
        transition: for configuring or activating, models being loaded included.
        first_delay: between a crash and the next start; doubled by every further crash.
        longest_delay: of those.
        healthy: of life after which the delay is the first one again.
    """

    answer: float = 120.0
    transition: float = 60.0
    first_delay: float = 0.5
    longest_delay: float = 10.0
    healthy: float = 60.0

    def __post_init__(self) -> None:
        above(self, 0, *vars(self))


@dataclass(frozen=True)
class Seen:
    """What is known of a node now.

    Attributes:
        exit: how its process ended, e.g. "signal 9"; empty while it runs.
        state: its lifecycle state, e.g. "inactive"; empty until it has answered.
        refused: whether the transition that was last asked for has failed.
        reason: why it failed or ended, as far as its log tells, and where that is.
    """

    exit: str = ""
    state: str = ""
    refused: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Step:
    """What to do with a node, if anything, and a line for the user."""

    node: str
    act: Act | None
    note: str


class Backoff:
    """Delays before the next start: they double with every crash, until the node has lived healthily."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._delay = patience.first_delay

    def crashed(self, lived: float) -> float:
        """The delay in seconds after a crash of a node that lived so many seconds."""
        if lived >= self._patience.healthy:
            self._delay = self._patience.first_delay
        delay = self._delay
        self._delay = min(2 * delay, self._patience.longest_delay)
        return delay


@dataclass
class Course:
    """One node's way to `active`, and back there after a crash."""

    name: str
    patience: Patience
    phase: Phase = "waiting"
    was_active: bool = False
    _since: float = 0.0
    _started: float = 0.0
    _due: float = 0.0
    _backoff: Backoff = field(init=False)

    def __post_init__(self) -> None:
        self._backoff = Backoff(self.patience)

    def step(self, now: float, seen: Seen, may_configure: bool) -> Step | None:
        """What to do now; None when there is nothing.

        Raises:
            BringUpError: it failed before it was ever active.
        """
        if self.phase == "waiting":
            return self._start(now) if now >= self._due else None
        if seen.exit:
            return self._ended(now, seen)
        if self.phase == "active":
            return None
        if failure := self._failure(now, seen):
            return self._failed(failure, seen)
        return self._advance(now, seen.state, may_configure)

    def _start(self, now: float) -> Step:
        self._started = now
        self._enter("starting", now)
        return Step(self.name, "start", "starting")

    def _ended(self, now: float, seen: Seen) -> Step:
        if not self.was_active:
            raise BringUpError(
                _sentence(f"{self.name}: ended with {seen.exit} before it was active", seen.reason)
            )
        delay = self._backoff.crashed(now - self._started)
        self._due = now + delay
        self._enter("waiting", now)
        return Step(self.name, None, _sentence(f"died ({seen.exit}), again in {delay:g} s", seen.reason))

    def _failure(self, now: float, seen: Seen) -> str:
        """What is wrong with a node on its way; empty when nothing is."""
        waited = now - self._since
        if seen.refused:
            return f"{self.phase} failed"
        if self.phase != "starting" and waited > self.patience.transition:
            return f"{self.phase} took more than {self.patience.transition:g} s"
        if self.phase == "starting" and not seen.state and waited > self.patience.answer:
            return f"no answer within {self.patience.answer:g} s"
        return ""

    def _failed(self, failure: str, seen: Seen) -> Step:
        if not self.was_active:
            raise BringUpError(_sentence(f"{self.name}: {failure}", seen.reason))
        return Step(self.name, "kill", _sentence(failure, seen.reason))

    def _advance(self, now: float, state: str, may_configure: bool) -> Step | None:
        if state == "active":
            self.was_active = True
            self._enter("active", now)
            return Step(self.name, None, f"active after {now - self._started:.1f} s")
        if state == "unconfigured" and self.phase == "starting" and may_configure:
            self._enter("configuring", now)
            return Step(self.name, "configure", "configuring")
        if state == "inactive" and self.phase in ("starting", "configuring"):
            self._enter("activating", now)
            return Step(self.name, "activate", "activating")
        return None

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase, self._since = phase, now


def _sentence(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text


class Supervision:
    """All nodes of a graph, in the order in which they first become active."""

    def __init__(self, names: Sequence[str], patience: Patience) -> None:
        self.courses = {name: Course(name, patience) for name in names}

    @property
    def all_active(self) -> bool:
        """Whether every node is active now."""
        return all(course.phase == "active" for course in self.courses.values())

    def step(self, now: float, seen: Mapping[str, Seen]) -> list[Step]:
        """What to do now, at a time in seconds of a steady clock, given what is seen of each node.

        Raises:
            BringUpError: a node failed before it was ever active.
        """
        steps, earlier_were_active = [], True
        for name, course in self.courses.items():
            step = course.step(now, seen[name], may_configure=earlier_were_active)
            steps += [step] if step else []
            earlier_were_active = earlier_were_active and course.was_active
        return steps
