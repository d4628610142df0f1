"""Twenty Questions about everyday things (ArCHer, LMRL-Gym); the rules are those of `guessing.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .guessing import GuessingConfig, GuessingGame
from .objects import OBJECTS


@dataclass(frozen=True)
class TwentyQuestionsConfig(GuessingConfig):
    """Twenty Questions; see `GuessingConfig`."""

    env_id: ClassVar[str] = "kalie/TwentyQuestions-v0"


class TwentyQuestionsEnv(GuessingGame):
    """`kalie/TwentyQuestions-v0`."""

    subject = "The object is: {name}."
    rules = 'Find out which object is meant. Ask questions of the form "Is it ...?"; each one counts.'

    def __init__(self, config: TwentyQuestionsConfig | None = None) -> None:
        super().__init__(config or TwentyQuestionsConfig(), OBJECTS)

    def name_question(self, name: str) -> str:
        """The guess with its article: "Is it a tennis ball?"."""
        # The only plurals of the table, which take no article.
        if name in ("scissors", "sunglasses", "honey", "bread", "chalk"):
            return f"Is it {name}?"
        return f"Is it {'an' if name[0] in 'aeiou' else 'a'} {name}?"
