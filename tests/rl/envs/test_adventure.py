"""The built-in adventure: its map, score and optimum; what any story environment does with text."""

from __future__ import annotations

import numpy as np
import pytest

from kalie.rl.envs.adventure import AdventureConfig, AdventureEnv, expert
from kalie.rl.envs.check import check_env
from kalie.rl.envs.manor import (
    DESCRIPTIONS,
    EXITS,
    MOST_POINTS,
    VARIANTS,
    commands,
    finished,
    obey,
    shortest,
    variant,
)
from kalie.rl.envs.players import mixed, play, play_many
from kalie.rl.envs.registry import make_env
from kalie.rl.envs.story import wanderer

BACK = {"north": "south", "south": "north", "east": "west", "west": "east", "up": "down", "down": "up"}


def test_it_keeps_the_contract() -> None:
    check_env(lambda: make_env(AdventureConfig(variants=120)), wanderer)


def test_every_way_leads_back() -> None:
    for room, exits in EXITS.items():
        for way, other in exits.items():
            assert EXITS[other][BACK[way]] == room
    assert EXITS.keys() == DESCRIPTIONS.keys()


def test_all_variants_differ() -> None:
    assert len({variant(number) for number in range(VARIANTS)}) == VARIANTS == 120
    with pytest.raises(ValueError, match="variant=120"):
        variant(120)


@pytest.mark.parametrize("number", [0, 1, 37, 119])
def test_the_shortest_way_earns_every_point(number: int) -> None:
    manor, points = variant(number), 0
    for command in shortest(manor):
        assert command in commands(manor)
        deed = obey(manor, command)
        manor, points = deed.after, points + deed.points
    assert finished(manor)
    assert points == MOST_POINTS == 100
    assert 20 <= len(shortest(variant(number))) <= 24


def test_points_are_given_once() -> None:
    manor = variant(0)
    for command in shortest(manor):
        manor = obey(manor, command).after
    earned = manor.earned
    deed = obey(obey(manor, "go east").after, "go down")
    assert deed.points == 0
    assert deed.after.earned == earned


def told(env: AdventureEnv, *responses: str) -> list[tuple[str, float]]:
    """Message and reward after each response."""
    steps = [env.step(response) for response in responses]
    return [(step[0].text.splitlines()[-2], step[1]) for step in steps]


def test_the_dark_and_the_lock_hold_without_lamp_and_key() -> None:
    env = AdventureEnv()
    env.reset(seed=0)
    assert told(env, "go east", "go down")[1] == ("It is pitch dark down there. You turn back.", 0.0)
    assert env.manor.room == "kitchen"


def test_the_same_world_comes_with_every_seed_unless_variants_are_wanted() -> None:
    env = AdventureEnv()
    worlds = {str(env.reset(seed=seed)[0].text) + str(env.world_state()) for seed in range(20)}
    assert len(worlds) == 1
    varied = AdventureEnv(AdventureConfig(variants=120))
    places = set()
    for seed in range(40):
        varied.reset(seed=seed)
        places.add(str(varied.world_state()))
    assert len(places) > 20


def test_when_the_command_is_not_listed_expect_nothing_to_happen() -> None:
    env = AdventureEnv()
    env.reset(seed=0)
    before = env.world_state()
    assert told(env, "go  west", "take crown", "go north; go east") == [("Nothing happens.", 0.0)] * 3
    assert env.world_state() == before
    assert env.step("  GO   north ")[4]["action"] == "go north"


def test_the_valid_actions_shown_are_the_ones_accepted() -> None:
    env = AdventureEnv()
    observation, _ = env.reset(seed=0)
    listed = observation.text.splitlines()[-1].removeprefix("Valid actions: ").split(", ")
    assert listed == list(env.commands())
    for command in listed:
        env.reset(seed=0)
        assert env.step(command)[4]["valid"] is True


def test_the_expert_reaches_the_ceiling_and_wanderers_do_not() -> None:
    env = make_env(AdventureConfig())
    best = play(env, expert, 0)
    assert (best.success, best.episode_return) == (True, 100.0)
    floor = [episode.episode_return for episode in play_many(env, wanderer, range(100))]
    half = [episode.episode_return for episode in play_many(env, mixed(expert, wanderer, 0.5), range(20))]
    assert np.mean(floor) < 40 < np.mean(half) < 100


def test_fifty_turns_truncate() -> None:
    env = AdventureEnv()
    env.reset(seed=0)
    ends = [env.step("dance")[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]
