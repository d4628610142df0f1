"""Floors and ceilings: every environment has both, in order, and played values agree with exact ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kalie
from kalie.rl.envs.check import Limits, check_env
from kalie.rl.envs.levels import Entry, Level, exact_levels, light_tables, played_levels
from kalie.rl.envs.players import best_share, play, play_many, random_example
from kalie.rl.envs.registry import ENVS, make_env

PAGE = (Path(kalie.__file__).parent / "docs" / "environments.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
TABLES = light_tables()
EXACT = list(exact_levels())


@pytest.fixture(scope="module")
def played() -> list[Level]:
    return [
        level
        for name, (config, entries) in TABLES.items()
        for level in played_levels(name, config, entries, 60)
    ]


def values(levels: list[Level], env: str, metric: str) -> dict[str, list[float]]:
    """Values of one metric by role."""
    found: dict[str, list[float]] = {}
    for level in levels:
        if (level.env, level.metric) == (env, metric):
            found.setdefault(level.role, []).append(level.value)
    return found


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_light_environment_has_floor_and_ceiling_in_order(name: str, played: list[Level]) -> None:
    found = values(played + EXACT, name, "return")
    assert max(found["floor"]) < min(found["ceiling"])
    for value in found.get("between", []):
        assert min(found["floor"]) < value < max(found["ceiling"]) + 0.3


def test_exact_levels_have_no_interval_and_played_ones_do(played: list[Level]) -> None:
    assert all(level.low is None and level.n is None for level in EXACT)
    assert all(level.low is not None and level.n == 60 for level in played)


def test_played_means_agree_with_exact_ones(played: list[Level]) -> None:
    exact = {(level.env, level.player, level.metric): level.value for level in EXACT}
    shared = [level for level in played if (level.env, level.player, level.metric) in exact]
    assert len(shared) >= 4
    for level in shared:
        assert level.low is not None
        assert level.high is not None
        room = 0.5 * (level.high - level.low) + 1e-9
        wanted = exact[level.env, level.player, level.metric]
        assert level.low - room <= wanted <= level.high + room


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_player_of_the_tables_keeps_the_contract(name: str) -> None:
    config, entries = TABLES[name]
    for entry in entries:
        check_env(lambda: make_env(config), entry.policy, Limits(seeds=(0,)))


def test_levels_tell_each_player_before_it_plays() -> None:
    told: list[str] = []
    config, _ = TABLES["blackjack"]
    entries = [Entry("one", "floor", random_example), Entry("two", "floor", random_example)]
    levels = list(played_levels("blackjack", config, entries, 3, told.append))
    assert told == ["one", "two"]
    assert [level.metric for level in levels] == ["success", "return"] * 2


def test_an_episode_is_a_matter_of_its_seed() -> None:
    env = make_env(TABLES["blackjack"][0])
    first, again = play(env, random_example, 5), play(env, random_example, 5)
    assert [turn.response for turn in first.turns] == [turn.response for turn in again.turns]
    assert first.episode_return == again.episode_return
    different = {tuple(turn.response for turn in e.turns) for e in play_many(env, random_example, range(20))}
    assert len(different) > 3


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_when_a_share_is_none_expect_an_error_that_names_it(share: float) -> None:
    episodes = play_many(make_env(TABLES["blackjack"][0]), random_example, range(3))
    with pytest.raises(ValueError, match="share="):
        best_share(episodes, share)


def test_the_page_lists_every_environment() -> None:
    rows = dict(re.findall(r"^\| `(kalie/\w+-v0)` \| `(\w+)` \|", PAGE, flags=re.MULTILINE))
    assert rows == {config.env_id: name for name, config in ENVS.items()}


@pytest.mark.parametrize(
    ("code", "last"),
    list(zip(EXAMPLES, ("1.0 True + True", "GuessEnv keeps the contract"), strict=True)),
)
def test_the_python_examples_of_the_page_run(
    code: str, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(compile(code, "docs/environments.md", "exec"), {"__name__": "example"})  # noqa: S102
    assert capsys.readouterr().out.splitlines()[-1] == last
