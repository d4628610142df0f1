"""Games shown as a picture, as text or as symbols and answered in JSON: one state, three renderings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from ...core.ranges import at_least
from ..types import Json, Observation
from .answers import agrees, read_action, write_answer
from .base import EnvConfig, Outcome, TurnEnv
from .drawing import Picture, resized

Rendering = Literal["image", "text", "symbolic"]
BASE_SIZE = 64


@dataclass(frozen=True)
class RenderedConfig(EnvConfig):
    """What all rendered games share.

    Attributes:
        rendering: image (a picture, and only what it lacks in text), text (sentences) or symbolic (the bare
            values).
        image_size: side of the picture, pixels; multiples of 64 are sharp.
        thoughts: whether the answer is asked to state what it sees and thinks before its action.
        instructions: whether observations explain the game; symbolic ones never do.
    """

    rendering: Rendering = "image"
    image_size: int = BASE_SIZE
    thoughts: bool = True
    instructions: bool = True

    def __post_init__(self) -> None:
        at_least(self, BASE_SIZE, "image_size")

    @property
    def shows_images(self) -> bool:
        """In one of the three renderings."""
        return self.rendering == "image"


class RenderedGame(TurnEnv):
    """A game whose answer is a JSON object with an `action`, and whose state has three renderings.

    `info["faithful"]` of a step says whether what the answer states about the game is so (None: it states
    nothing).
    """

    legal: ClassVar[tuple[str, ...]]
    rules: ClassVar[str]
    fields: ClassVar[Mapping[str, str]]

    def __init__(self, config: RenderedConfig, max_turns: int) -> None:
        side = config.image_size
        images = ((side, side, 3),) if config.shows_images else ()
        super().__init__(tuple(write_answer(action) for action in self.legal), max_turns, images)
        self.rendering: Rendering = config.rendering
        self.thoughts = config.thoughts
        self._instructions, self._side = config.instructions, side

    @abstractmethod
    def picture(self) -> Picture:
        """The state, uint8 (64, 64, 3)."""

    @abstractmethod
    def sentences(self) -> str:
        """The state in words."""

    @abstractmethod
    def symbols(self) -> str:
        """The state's bare values."""

    def beside_picture(self) -> str:
        """What the text says where there is a picture; nothing by default."""
        return ""

    @abstractmethod
    def truth(self) -> Mapping[str, Json]:
        """What an answer may state about the state before its action, by field."""

    @abstractmethod
    def apply(self, action: str) -> Outcome:
        """Carry out a legal action."""

    def sayable(self) -> frozenset[int] | None:
        """Every number that a thought about the state may hold; None: any."""
        return None

    def observe(self) -> Observation:
        """The state in the rendering asked for, under the instructions if wanted."""
        if self.rendering == "symbolic":
            return Observation(self.symbols())
        seen = self.sentences() if self.rendering == "text" else self.beside_picture()
        parts = [self._explanation()] if self._instructions else []
        text = "\n".join([*parts, *([seen] if seen else [])])
        if self.rendering == "text":
            return Observation(text)
        return Observation(text, (resized(self.picture(), self._side),))

    def read(self, response: str) -> Json:
        """The `action` of the one JSON object; see `answers.read_action`."""
        return read_action(response, self.legal)

    def act(self, action: Json, response: str) -> Outcome:
        """Carry out an action, and say whether the answer's statements were true before it."""
        faithful = agrees(response, self.truth(), self.sayable())
        outcome = self.apply(str(action))
        facts = {**outcome.facts, "faithful": faithful}
        return Outcome(outcome.reward, outcome.terminated, outcome.success, outcome.truncated, facts)

    def answer(self, action: str, stated: Mapping[str, Json], thoughts: str) -> str:
        """A response in the form that is asked for: with statements and thoughts, or the action alone."""
        return write_answer(action, {**stated, "thoughts": thoughts} if self.thoughts else None)

    def _explanation(self) -> str:
        asked = {**self.fields, "thoughts": "your reasoning"} if self.thoughts else {}
        listed = "".join(f'"{name}": <{what}>, ' for name, what in asked.items())
        actions = ", ".join(f'"{action}"' for action in self.legal)
        form = f'{{{listed}"action": <one of the actions>}}'
        return f"{self.rules}\nActions: {actions}.\nAnswer with one JSON object: {form}"
