"""The multi-turn records that every environment, policy and algorithm shares.

    Observation -> (prompt token ids) -> response -> Turn -> Trajectory -> update

A `Turn` keeps the very token ids that were sampled and their log-probabilities under the sampling policy, so
that training never re-tokenises text and never re-builds a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""What a parsed action and an environment's `info` may hold: they are stored with the turn."""


@dataclass(frozen=True, eq=False)
class Observation:
    """What the agent is shown at one turn.

    Attributes:
        text: the user's message.
        images: uint8 (H, W, 3) each, RGB, in the order in which the message shows them (before the text).
    """

    text: str
    images: tuple[NDArray[np.uint8], ...] = ()

    def __eq__(self, other: object) -> bool:
        """Whether the other shows the same text and pixels."""
        if not isinstance(other, Observation) or self.text != other.text:
            return False
        pairs = zip(self.images, other.images, strict=False)
        return len(self.images) == len(other.images) and all(np.array_equal(a, b) for a, b in pairs)

    def __hash__(self) -> int:
        """Of the text alone: pixels are not worth hashing."""
        return hash(self.text)


@dataclass(frozen=True, eq=False)
class Turn:
    """One observation, the response to it and what came of it.

    Attributes:
        observation: what the agent was shown.
        prompt_ids: int64 (P,), every token before the response, image placeholders included.
        response_ids: int64 (R,), the sampled tokens, the end token included where one was sampled.
        log_probs: float32 (R,), of `response_ids` under the policy and temperature that sampled them.
        text: the response as text, without special tokens.
        action: the response parsed by the environment, or None where it is not an action.
        valid: whether the response was an action.
        reward: what the environment gave for it.
        terminated: whether the episode ended in the environment's own terms; values are not bootstrapped past
            it.
        truncated: whether a limit cut the episode; values are bootstrapped past it.
        info: the environment's further facts, JSON only.
    """

    observation: Observation
    prompt_ids: NDArray[np.int64]
    response_ids: NDArray[np.int64]
    log_probs: NDArray[np.float32]
    text: str
    action: Json
    valid: bool
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One finished episode.

    Attributes:
        env: the environment's registered id, `kalie/<Name>-v0`.
        seed: the seed its `reset` was given.
        turns: at least one; only the last is terminated or truncated.
        final_observation: what the agent would have been shown next (bootstrapping a truncated episode needs
            it).
        reset_info: the facts that came with the first observation.
    """

    env: str
    seed: int
    turns: tuple[Turn, ...]
    final_observation: Observation
    reset_info: Mapping[str, Json] = field(default_factory=dict)

    @property
    def episode_return(self) -> float:
        """The sum of the rewards, undiscounted."""
        return float(sum(turn.reward for turn in self.turns))

    @property
    def success(self) -> bool:
        """Whether the environment called the episode a success (`info["success"]` of the last turn)."""
        return bool(self.turns[-1].info.get("success", False))
