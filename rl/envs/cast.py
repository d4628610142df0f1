"""Who plays an environment without a model: a floor, and a demonstrator that errs as much as is wanted."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple, TypeAlias

from . import adventure, blackjack, guessing, number_line, points, shop
from .base import EnvConfig
from .guessing import GuessingConfig
from .manipulation_config import ManipulationConfig
from .players import Player, mixed, random_example
from .points import PointsConfig
from .story import wanderer

Demonstrator: TypeAlias = Callable[[float, float], Player]
"""Makes a player from two shares: of answers that misread something, and of answers that decide wrong.

With (0, 0) it is the environment's ceiling. Where there is nothing to misread, the first share does nothing.
"""
# A click that misreads: this far off at an image side of 256, for a share of 1.
CLICK_PIXELS = 16.0


class Cast(NamedTuple):
    """The players of an environment.

    Attributes:
        floor: knows what can be answered, not what should be.
        demonstrator: of a warm start, see `Demonstrator`.
    """

    floor: Player
    demonstrator: Demonstrator


def cast(config: EnvConfig) -> Cast:
    """The players of a config's environment.

    Raises:
        ValueError: it has none.
    """
    if isinstance(config, number_line.NumberLineConfig):
        return Cast(random_example, number_line.demonstrator)
    if isinstance(config, PointsConfig):
        return Cast(random_example, points.demonstrator)
    if isinstance(config, blackjack.BlackjackConfig):
        return Cast(random_example, blackjack.demonstrator)
    if isinstance(config, GuessingConfig):
        return Cast(random_example, _asker)
    if isinstance(config, adventure.AdventureConfig):
        return Cast(wanderer, lambda _, misjudge: mixed(adventure.expert, wanderer, misjudge))
    if isinstance(config, shop.ShopConfig):
        return Cast(shop.window_shopper, lambda _, misjudge: mixed(shop.expert, shop.hasty, misjudge))
    if isinstance(config, ManipulationConfig):
        return _arm()
    raise ValueError(f"{config.env_id} has no players; give stored trajectories instead")


def _asker(misread: float, misjudge: float) -> Player:
    """Perfect play, or a mediocre asker that is careless in a share of its turns."""
    return guessing.mediocre(misjudge) if misjudge else guessing.expert


def _arm() -> Cast:
    # It brings the simulator along.
    arm = import_module(f"{__package__}.manipulation")
    return Cast(
        arm.random_points,
        lambda misread, misjudge: mixed(
            arm.demonstrator(pixels=CLICK_PIXELS * misread), arm.random_points, misjudge
        ),
    )
