"""Which environments there are: their configs (the Hydra group `env`), their ids, how they are made.

    make_env(NumberLineConfig(max_position=9))
    gymnasium.make("kalie/NumberLine-v0", config=NumberLineConfig(max_position=9))     # the same

Nothing heavy is imported before an environment is made.
"""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium

from .adventure import AdventureConfig
from .alfworld import AlfworldConfig
from .base import AgentEnv, EnvConfig
from .blackjack import BlackjackConfig
from .guess_my_city import GuessMyCityConfig
from .interactive_fiction import JerichoConfig, TextWorldConfig
from .manipulation_config import ManipulationConfig
from .number_line import NumberLineConfig
from .points import EZPointsConfig, Points24Config
from .shop import ShopConfig
from .twenty_questions import TwentyQuestionsConfig

ENVS: Mapping[str, type[EnvConfig]] = {
    "number_line": NumberLineConfig,
    "ez_points": EZPointsConfig,
    "points24": Points24Config,
    "blackjack": BlackjackConfig,
    "twenty_questions": TwentyQuestionsConfig,
    "guess_my_city": GuessMyCityConfig,
    "adventure": AdventureConfig,
    "jericho": JerichoConfig,
    "textworld": TextWorldConfig,
    "shop": ShopConfig,
    "manipulation": ManipulationConfig,
    "alfworld": AlfworldConfig,
}
"""The choices of the config group `env`."""

ENTRY_POINTS: Mapping[str, str] = {
    "number_line": "number_line:NumberLineEnv",
    "ez_points": "points:EZPointsEnv",
    "points24": "points:Points24Env",
    "blackjack": "blackjack:BlackjackEnv",
    "twenty_questions": "twenty_questions:TwentyQuestionsEnv",
    "guess_my_city": "guess_my_city:GuessMyCityEnv",
    "adventure": "adventure:AdventureEnv",
    "jericho": "interactive_fiction:JerichoEnv",
    "textworld": "interactive_fiction:TextWorldEnv",
    "shop": "shop:ShopEnv",
    "manipulation": "manipulation:ManipulationEnv",
    "alfworld": "alfworld:AlfworldEnv",
}


def register_envs() -> None:
    """Register every environment as `kalie/<Name>-v0`; calling it again changes nothing."""
    for name, config in ENVS.items():
        if config.env_id not in gymnasium.registry:
            # Gymnasium's own checker knows neither text actions nor these observations: check.py does.
            gymnasium.register(
                config.env_id, entry_point=f"{__package__}.{ENTRY_POINTS[name]}", disable_env_checker=True
            )


def make_env(config: EnvConfig) -> AgentEnv:
    """The environment of a config."""
    register_envs()
    return gymnasium.make(config.env_id, config=config)
