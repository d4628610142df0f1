"""A small built-in text adventure with a score and a list of valid actions: long credit assignment.

The map is always the same; `variants` worlds differ in where the things lie, and the seed chooses one. The
score goes to 100; the game ends, won, when both treasures are in the case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...core.ranges import at_least, within
from ..types import Json
from .base import AgentEnv, EnvConfig
from .manor import CARRIED, DESCRIPTIONS, EXITS, VARIANTS, Manor, commands, finished, obey, shortest, variant
from .story import StoryEnv, Told


@dataclass(frozen=True)
class AdventureConfig(EnvConfig):
    """The built-in adventure.

    Attributes:
        variants: how many worlds there are, 1 (always the same) to 120.
        max_turns: of an episode.
    """

    env_id: ClassVar[str] = "kalie/Adventure-v0"
    variants: int = 1
    max_turns: int = 50

    def __post_init__(self) -> None:
        at_least(self, 1, "max_turns")
        within(self, 1, VARIANTS, "variants")


class AdventureEnv(StoryEnv):
    """`kalie/Adventure-v0`; `reset(options={"variant": n})` chooses a world."""

    def __init__(self, config: AdventureConfig | None = None) -> None:
        self.config = config or AdventureConfig()
        super().__init__(commands(variant(0)), self.config.max_turns)
        self.manor: Manor = variant(0)

    def restart(self, options: Mapping[str, Any]) -> str:
        """A fresh world of the seed's variant."""
        drawn = int(self.np_random.integers(self.config.variants))
        self.manor = variant(int(options.get("variant", drawn)))
        return "Bring the two treasures of the manor into the glass case."

    def look(self) -> str:
        """The room, its exits and things."""
        room = self.manor.room
        here = self.manor.at(room)
        exits = f"Exits: {', '.join(EXITS[room])}."
        return f"{DESCRIPTIONS[room]} {exits}" + (f" You see: {', '.join(here)}." if here else "")

    def inventory(self) -> str:
        """What is carried, and whether the lamp burns."""
        carried = [f"{t} (lit)" if t == "lamp" and self.manor.lit else t for t in self.manor.at(CARRIED)]
        return f"You carry: {', '.join(carried) or 'nothing'}."

    def commands(self) -> tuple[str, ...]:
        """Those that do something, or tell why they do not."""
        return commands(self.manor)

    def obey(self, command: str) -> Told:
        """Carry a command out; points are the reward."""
        deed = obey(self.manor, command)
        self.manor = deed.after
        won = finished(self.manor)
        return Told(deed.message, float(deed.points), over=won, won=won)

    def world_state(self) -> Json:
        """The whole world."""
        manor = self.manor
        state: dict[str, Json] = {"room": manor.room, "places": dict(manor.places), "lit": manor.lit}
        return {**state, "unlocked": manor.unlocked, "earned": sorted(manor.earned)}


def expert(env: AgentEnv, rng: np.random.Generator) -> str:
    """The ceiling: the first command of the shortest way to the end from here."""
    bare = env.unwrapped
    if not isinstance(bare, AdventureEnv):
        raise TypeError(f"expected an AdventureEnv, got {type(bare).__name__}")
    return shortest(bare.manor)[0]
