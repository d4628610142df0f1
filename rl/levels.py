"""Floors and ceilings: what a random player and a scripted expert reach in the episodes of an agent."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ..core.stats import Interval, bootstrap_mean, wilson
from .envs.base import EnvConfig
from .envs.cast import cast
from .envs.players import PlayedEpisode, Player, play_many, random_example
from .envs.registry import make_env
from .rollout import Finished


def reference_episodes(config: EnvConfig, finished: Sequence[Finished]) -> dict[str, dict[str, Interval]]:
    """Figures of the random player and, where there is one, the expert, by "random" and "expert".

    Args:
        config: of the environment.
        finished: whose seeds are played.
    """
    players: dict[str, Player] = {"random": random_example}
    # An environment without scripted players has only a floor.
    with contextlib.suppress(ValueError):
        floor, demonstrator = cast(config)
        players = {"random": floor, "expert": demonstrator(0.0, 0.0)}
    env = make_env(config)
    seeds = [item.trajectory.seed for item in finished]
    figures = {name: _figures(play_many(env, player, seeds)) for name, player in players.items()}
    env.close()
    return figures


def _figures(played: Sequence[PlayedEpisode]) -> dict[str, Interval]:
    return {
        "success": wilson(sum(episode.success for episode in played), len(played)),
        "return": bootstrap_mean([episode.episode_return for episode in played]),
    }
