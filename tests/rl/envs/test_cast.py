"""Every environment of our own has a floor, and a demonstrator that is its ceiling without errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kalie.rl.envs.cast import cast
from kalie.rl.envs.interactive_fiction import JerichoConfig
from kalie.rl.envs.manipulation_config import ManipulationConfig
from kalie.rl.envs.players import Player, play, play_many
from kalie.rl.envs.registry import ENVS, make_env
from kalie.rl.envs.rendered import RenderedConfig

RENDERED = {name for name, config in ENVS.items() if issubclass(config, RenderedConfig)}
OWN = sorted(set(ENVS) - {"jericho", "textworld", "alfworld", "manipulation"})


def mean_return(name: str, player: Player, episodes: int = 60) -> float:
    config: Any = ENVS[name]
    quick = config(rendering="symbolic") if name in RENDERED else config()
    played = play_many(make_env(quick), player, range(episodes))
    return float(np.mean([episode.episode_return for episode in played]))


@pytest.mark.parametrize("name", OWN)
def test_errors_lower_the_demonstrator_from_ceiling_toward_floor(name: str) -> None:
    players = cast(ENVS[name]())
    episodes = 400 if name == "blackjack" else 40
    floor = mean_return(name, players.floor, episodes)
    erring = mean_return(name, players.demonstrator(0.3, 0.5), episodes)
    ceiling = mean_return(name, players.demonstrator(0.0, 0.0), episodes)
    assert floor < ceiling
    assert floor - 1.0 < erring < ceiling


def test_the_arm_has_players_too() -> None:
    config = ManipulationConfig(task="drawer", tries=1, image_size=64)
    env, players = make_env(config), cast(config)
    assert play(env, players.demonstrator(0.0, 0.0), 3).success
    assert play(env, players.floor, 3).turns[0].valid
    env.close()


def test_when_an_environment_has_no_players_expect_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"kalie/Jericho-v0 has no players; give stored trajectories"):
        cast(JerichoConfig())
