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
        shown: whether observations show all of it, or the answer to the newest turn: for policies that keep
            the conversation themselves, and with it what they said.
    """

    def __init__(self, shown: Shown) -> None:
        self.shown: Shown = shown
        self._whole = self._newest = ""

    def clear(self, first: str = "") -> None:
        """Begin anew."""
        self._whole = self._newest = first

    def add(self, answer: str, said: str = "") -> None:
        """What one turn adds.

        Args:
            answer: of the environment.
            said: by the policy, which the answer follows.
        """
        self._whole += said + answer
        self._newest = answer

    @property
    def text(self) -> str:
        """What an observation shows."""
        return self._whole if self.shown == "whole" else self._newest
