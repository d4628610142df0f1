"""Who answers the questions of a guessing game: the game's own truth table, or any chat model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from .base import EnvironmentFailure, InvalidResponse
from .knowledge import Knowledge

if TYPE_CHECKING:
    from ...core.chat import ChatConfig

YES, NO, INVALID_QUESTION = "Yes.", "No.", "Invalid Question."
NOT_TOLD = "I can't answer that question."
MOST_WORDS = 40
_FORM = re.compile(r"is it (.+)\?")
_ARTICLE = re.compile(r"(?:an?|the) ")


def normal(text: str) -> str:
    """A question in lower case with single spaces, none before its question mark."""
    return re.sub(r" \?", "?", " ".join(text.lower().split()))


def guessed(question: str, knowledge: Knowledge) -> str | None:
    """The thing that a question names in full ("Is it a tennis ball?"), None where it names none."""
    form = _FORM.fullmatch(normal(question))
    if form is None:
        return None
    for name in (form.group(1), _ARTICLE.sub("", form.group(1), count=1)):
        if name in knowledge.names:
            return name
    return None


class Oracle(Protocol):
    """Answers questions about a thing."""

    def check(self, question: str) -> str:
        """The question as it is asked.

        Raises:
            InvalidResponse: it is none that can be answered.
        """
        ...

    def answer(self, name: str, question: str) -> str:
        """The answer to a checked question about a thing.

        Raises:
            EnvironmentFailure: there is none, through no fault of the question.
        """
        ...


@dataclass(frozen=True)
class TableOracle:
    """Answers "Is it FACT?" from the truth table; any other question is invalid."""

    knowledge: Knowledge

    def check(self, question: str) -> str:
        """The fact that is asked for."""
        form = _FORM.fullmatch(normal(question))
        if form is None or form.group(1) not in self.knowledge.facts:
            raise InvalidResponse("no question of the form 'Is it ...?' about a fact or a thing of this game")
        return form.group(1)

    def answer(self, name: str, question: str) -> str:
        """Yes or no."""
        return YES if self.knowledge.holds(name, question) else NO


@dataclass(frozen=True)
class ChatOracle:
    """Asks a chat model.

    Attributes:
        chat: where it is served.
        subject: how the model is told what it answers about, with `{name}` in it.
        style: yes_no keeps a yes or a no and calls everything else an invalid question; free passes the
            answer on unless it gives the thing away.
    """

    chat: ChatConfig
    subject: str
    style: Literal["yes_no", "free"] = "yes_no"

    def check(self, question: str) -> str:
        """Any question of at most 40 words."""
        words = question.split()
        if not words or not words[-1].endswith("?"):
            raise InvalidResponse("no question: it does not end in '?'")
        if len(words) > MOST_WORDS:
            raise InvalidResponse(f"{len(words)} words, at most {MOST_WORDS} are read")
        return " ".join(words)

    def answer(self, name: str, question: str) -> str:
        """What the model says, in the style wanted."""
        from ...core.chat import ChatError, ask  # it brings OpenCV along

        wish = "Answer yes or no." if self.style == "yes_no" else "Answer in one short sentence."
        prompt = f"{self.subject.format(name=name)} {wish}\n{question}"
        try:
            reply = ask(self.chat, prompt)
        except ChatError as error:
            raise EnvironmentFailure(f"oracle: {error}") from error
        return self._yes_or_no(reply) if self.style == "yes_no" else _told(reply, name)

    @staticmethod
    def _yes_or_no(reply: str) -> str:
        word = re.match(r"\W*(yes|no)\b", reply.lower())
        if word is None:
            return INVALID_QUESTION
        return YES if word.group(1) == "yes" else NO


def _told(reply: str, name: str) -> str:
    text = " ".join(reply.split())
    return NOT_TOLD if not text or name in text.lower() else text[:300]
