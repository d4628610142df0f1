"""Pairs what one camera's topics send by their stamps. Pure logic: times come from the caller."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

# A stamp that is older than the newest set's by so much, ns, comes from a clock that was set back.
JUMP = 1_000_000_000


@dataclass(frozen=True)
class Sent:
    """One message.

    Attributes:
        stamp: ns, on the sensor's clock.
        received: s, steady clock.
        message: as it came.
    """

    stamp: int
    received: float
    message: Any


@dataclass(frozen=True)
class SyncedSet:
    """One message of every topic, all of one instant.

    Attributes:
        stamp: of the reference topic's message, ns, sensor's clock.
        received: when the first of them came, s, steady clock.
        parts: by topic.
    """

    stamp: int
    received: float
    parts: Mapping[str, Sent]


class FrameSync:
    """The newest set of messages whose stamps agree. Not thread-safe.

    Two messages belong together when their stamps differ by at most the slop and neither has a nearer partner
    among what came; so a lost message never makes its partner join another frame's.
    """

    def __init__(self, topics: Sequence[str], slop: float, keep: int = 8) -> None:
        """Pair `topics`, the first of which is the reference.

        Args:
            topics: any names.
            slop: s, that stamps of one instant may differ by; below half a frame period.
            keep: messages of each topic that wait for their partners.
        """
        self._reference, *self._others = topics
        self._slop = round(slop * 1e9)
        self._waiting: dict[str, deque[Sent]] = {topic: deque(maxlen=keep) for topic in topics}
        self._heard: dict[str, float] = {}
        self._repeated: dict[str, float] = {}
        self.newest: SyncedSet | None = None

    def add(self, topic: str, stamp: int, message: object, now: float) -> SyncedSet | None:
        """Take up a message; the newest set if this message completes one.

        Args:
            topic: one of those given.
            stamp: ns, on the sensor's clock.
            message: is kept as it is.
            now: s, steady clock.
        """
        self._heard[topic] = now
        if self._is_known(topic, stamp):
            self._repeated[topic] = now
            return None
        if self.newest is not None and stamp < self.newest.parts[topic].stamp:
            if self.newest.parts[topic].stamp - stamp < JUMP:
                return None
            self._start_anew()
        self._waiting[topic].append(Sent(stamp, now, message))
        complete = self._complete()
        if complete is not None:
            self.newest = complete
            self._forget_until(complete)
        return complete

    def repeating(self, since: float) -> list[str]:
        """The topics that have sent a stamp again since then (s, steady clock)."""
        return [topic for topic, when in self._repeated.items() if when >= since]

    def heard(self, now: float) -> str:
        """When each topic was heard last, and how far apart their stamps are if they do not agree."""
        said = [f"{topic} {self._when(topic, now)}" for topic in self._waiting]
        return ", ".join(said) + self._apart()

    def _when(self, topic: str, now: float) -> str:
        heard = self._heard.get(topic)
        return "never came" if heard is None else f"came {now - heard:.2f} s ago"

    def _apart(self) -> str:
        if self.newest is not None or not all(self._waiting.values()):
            return ""
        reference = self._waiting[self._reference][-1].stamp
        gaps = {topic: self._waiting[topic][-1].stamp - reference for topic in self._others}
        topic = max(gaps, key=lambda name: abs(gaps[name]))
        found, limit = f"{gaps[topic] / 1e9:.3f} s", f"{self._slop / 1e9:g} s"
        return f"; the newest stamps of {topic} and {self._reference} differ by {found}, the limit is {limit}"

    def _is_known(self, topic: str, stamp: int) -> bool:
        shown = self.newest is not None and self.newest.parts[topic].stamp == stamp
        return shown or any(sent.stamp == stamp for sent in self._waiting[topic])

    def _complete(self) -> SyncedSet | None:
        for reference in sorted(self._waiting[self._reference], key=lambda sent: sent.stamp, reverse=True):
            partners = [self._partner(topic, reference) for topic in self._others]
            found = [sent for sent in partners if sent is not None]
            if len(found) == len(self._others):
                parts = dict(zip((self._reference, *self._others), (reference, *found), strict=True))
                received = min(sent.received for sent in parts.values())
                return SyncedSet(reference.stamp, received, MappingProxyType(parts))
        return None

    def _partner(self, topic: str, reference: Sent) -> Sent | None:
        """The message of a topic that is nearest to a reference message, if that one is its nearest, too."""
        waiting = self._waiting[topic]
        if not waiting:
            return None
        nearest = min(waiting, key=lambda sent: abs(sent.stamp - reference.stamp))
        gap = abs(nearest.stamp - reference.stamp)
        rivals = [sent.stamp for sent in self._waiting[self._reference] if sent is not reference]
        if self.newest is not None:
            rivals.append(self.newest.stamp)
        # Of two references that are equally near, the earlier one's frame it is.
        nearer = any((abs(nearest.stamp - rival), rival) < (gap, reference.stamp) for rival in rivals)
        return nearest if gap <= self._slop and not nearer else None

    def _start_anew(self) -> None:
        self.newest = None
        for waiting in self._waiting.values():
            waiting.clear()

    def _forget_until(self, complete: SyncedSet) -> None:
        """Drop what is not newer than a set; what waits is never of an instant before it."""
        for topic, waiting in self._waiting.items():
            newer = [sent for sent in waiting if sent.stamp > complete.parts[topic].stamp]
            waiting.clear()
            waiting.extend(newer)
