"""Guess My City (ArCHer, LMRL-Gym): find out the other's home town; the rules are those of `guessing.py`.

With a chat model as oracle the answers are free text; one that gives the city away is not passed on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from .cities import CITIES
from .guessing import GuessingConfig, GuessingGame


@dataclass(frozen=True)
class GuessMyCityConfig(GuessingConfig):
    """Guess My City; see `GuessingConfig`."""

    env_id: ClassVar[str] = "kalie/GuessMyCity-v0"


class GuessMyCityEnv(GuessingGame):
    """`kalie/GuessMyCity-v0`."""

    subject = "Your home town is: {name}. Never say its name."
    answers: ClassVar[Literal["yes_no", "free"]] = "free"
    rules = 'Find out which city is meant. Ask questions of the form "Is it ...?"; each one counts.'

    def __init__(self, config: GuessMyCityConfig | None = None) -> None:
        super().__init__(config or GuessMyCityConfig(), CITIES)

    def name_question(self, name: str) -> str:
        """The guess in lower case, like every name of the game."""
        return f"Is it {name}?"
