"""Whatever an agent writes is taken, changes nothing where it is no action, and leaves no memory behind."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalie.rl.envs.base import TurnEnv
from kalie.rl.envs.players import random_example
from kalie.rl.envs.registry import ENVS, make_env

LIGHT = sorted(set(ENVS) - {"jericho", "textworld", "alfworld", "manipulation"})
PIECES = st.sampled_from(
    [
        '{"action": "',
        '"}',
        "Is it ",
        "?",
        "search[",
        "click[",
        "]",
        "go ",
        "hit",
        "+",
        "10",
        "an animal",
        "\n",
        "{",
        "\x00",
    ]
)
TEXTS = st.text(max_size=60) | st.lists(PIECES, max_size=8).map("".join)


@cache
def environment(name: str) -> TurnEnv:
    config: Any = ENVS[name]
    env = make_env(config()).unwrapped
    assert isinstance(env, TurnEnv)
    return env


@pytest.mark.parametrize("name", LIGHT)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_any_text_is_an_action_or_changes_nothing(name: str, text: str) -> None:
    env = environment(name)
    env.reset(seed=1)
    before, drawn = env.world_state(), str(env.np_random.bit_generator.state)
    observation, _, _, _, info = env.step(text)
    json.dumps(info, allow_nan=False)
    observation.text.encode("utf-8")
    if info["valid"]:
        assert info["action"] is not None
    else:
        assert info["error"]
        assert env.world_state() == before
        assert str(env.np_random.bit_generator.state) == drawn


@pytest.mark.parametrize("name", ["number_line", "twenty_questions", "shop"])
def test_ten_thousand_episodes_leave_no_memory_behind(name: str) -> None:
    config: Any = ENVS[name]
    env = make_env(config(rendering="symbolic") if name == "number_line" else config())
    process = psutil.Process()

    def begin(count: int) -> None:
        for seed in range(count):
            env.reset(seed=seed)
            env.step(random_example(env, env.unwrapped.np_random))

    begin(500)
    before = process.memory_info().rss
    begin(10_000)
    assert process.memory_info().rss - before < 5 * 2**20
