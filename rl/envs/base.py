"""What every environment of the agents is: a `gymnasium.Env` that reads text and shows an `Observation`.

The contract, which `check.py` tests over every environment:

* `reset(seed=...)` is the only source of randomness; the same seed and responses give the same episode.
* `step(response)` takes any `str` whatever. Text that is not an action is never replaced by another action:
  the environment applies its own rule for invalid responses, says it in `invalid_rule`, and neither draws a
  random number nor changes its world (`world_state()`) for it.
* `info` of `step` always has `valid` (bool) and `action` (JSON, None where invalid); the last one of an
  episode has `success` (bool). It holds JSON only.
* `terminated` is the environment's own end, `truncated` a limit's. Stepping after either raises
  `RuntimeError`.
* A failure of the infrastructure (a browser died, a grader did not start) raises `EnvironmentFailure`: it is
  retried, then excluded from the data, and never becomes a reward.

`TurnEnv` keeps the book: an environment says how it begins, what it shows, how it reads a response, and what
an action does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import gymnasium
import numpy as np
from gymnasium.spaces import Space

from ..types import Json, Observation

AgentEnv: TypeAlias = "gymnasium.Env[Observation, str]"
Step: TypeAlias = "tuple[Observation, float, bool, bool, dict[str, Json]]"


@dataclass(frozen=True)
class EnvConfig:
    """What every environment's config is: a frozen dataclass that knows the id it is registered by.

    Attributes:
        env_id: `kalie/<Name>-v0`.
    """

    env_id: ClassVar[str]

    @property
    def shows_images(self) -> bool:
        """Whether observations have pictures."""
        return False


class EnvironmentFailure(RuntimeError):
    """The machinery around an environment failed, not the agent; the episode is retried, then excluded."""


class InvalidResponse(ValueError):
    """A response is not an action; the message says why and becomes `info["error"]`."""


class TextSpace(Space[str]):
    """Any text: what an agent may answer. Samples come from `examples`, responses that hold an action."""

    def __init__(self, examples: tuple[str, ...]) -> None:
        if not examples:
            raise ValueError("TextSpace needs at least one example")
        super().__init__(shape=None, dtype=None)
        self.examples = examples

    def sample(self, mask: object = None, probability: object = None) -> str:
        """One of the examples, uniformly."""
        return self.examples[int(self.np_random.integers(len(self.examples)))]

    def contains(self, x: object) -> bool:
        """Whether it is text."""
        return isinstance(x, str)


class ObservationSpace(Space[Observation]):
    """Observations with as many images as `images` says (an empty shape: text only)."""

    @property
    def is_np_flattenable(self) -> bool:
        """Never: a text has no fixed size."""
        return False

    def __init__(self, images: tuple[tuple[int, int, int], ...] = ()) -> None:
        super().__init__(shape=None, dtype=None)
        self.images = images

    def sample(self, mask: object = None, probability: object = None) -> Observation:
        """An empty text with noise images."""
        noise = tuple(self.np_random.integers(0, 256, shape, dtype=np.uint8) for shape in self.images)
        return Observation("", noise)

    def contains(self, x: object) -> bool:
        """Whether it is an `Observation` with images of these shapes."""
        return (
            isinstance(x, Observation)
            and isinstance(x.text, str)
            and tuple(image.shape for image in x.images) == self.images
            and all(image.dtype == np.uint8 for image in x.images)
        )


@dataclass(frozen=True)
class Outcome:
    """What came of one response.

    Attributes:
        reward: of this turn.
        terminated: whether the episode ended in the environment's own terms.
        success: whether the episode is a success; read where it ends.
        truncated: whether a limit of the environment's own cut it; the limit on turns is `TurnEnv`'s.
        facts: more for `info`, JSON only.
    """

    reward: float
    terminated: bool = False
    success: bool = False
    truncated: bool = False
    facts: Mapping[str, Json] = field(default_factory=dict)


class TurnEnv(gymnasium.Env[Observation, str]):
    """An environment of turns: the contract's book-keeping over a few methods of a subclass.

    Attributes:
        invalid_rule: what a response without an action does, in words.
        max_turns: turns after which an episode is truncated.
        turns: taken so far in this episode.

    Args:
        examples: responses that hold an action; `action_space` samples them.
        max_turns: at least 1.
        images: shape (H, W, 3) of each image that an observation shows.
    """

    invalid_rule: ClassVar[str]

    def __init__(
        self, examples: tuple[str, ...], max_turns: int, images: tuple[tuple[int, int, int], ...] = ()
    ) -> None:
        if max_turns < 1:
            raise ValueError(f"max_turns={max_turns} must be at least 1")
        self.action_space = TextSpace(examples)
        self.observation_space = ObservationSpace(images)
        self.max_turns = max_turns
        self.turns = 0
        self._over = True

    @abstractmethod
    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        """Draw a new episode from `np_random`; returns the facts that `reset` hands out as `info`."""

    @abstractmethod
    def observe(self) -> Observation:
        """What the agent is shown now."""

    @abstractmethod
    def read(self, response: str) -> Json:
        """The action in a response; changes nothing.

        Raises:
            InvalidResponse: there is none, and why.
        """

    @abstractmethod
    def act(self, action: Json, response: str) -> Outcome:
        """Carry out an action that `read` returned."""

    @abstractmethod
    def refuse(self, response: str, error: str) -> Outcome:
        """The rule for a response without an action (`invalid_rule`); the world stays as it is."""

    @abstractmethod
    def world_state(self) -> Json:
        """Everything that actions change, as JSON; without turn counters, transcripts and messages."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Json]]:
        """Begin an episode; the same seed gives the same one.

        Args:
            seed: of everything random; None goes on with the present generator.
            options: of the environment, see its class.
        """
        super().reset(seed=seed)
        self.turns = 0
        facts = dict(self.begin(options or {}))
        self._over = False
        return self.observe(), facts

    def step(self, action: str) -> Step:
        """One turn.

        Args:
            action: the agent's response, any text.

        Raises:
            TypeError: it is not text.
            RuntimeError: the episode is over, or none has begun.
        """
        if not isinstance(action, str):
            raise TypeError(f"step: expected the response as str, got {type(action).__name__}")
        if self._over:
            raise RuntimeError("step: the episode is over; call reset first")
        self.turns += 1
        info: dict[str, Json] = {"valid": True, "action": None}
        try:
            info["action"] = self.read(action)
        except InvalidResponse as error:
            info |= {"valid": False, "error": str(error)}
            outcome = self.refuse(action, str(error))
        else:
            outcome = self.act(info["action"], action)
        return self._close_turn(outcome, info)

    def _close_turn(self, outcome: Outcome, info: dict[str, Json]) -> Step:
        limit = outcome.truncated or self.turns >= self.max_turns
        terminated, truncated = outcome.terminated, limit and not outcome.terminated
        self._over = terminated or truncated
        info |= outcome.facts
        if self._over:
            info["success"] = outcome.success
        return self.observe(), float(outcome.reward), terminated, truncated, info
