"""Players: whatever answers an environment without a model. Floors, ceilings and demonstrators are players.

    player(env, rng) -> response

A player may look at the environment's own state (`env.unwrapped`), which no policy may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ..types import Json, Observation
from .base import AgentEnv

Player: TypeAlias = Callable[[AgentEnv, np.random.Generator], str]
# Beyond any environment's own limit; an episode that gets here does not end.
ENDLESS = 10_000


@dataclass(frozen=True, eq=False)
class PlayedTurn:
    """One turn of a played episode: what was shown, what was answered, what came of it."""

    observation: Observation
    response: str
    reward: float
    valid: bool
    action: Json


@dataclass(frozen=True, eq=False)
class PlayedEpisode:
    """One played episode; `turns` in order."""

    seed: int
    turns: tuple[PlayedTurn, ...]
    success: bool

    @property
    def episode_return(self) -> float:
        """The sum of the rewards, undiscounted."""
        return float(sum(turn.reward for turn in self.turns))


def play(env: AgentEnv, player: Player, seed: int) -> PlayedEpisode:
    """Play the episode of a seed to its end; the player's own draws come from the same seed.

    Raises:
        RuntimeError: the episode does not end.
    """
    # Another stream than the environment's: it seeds its generator with the same number.
    rng = np.random.default_rng([seed, 1])
    observation, _ = env.reset(seed=seed)
    turns: list[PlayedTurn] = []
    while len(turns) < ENDLESS:
        response = player(env, rng)
        after, reward, terminated, truncated, info = env.step(response)
        turns.append(PlayedTurn(observation, response, float(reward), bool(info["valid"]), info["action"]))
        observation = after
        if terminated or truncated:
            return PlayedEpisode(seed, tuple(turns), bool(info["success"]))
    raise RuntimeError(f"step: the episode of seed {seed} has not ended after {ENDLESS} turns")


def play_many(env: AgentEnv, player: Player, seeds: Iterable[int]) -> list[PlayedEpisode]:
    """One episode of each seed."""
    return [play(env, player, seed) for seed in seeds]


def best_share(episodes: Sequence[PlayedEpisode], share: float) -> list[PlayedEpisode]:
    """The episodes whose return reaches the (1 - share) quantile: what filtered cloning learns from.

    Args:
        episodes: in any order, which is kept.
        share: in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share} must lie in (0, 1]")
    bar = float(np.quantile([episode.episode_return for episode in episodes], 1 - share))
    return [episode for episode in episodes if episode.episode_return >= bar]


def random_example(env: AgentEnv, rng: np.random.Generator) -> str:
    """The floor: one of the environment's example responses, uniformly."""
    # Gymnasium's wrappers hide nothing here: the action space is the environment's own `TextSpace`.
    examples: tuple[str, ...] = env.action_space.examples  # pyright: ignore[reportAttributeAccessIssue]
    return examples[int(rng.integers(len(examples)))]


def mixed(first: Player, second: Player, share: float) -> Player:
    """A player that answers as `second` in a share of its turns, and as `first` in the others."""

    def respond(env: AgentEnv, rng: np.random.Generator) -> str:
        return second(env, rng) if rng.random() < share else first(env, rng)

    return respond
