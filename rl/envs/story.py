"""Text adventures: a world that shows what is done in it, and answers one of the commands it lists.

An observation is what is seen, what is carried, what the last command did, and the commands there are
(ArCHer's format for Detective). The reward is the change of the score.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..types import Json, Observation
from .base import AgentEnv, InvalidResponse, Outcome, TurnEnv


class Told(NamedTuple):
    """What a command did: the game's words, the change of the score, whether the game is over and won."""

    message: str
    reward: float
    over: bool = False
    won: bool = False


class StoryEnv(TurnEnv):
    """A text adventure as turns; a subclass holds the game."""

    invalid_rule = 'answered "Nothing happens.", reward 0; nothing changes, the turn counts'

    def __init__(self, examples: tuple[str, ...], max_turns: int) -> None:
        super().__init__(examples, max_turns)
        self._message = ""
        self._commands: tuple[str, ...] = ()

    @abstractmethod
    def restart(self, options: Mapping[str, Any]) -> str:
        """Begin the game anew; returns its opening words."""

    @abstractmethod
    def look(self) -> str:
        """What is seen here."""

    @abstractmethod
    def inventory(self) -> str:
        """What is carried."""

    @abstractmethod
    def commands(self) -> tuple[str, ...]:
        """Every command that does something here."""

    @abstractmethod
    def obey(self, command: str) -> Told:
        """Carry out one of them."""

    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        """Restart the game."""
        self._message = self.restart(options)
        self._commands = self.commands()
        return {}

    def observe(self) -> Observation:
        """Place, inventory, the last message, the commands."""
        listed = ", ".join(self._commands)
        parts = (self.look(), self.inventory(), self._message, f"Valid actions: {listed}")
        return Observation("\n".join(part.strip() for part in parts if part.strip()))

    def read(self, response: str) -> Json:
        """A command that is listed, in any case and spacing."""
        if len(response) > 1000:
            raise InvalidResponse(f"{len(response)} characters, at most 1000 are read")
        command = " ".join(response.lower().split())
        if command not in self._commands:
            raise InvalidResponse(f"{command[:80]!r} is none of the valid actions")
        return command

    def act(self, action: Json, response: str) -> Outcome:
        """Obey."""
        told = self.obey(str(action))
        self._message, self._commands = told.message, self.commands()
        return Outcome(told.reward, terminated=told.over, success=told.won)

    def refuse(self, response: str, error: str) -> Outcome:
        """Nothing happens."""
        self._message = "Nothing happens."
        return Outcome(0.0)


def story(env: AgentEnv) -> StoryEnv:
    """The environment itself, under whatever wraps it."""
    bare = env.unwrapped
    if not isinstance(bare, StoryEnv):
        raise TypeError(f"expected a StoryEnv, got {type(bare).__name__}")
    return bare


def wanderer(env: AgentEnv, rng: np.random.Generator) -> str:
    """The floor: one of the valid commands, uniformly."""
    commands = story(env).commands()
    return commands[int(rng.integers(len(commands)))] if commands else ""
