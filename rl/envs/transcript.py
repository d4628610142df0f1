"""The log of a text game, and the text that is safe to put into it."""

from __future__ import annotations

from typing import Literal

Shown = Literal["whole", "newest"]
# Longer echoes of a response tell a reader nothing more.
MOST_ECHOED = 200


def echo(response: str) -> str:
    """A response as one line that can be shown again: printable, spaces collapsed, at most 200 characters."""
    printable = "".join(c if c.isprintable() else " " for c in response[: 4 * MOST_ECHOED])
    return " ".join(printable.split())[:MOST_ECHOED]


class Transcript:
    """Lines that grow with the turns.

    Args:
        shown: whether observations show all of it, or what the newest turn added: for policies that keep the
            conversation themselves.
    """

    def __init__(self, shown: Shown) -> None:
        self.shown: Shown = shown
        self._parts: list[str] = []

    def clear(self, first: str = "") -> None:
        """Begin anew."""
        self._parts = [first] if first else []

    def add(self, part: str) -> None:
        """What one turn adds."""
        self._parts.append(part)

    @property
    def text(self) -> str:
        """What an observation shows."""
        return "".join(self._parts if self.shown == "whole" else self._parts[-1:])
