"""Floors and ceilings: what players without a model reach in every environment, exactly or played.

A trained agent's number means nothing without the ones beside it; these stand on every table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Literal, NamedTuple, TypeAlias

from ...core.stats import bootstrap_mean, wilson
from .adventure import AdventureConfig
from .adventure import expert as adventurer
from .base import EnvConfig
from .blackjack import BlackjackConfig, hit_below_17, stand
from .blackjack_values import below_17_policy, best_policy, random_policy, stand_policy
from .blackjack_values import levels as blackjack_levels
from .guess_my_city import GuessMyCityConfig, GuessMyCityEnv
from .guessing import expert as perfect_asker
from .guessing import mediocre, optimum
from .number_line import NumberLineConfig, random_levels
from .number_line import demonstrator as line_demonstrator
from .number_line import expert as line_expert
from .players import PlayedEpisode, Player, mixed, play_many, random_example
from .points import EZPointsConfig, Points24Config
from .points import demonstrator as points_demonstrator
from .points import expert as points_expert
from .points_levels import ez_random_levels, points24_optimum
from .registry import make_env
from .shop import ShopConfig, hasty, window_shopper
from .shop import expert as shopper
from .story import wanderer
from .twenty_questions import TwentyQuestionsConfig, TwentyQuestionsEnv

Role: TypeAlias = Literal["floor", "between", "ceiling"]
Metric: TypeAlias = Literal["success", "return"]
# Errors of a warm start: shares of answers with something misread, and with a wrong decision.
MISREAD, MISJUDGE = 0.2, 0.1


@dataclass(frozen=True)
class Level:
    """What one player reaches in one environment.

    Attributes:
        env: choice of the config group `env`, with what differs from its default.
        player: in words.
        role: floor, ceiling, or a yardstick between them.
        metric: share of successful episodes, or mean return.
        value: of the metric.
        low: of its 95 % interval; None where the value is exact.
        high: of it; None where the value is exact.
        n: episodes played; None where the value is exact.
    """

    env: str
    player: str
    role: Role
    metric: Metric
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Entry(NamedTuple):
    """A player to be played."""

    player: str
    role: Role
    policy: Player


def exact_levels() -> Iterator[Level]:
    """Every level that is computed and not played."""
    for most in (5, 9):
        name = "number_line" if most == 5 else f"number_line max_position={most}"
        yield from _exact(name, "random", "floor", *random_levels(most))
        yield from _exact(name, "perfect", "ceiling", 1.0, 1.0)
    yield from _exact("ez_points", "random", "floor", *ez_random_levels())
    yield from _exact("ez_points", "perfect", "ceiling", 1.0, 10.0)
    yield from _exact("points24", "perfect", "ceiling", *points24_optimum())
    yield from _exact("blackjack", "random", "floor", *blackjack_levels(random_policy))
    yield from _exact("blackjack", "always stand", "floor", *blackjack_levels(stand_policy))
    yield from _exact("blackjack", "hit below 17", "between", *blackjack_levels(below_17_policy))
    for objective, words in (("win", "most wins"), ("mean", "highest mean")):
        policy = best_policy("win" if objective == "win" else "mean")
        yield from _exact("blackjack", f"perfect ({words})", "ceiling", *blackjack_levels(policy))
    asked = optimum(TwentyQuestionsEnv, TwentyQuestionsConfig()).mean_return
    yield Level("twenty_questions", "perfect", "ceiling", "return", asked)
    asked = optimum(GuessMyCityEnv, GuessMyCityConfig()).mean_return
    yield Level("guess_my_city", "perfect", "ceiling", "return", asked)


def _exact(env: str, player: str, role: Role, success: float, mean_return: float) -> Iterator[Level]:
    yield Level(env, player, role, "success", success)
    yield Level(env, player, role, "return", mean_return)


def light_tables() -> Mapping[str, tuple[EnvConfig, Sequence[Entry]]]:
    """Players of the environments that need no simulator, by environment."""
    clumsy = f"demonstrator, {MISREAD:.0%} misread, {MISJUDGE:.0%} misjudged"
    random = Entry("random", "floor", random_example)
    asking = (random, Entry("mediocre", "between", mediocre()), Entry("perfect", "ceiling", perfect_asker))
    return {
        "number_line": (
            NumberLineConfig(rendering="symbolic"),
            (
                Entry(clumsy, "between", line_demonstrator(MISREAD, MISJUDGE)),
                Entry("demonstrator", "ceiling", line_expert),
            ),
        ),
        "ez_points": (
            EZPointsConfig(rendering="symbolic"),
            (
                Entry(clumsy, "between", points_demonstrator(MISREAD, MISJUDGE)),
                Entry("demonstrator", "ceiling", points_expert),
            ),
        ),
        "points24": (
            Points24Config(rendering="symbolic"),
            (
                random,
                Entry(clumsy, "between", points_demonstrator(MISREAD, MISJUDGE)),
                Entry("demonstrator", "ceiling", points_expert),
            ),
        ),
        "blackjack": (
            BlackjackConfig(rendering="symbolic"),
            (Entry("always stand", "floor", stand), Entry("hit below 17", "between", hit_below_17)),
        ),
        "twenty_questions": (TwentyQuestionsConfig(), asking),
        "guess_my_city": (GuessMyCityConfig(), asking),
        "adventure": (
            AdventureConfig(),
            (
                Entry("random valid", "floor", wanderer),
                Entry("half random valid", "between", mixed(adventurer, wanderer, 0.5)),
                Entry("shortest way", "ceiling", adventurer),
            ),
        ),
        "shop": (
            ShopConfig(),
            (
                Entry("right search, random clicks", "floor", window_shopper),
                Entry("first result, no options", "between", hasty),
                Entry("perfect", "ceiling", shopper),
            ),
        ),
    }


def arm_table() -> Sequence[Entry]:
    """Players of the arm; importing them brings the simulator along."""
    arm = import_module(f"{__package__}.manipulation")
    return (
        Entry("random points", "floor", arm.random_points),
        Entry("true points, clicked within 4 px", "between", arm.demonstrator(pixels=4.0, yaw=0.1)),
        Entry("true points", "ceiling", arm.oracle),
    )


def played_levels(
    name: str,
    config: EnvConfig,
    entries: Sequence[Entry],
    episodes: int,
    progress: Callable[[str], None] | None = None,
) -> Iterator[Level]:
    """Play every entry on the same seeds, 0 to `episodes` - 1.

    Args:
        name: of the environment on the table.
        config: of it.
        entries: who plays.
        episodes: of each.
        progress: called with each player's name before it plays.
    """
    env = make_env(config)
    for entry in entries:
        if progress is not None:
            progress(entry.player)
        yield from _summed(name, entry, play_many(env, entry.policy, range(episodes)))
    env.close()


def _summed(name: str, entry: Entry, played: Sequence[PlayedEpisode]) -> Iterator[Level]:
    success = wilson(sum(episode.success for episode in played), len(played))
    mean = bootstrap_mean([episode.episode_return for episode in played], resamples=2000)
    yield Level(name, entry.player, entry.role, "success", *success)
    yield Level(name, entry.player, entry.role, "return", *mean)
