"""From observations to prompt ids: chat turns joined token by token, never by rendering sampled text again.

    turn 0    [system] user(observation 0) assistant:
    turn k    prompt k-1 + the sampled ids of response k-1 + [end] user(observation k) assistant:

What stands around an observation comes from the tokenizer's chat template, once. An observation's own text is
tokenised as plain text: control tokens written in it have no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .images import Image, ImageEncoder
from .types import Observation

_TEXT, _ANSWER = "OBSERVATION-GOES-HERE", "RESPONSE-GOES-HERE"

Ids = NDArray[np.int64]


class PromptError(ValueError):
    """An observation that cannot be put to the model; the message says why."""


class Message(NamedTuple):
    """One message of the chat that a prompt's ids render."""

    role: Literal["user", "assistant"]
    text: str
    images: tuple[Image, ...] = ()


class Prompt(NamedTuple):
    """What the model is given.

    Attributes:
        ids: int64 (P,), image placeholders included.
        images: in the order of their placeholders.
        messages: the same as text, for a server that renders it itself; without the system message.
    """

    ids: Ids
    images: tuple[Image, ...]
    messages: tuple[Message, ...] = ()


class _Frame(NamedTuple):
    """The ids before and after an observation's text."""

    before: list[int]
    after: list[int]


class Opening(NamedTuple):
    """What stands between a response and the text of the observation that follows it.

    Attributes:
        ids: of the chat template, the response's end token among them.
        end_ids: the tokens that end a response.
    """

    ids: Ids
    end_ids: frozenset[int]

    def after(self, response: Ids) -> Ids:
        """The ids that follow a response, which may have ended itself."""
        ended = len(response) and {int(response[-1]), int(self.ids[0])} <= self.end_ids
        return self.ids[1:] if ended else self.ids


class ChatRenderer:
    """Turns observations into the ids of chat turns.

    Args:
        tokenizer: with a chat template.
        images: None for a model that sees none.
        end_ids: the tokens that end a response.
        system: system message; empty for none.
    """

    def __init__(
        self,
        tokenizer: Any,  # noqa: ANN401  transformers does not type its call
        images: ImageEncoder | None,
        end_ids: Sequence[int],
        system: str = "",
    ) -> None:
        self._tokenizer = tokenizer
        self._images = images
        self._end_ids = frozenset(end_ids)
        self._system = [{"role": "system", "content": self._content(system, 0)}] if system else []
        self._frames: dict[tuple[str, int], _Frame] = {}

    def first(self, observation: Observation) -> list[int]:
        """The ids that begin a prompt, up to where the response begins."""
        return self._fill(self._frame("first", observation), observation)

    def following(self, observation: Observation, ended: bool) -> list[int]:
        """The ids that follow a response: its end token, unless `ended` with one, and the next turn."""
        ids = self._fill(self._frame("following", observation), observation)
        return ids[1:] if ended and ids[0] in self._end_ids else ids

    def opening(self) -> Opening:
        """What stands between a response and the text of an observation without images."""
        before = self._frame("following", Observation("")).before
        return Opening(np.array(before, dtype=np.int64), self._end_ids)

    def text_ids(self, text: str) -> list[int]:
        """A text's ids; control tokens written in it are text too."""
        return self._tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids

    def _fill(self, frame: _Frame, observation: Observation) -> list[int]:
        return [*frame.before, *self.text_ids(observation.text), *frame.after]

    def _frame(self, kind: str, observation: Observation) -> _Frame:
        count = len(observation.images)
        if count and self._images is None:
            raise PromptError(f"an observation shows {count} images, but the model reads only text")
        if (kind, count) not in self._frames:
            self._frames[kind, count] = self._make_frame(kind, count)
        return self._frames[kind, count]

    def _make_frame(self, kind: str, count: int) -> _Frame:
        user = {"role": "user", "content": self._content(_TEXT, count)}
        earlier = [
            {"role": "user", "content": self._content("?", 0)},
            {"role": "assistant", "content": self._content(_ANSWER, 0)},
        ]
        messages = [*self._system, user] if kind == "first" else [*self._system, *earlier, user]
        text: str = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        if kind == "following":
            text = text.partition(_ANSWER)[2]
        before, found, after = text.partition(_TEXT)
        if not found:
            raise PromptError("the chat template does not show the user's message")
        return _Frame(self._control_ids(before), self._control_ids(after))

    def _content(self, text: str, images: int) -> Any:  # noqa: ANN401  as the template wants it
        if self._images is None:
            return text
        return [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]

    def _control_ids(self, text: str) -> list[int]:
        """The ids of the template's own text, each image token replaced by an image's placeholder."""
        ids = self._tokenizer(text, add_special_tokens=False).input_ids
        if self._images is None:
            return ids
        token, placeholder = self._images.token, self._images.placeholder
        return [new for old in ids for new in (placeholder if old == token else (old,))]


class Conversation:
    """One episode's observations and responses, and the prompt that they make.

    Args:
        renderer: of the model.
        window: how many turns a prompt shows, the present one included; 0 for all.
        limit: most tokens of a prompt.
        end_ids: the tokens that end a response.
    """

    def __init__(self, renderer: ChatRenderer, window: int, limit: int, end_ids: Iterable[int]) -> None:
        self._renderer = renderer
        self._window = window
        self._limit = limit
        self._end_ids = frozenset(end_ids)
        self._observations: list[Observation] = []
        self._responses: list[list[int]] = []
        self._messages: list[Message] = []
        self._whole: list[int] = []

    def observe(self, observation: Observation) -> Prompt:
        """The prompt for the response to a new observation.

        Raises:
            PromptError: it is too long, or the model cannot see the observation's images.
        """
        self._observations.append(observation)
        self._messages.append(Message("user", observation.text, observation.images))
        ids = self._windowed() if self._window else self._extended()
        if len(ids) > self._limit:
            raise PromptError(
                f"turn {len(self._observations)}: a prompt of {len(ids)} tokens exceeds "
                f"model.max_prompt_tokens={self._limit}; raise it or set model.window"
            )
        shown = self._observations[-self._window :]
        messages = self._messages[-2 * self._window + 1 :] if self._window else self._messages
        images = tuple(image for one in shown for image in one.images)
        return Prompt(np.array(ids, dtype=np.int64), images, tuple(messages))

    def respond(self, ids: Sequence[int], text: str = "") -> None:
        """Note the sampled response to the last observation."""
        self._responses.append(list(ids))
        self._messages.append(Message("assistant", text))

    def _extended(self) -> list[int]:
        if not self._responses:
            self._whole = self._renderer.first(self._observations[-1])
        else:
            last = self._responses[-1]
            self._whole += [*last, *self._renderer.following(self._observations[-1], self._ended(last))]
        return self._whole

    def _windowed(self) -> list[int]:
        """A prompt that begins with the oldest turn shown, whatever came before it."""
        first, *rest = self._observations[-self._window :]
        ids = self._renderer.first(first)
        for observation, response in zip(rest, self._responses[-len(rest) :] if rest else (), strict=True):
            ids += [*response, *self._renderer.following(observation, self._ended(response))]
        return ids

    def _ended(self, response: Sequence[int]) -> bool:
        return bool(response) and response[-1] in self._end_ids


def shown_images(observations: Sequence[Observation], turn: int, window: int) -> tuple[Image, ...]:
    """The images that the prompt of a turn shows."""
    first = max(0, turn + 1 - window) if window else 0
    return tuple(image for observation in observations[first : turn + 1] for image in observation.images)
