"""The best a guessing game can be played: exhaustive search over sets of things, with a bound that is exact.

Each question that is not the winning one costs 1. A set of n things can be split by a fact or have one thing
guessed out of it; `_Solver.ideal(n)` is what an asker with every conceivable question could reach, so
whatever promises less than what is found already need not be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Literal, NamedTuple, TypeAlias

from .knowledge import Knowledge

Kind: TypeAlias = Literal["ask", "guess"]


class Question(NamedTuple):
    """Asks the fact, or guesses the thing, of this number."""

    kind: Kind
    number: int


class Optimum:
    """Perfect play of a truth table within a number of turns.

    Args:
        knowledge: the table; every thing is equally likely.
        turns: at most.
    """

    def __init__(self, knowledge: Knowledge, turns: int) -> None:
        self.knowledge, self.turns = knowledge, turns
        self._memo: dict[tuple[int, int], tuple[int, Question]] = {}

    @property
    def mean_return(self) -> float:
        """The expected sum of rewards."""
        everything = self.knowledge.everything
        return self._total(everything, self.turns)[0] / everything.bit_count()

    def question(self, candidates: int, turns: int) -> Question:
        """What to ask when these things are left (bits) and so many turns."""
        return self._total(candidates, turns)[1]

    def _total(self, things: int, turns: int) -> tuple[int, Question]:
        """The best sum of returns over all things of a set, and the question that leads there."""
        key = things, turns
        if key not in self._memo:
            self._memo[key] = self._search(things, turns)
        return self._memo[key]

    def _search(self, things: int, turns: int) -> tuple[int, Question]:
        best, chosen = -(10**9), Question("guess", (things & -things).bit_length() - 1)
        for bound, question, parts in sorted(self._options(things, turns), reverse=True):
            if bound <= best:
                break
            rest = sum(self._total(part, turns - 1)[0] if turns > 1 else 0 for part in parts)
            value = rest - _cost(question, things)
            if value > best:
                best, chosen = value, question
        return best, chosen

    def _options(self, things: int, turns: int) -> Iterator[tuple[int, Question, tuple[int, ...]]]:
        """Every question worth a look: the most it can bring, itself, and the sets that it leaves."""
        seen = set()
        for index, mask in enumerate(self.knowledge.masks):
            parts = (things & mask, things & ~mask)
            if all(parts) and min(parts) not in seen:
                seen.add(min(parts))
                yield self._bound(Question("ask", index), things, parts, turns)
        for index in _bits(things):
            rest = things & ~(1 << index)
            yield self._bound(Question("guess", index), things, (rest,) if rest else (), turns)

    def _bound(
        self, question: Question, things: int, parts: tuple[int, ...], turns: int
    ) -> tuple[int, Question, tuple[int, ...]]:
        promise = sum(_ideal(part.bit_count(), turns - 1) for part in parts)
        return promise - _cost(question, things), question, parts


def _cost(question: Question, things: int) -> int:
    """What the turn itself costs, summed over the things: a guess is free for the one that it hits."""
    return things.bit_count() - (question.kind == "guess")


@cache
def _ideal(count: int, turns: int) -> int:
    """The best sum of returns over `count` things for an asker with every conceivable question."""
    if count <= 1 or turns == 0:
        return 0
    guess = -(count - 1) + _ideal(count - 1, turns - 1)
    halves = max(_ideal(part, turns - 1) + _ideal(count - part, turns - 1) for part in range(1, count))
    return max(guess, halves - count)


def _bits(things: int) -> Iterator[int]:
    while things:
        lowest = things & -things
        yield lowest.bit_length() - 1
        things ^= lowest
