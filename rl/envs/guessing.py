"""Games of questions about a hidden thing: the core of Twenty Questions and Guess My City (ArCHer, LMRL-Gym).

The agent asks "Is it FACT?" and guesses "Is it a THING?". Every turn costs 1, the winning one nothing: a
win in turn n returns -(n - 1). A thing is won by its whole name, of however many words. Text that is no
such question is answered "Invalid Question."; it costs its turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from ...core.ranges import at_least
from ..types import Json, Observation
from .base import AgentEnv, EnvConfig, InvalidResponse, Outcome, TurnEnv
from .guessing_values import Optimum, Question
from .knowledge import Knowledge
from .oracles import INVALID_QUESTION, NO, YES, ChatOracle, Oracle, TableOracle, guessed
from .players import Player
from .transcript import Shown, Transcript, echo


@dataclass(frozen=True)
class GuessingConfig(EnvConfig):
    """A guessing game.

    Attributes:
        names: how many things can be hidden: the first ones of the table.
        facts: how many facts can be asked for: the first ones of the table.
        max_turns: of an episode.
        limit_terminates: whether running out of turns is the game's own end (as in ArCHer's code) instead
            of a truncation.
        shown: whether observations show the whole transcript or the newest answer.
        instructions: whether observations explain the game.
        oracle: who answers: the table, or a chat model.
        oracle_url: of the chat model's server, ends in /v1.
        oracle_model: name the server knows it by.
        oracle_key_variable: environment variable that holds the key; empty for none.
    """

    names: int = 32
    facts: int = 12
    max_turns: int = 20
    limit_terminates: bool = False
    shown: Shown = "whole"
    instructions: bool = False
    oracle: Literal["table", "chat"] = "table"
    oracle_url: str = ""
    oracle_model: str = ""
    oracle_key_variable: str = ""

    def __post_init__(self) -> None:
        at_least(self, 1, "names", "facts", "max_turns")
        if self.oracle == "chat" and not (self.oracle_url and self.oracle_model):
            raise ValueError("oracle=chat needs oracle_url and oracle_model")


class Asked(NamedTuple):
    """One question that was answered: the fact or the thing, and the answer."""

    kind: Literal["ask", "guess"]
    subject: str
    answer: str


class GuessingGame(TurnEnv):
    """What both games share; a subclass says what is hidden and how it is spoken of.

    Attributes:
        knowledge: the things and facts of this game.
        asked: what was asked and answered so far.
    """

    invalid_rule = 'answered "Invalid Question.", reward -1; the turn counts'
    opening: ClassVar[str] = "Questions:\n"
    subject: ClassVar[str]
    rules: ClassVar[str]
    answers: ClassVar[Literal["yes_no", "free"]] = "yes_no"

    def __init__(self, config: GuessingConfig, knowledge: Knowledge) -> None:
        self.config = config
        self.knowledge = knowledge.first(config.names, config.facts)
        super().__init__(all_questions(self), config.max_turns)
        self.oracle: Oracle = self._make_oracle()
        self.secret = ""
        self.asked: list[Asked] = []
        self._transcript = Transcript(config.shown)

    def name_question(self, name: str) -> str:
        """The question that guesses a thing."""
        raise NotImplementedError

    def _make_oracle(self) -> Oracle:
        config = self.config
        if config.oracle == "table":
            return TableOracle(self.knowledge)
        from ...core.chat import ChatConfig  # it brings OpenCV along

        chat = ChatConfig(config.oracle_url, config.oracle_model, config.oracle_key_variable)
        return ChatOracle(chat, self.subject, self.answers)

    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        """Hide a thing, uniformly; `options={"secret": name}` hides that one."""
        drawn = self.knowledge.names[int(self.np_random.integers(len(self.knowledge.names)))]
        self.secret = str(options.get("secret", drawn))
        if self.secret not in self.knowledge.names:
            raise ValueError(f"reset: secret={self.secret!r} is no thing of this game")
        self.asked = []
        self._transcript.clear((self._explanation() if self.config.instructions else "") + self.opening)
        return {}

    def observe(self) -> Observation:
        """The transcript."""
        return Observation(self._transcript.text)

    def read(self, response: str) -> Json:
        """A guess, or the question as the oracle takes it."""
        # Looking at a hundred thousand characters for a question of a few words would only cost time.
        if len(response) > 1000:
            raise InvalidResponse(f"{len(response)} characters, at most 1000 are read")
        name = guessed(response, self.knowledge)
        if name is not None:
            return {"guess": name}
        return {"ask": self.oracle.check(response)}

    def act(self, action: Json, response: str) -> Outcome:
        """Answer."""
        assert isinstance(action, Mapping)  # noqa: S101  what read returned
        if "guess" in action:
            name = str(action["guess"])
            return self._answered(Asked("guess", name, YES if name == self.secret else NO), response)
        question = str(action["ask"])
        return self._answered(Asked("ask", question, self.oracle.answer(self.secret, question)), response)

    def _answered(self, asked: Asked, response: str) -> Outcome:
        self.asked.append(asked)
        self._transcript.add(f"{asked.answer}\n", f"{echo(response)} ")
        won = asked.kind == "guess" and asked.answer == YES
        return Outcome(0.0 if won else -1.0, terminated=won or self._ends_here(), success=won)

    def refuse(self, response: str, error: str) -> Outcome:
        """Say that it is no question."""
        self._transcript.add(f"{INVALID_QUESTION}\n", f"{echo(response)} ".lstrip())
        return Outcome(-1.0, terminated=self._ends_here())

    def _ends_here(self) -> bool:
        return self.config.limit_terminates and self.turns >= self.max_turns

    def world_state(self) -> Json:
        """The hidden thing and what was answered."""
        return {"secret": self.secret, "asked": [list(asked) for asked in self.asked]}

    def _explanation(self) -> str:
        facts = ", ".join(self.knowledge.facts)
        things = ", ".join(self.knowledge.names)
        asked = f"You may ask whether it is: {facts}.\n" if self.config.oracle == "table" else ""
        return f"{self.rules}\n{asked}It is one of: {things}.\nAnswer with one question.\n"


def fact_question(fact: str) -> str:
    """The question that asks for a fact."""
    return f"Is it {fact}?"


def all_questions(game: GuessingGame) -> tuple[str, ...]:
    """Every question of a game: its facts, then its things."""
    facts = (fact_question(fact) for fact in game.knowledge.facts)
    return (*facts, *(game.name_question(name) for name in game.knowledge.names))


def guessing_game(env: AgentEnv) -> GuessingGame:
    """The environment itself, under whatever wraps it."""
    bare = env.unwrapped
    if not isinstance(bare, GuessingGame):
        raise TypeError(f"expected a GuessingGame, got {type(bare).__name__}")
    return bare


def candidates(game: GuessingGame) -> int:
    """The things that fit all answers so far, as bits."""
    knowledge, left = game.knowledge, game.knowledge.everything
    for asked in game.asked:
        if asked.kind == "guess":
            mask = 1 << knowledge.names.index(asked.subject)
        elif asked.subject in knowledge.facts:
            mask = knowledge.masks[knowledge.facts.index(asked.subject)]
        else:
            continue  # a chat oracle takes questions that the table knows nothing of
        left &= mask if asked.answer == YES else ~mask
    return left


@lru_cache(maxsize=32)
def optimum(game: type[GuessingGame], config: GuessingConfig) -> Optimum:
    """Perfect play of a game, searched once."""
    return Optimum(game(config).knowledge, config.max_turns)  # pyright: ignore[reportCallIssue]


def expert(env: AgentEnv, rng: np.random.Generator) -> str:
    """The ceiling: the question of perfect play."""
    game = guessing_game(env)
    best = optimum(type(game), game.config)
    return _worded(game, best.question(candidates(game), game.max_turns - game.turns))


def _worded(game: GuessingGame, question: Question) -> str:
    if question.kind == "ask":
        return fact_question(game.knowledge.facts[question.number])
    return game.name_question(game.knowledge.names[question.number])


def mediocre(careless: float = 0.3) -> Player:
    """A demonstrator of a warm start: asks useful facts at random, guesses when few things are left.

    Args:
        careless: share of turns with any question at all, whatever was answered before.
    """

    def respond(env: AgentEnv, rng: np.random.Generator) -> str:
        game = guessing_game(env)
        left = candidates(game)
        useful = [fact for fact, mask in enumerate(game.knowledge.masks) if left & mask and left & ~mask]
        if rng.random() < careless:
            questions = all_questions(game)
            return questions[int(rng.integers(len(questions)))]
        if left.bit_count() > 2 and useful:
            return _worded(game, Question("ask", useful[int(rng.integers(len(useful)))]))
        fitting = [index for index in range(len(game.knowledge.names)) if left >> index & 1]
        return _worded(game, Question("guess", fitting[int(rng.integers(len(fitting)))]))

    return respond
