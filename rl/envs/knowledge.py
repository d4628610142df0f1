"""What a guessing game knows: things, and which of some yes-or-no facts is true of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Knowledge:
    """A truth table.

    Attributes:
        names: of the things, in lower case, whole ("tennis ball").
        facts: phrases that follow "Is it", in lower case.
        table: the facts that are true of each thing; all others are false.
    """

    names: tuple[str, ...]
    facts: tuple[str, ...]
    table: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, facts: Sequence[str], rows: Mapping[str, str]) -> Knowledge:
        """Read rows of facts that are separated by commas.

        Raises:
            ValueError: a row names a fact that is not listed.
        """
        table = {name: frozenset(part.strip() for part in row.split(",")) for name, row in rows.items()}
        for name, true in table.items():
            unknown = sorted(true - set(facts))
            if unknown:
                raise ValueError(f"{name}: {unknown[0]!r} is no listed fact")
        return cls(tuple(rows), tuple(facts), table)

    def first(self, names: int, facts: int) -> Knowledge:
        """The table of the first names and facts alone.

        Raises:
            ValueError: there are not so many.
        """
        for key, wanted, there in (("names", names, self.names), ("facts", facts, self.facts)):
            if not 1 <= wanted <= len(there):
                raise ValueError(f"{key}={wanted} must lie between 1 and {len(there)}")
        kept = frozenset(self.facts[:facts])
        table = {name: self.table[name] & kept for name in self.names[:names]}
        return Knowledge(self.names[:names], self.facts[:facts], table)

    def holds(self, name: str, fact: str) -> bool:
        """Whether a fact is true of a thing."""
        return fact in self.table[name]

    @cached_property
    def masks(self) -> tuple[int, ...]:
        """For each fact, the things it is true of: bit i stands for the i-th name."""
        return tuple(
            sum(1 << i for i, name in enumerate(self.names) if fact in self.table[name])
            for fact in self.facts
        )

    @property
    def everything(self) -> int:
        """The set of all things, as bits."""
        return (1 << len(self.names)) - 1
