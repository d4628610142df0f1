"""ALFWorld through its own package, where its data are present: household tasks in text.

The package (`pip install alfworld`) is imported when an environment is made; its games are downloaded by its
own `alfworld-download`, into the folder that `ALFWORLD_DATA` names. The prompt is the scene, the task and the
admissible commands; the answer is a JSON object with a whole command ("go to shelf 1" is not "go to shelf
10"). Reward per turn (RL4VLM): 50 for winning, plus the share of the goal's conditions that hold where the
game tells it (the text games do not), minus 1 for a response that is no admissible command.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from ...core.loggers import require
from ...core.ranges import at_least
from ..types import Json, Observation
from .answers import read_action, write_answer
from .base import AgentEnv, EnvConfig, EnvironmentFailure, Outcome, TurnEnv

WON, ILLEGAL = 50.0, -1.0
AlfworldSplit = Literal["train", "eval_in_distribution", "eval_out_of_distribution"]
# ALFWorld's names of the folders below its data.
FOLDERS: Mapping[AlfworldSplit, str] = {
    "train": "train",
    "eval_in_distribution": "valid_seen",
    "eval_out_of_distribution": "valid_unseen",
}
TaskType = Literal["pick", "look", "clean", "heat", "cool", "pick_two"]
# How ALFWorld's folders of a task type begin.
PREFIXES: Mapping[TaskType, str] = {
    "pick": "pick_and_place_simple",
    "look": "look_at_obj_in_light",
    "clean": "pick_clean_then_place_in_recep",
    "heat": "pick_heat_then_place_in_recep",
    "cool": "pick_cool_then_place_in_recep",
    "pick_two": "pick_two_obj_and_place",
}
GAME_FILE = "game.tw-pddl"


@dataclass(frozen=True)
class AlfworldConfig(EnvConfig):
    """ALFWorld's text games.

    Attributes:
        data: the folder that `alfworld-download` filled; the variable ALFWORLD_DATA when null.
        split: of its games.
        task_types: which of the six.
        max_turns: of an episode.
        thoughts: whether the answer is asked for thoughts before its action.
    """

    env_id: ClassVar[str] = "kalie/ALFWorld-v0"
    data: Path | None = None
    split: AlfworldSplit = "train"
    task_types: tuple[TaskType, ...] = get_args(TaskType)
    max_turns: int = 50
    thoughts: bool = True

    def __post_init__(self) -> None:
        at_least(self, 1, "max_turns")
        if not self.task_types:
            raise ValueError("task_types=[] must name one or more")


class MissingData(FileNotFoundError):
    """ALFWorld's games are not there; the message says how to get them."""


def game_files(config: AlfworldConfig) -> tuple[Path, ...]:
    """The games of a config, in a fixed order.

    Raises:
        MissingData: there are none.
    """
    named = config.data or os.environ.get("ALFWORLD_DATA")
    remedy = "run alfworld-download, then set ALFWORLD_DATA or env.data to the folder that it filled"
    if not named:
        raise MissingData(f"ALFWorld's games: no folder is named; {remedy}")
    folder = Path(named) / "json_2.1.1" / FOLDERS[config.split]
    prefixes = tuple(f"{PREFIXES[name]}-" for name in config.task_types)
    games = _games_below(folder, prefixes)
    if not games:
        raise MissingData(f"ALFWorld's games: none of {', '.join(config.task_types)} in {folder}; {remedy}")
    return games


@lru_cache(maxsize=8)
def _games_below(folder: Path, prefixes: tuple[str, ...]) -> tuple[Path, ...]:
    """Read once for all environments of a process: there are thousands."""
    found = (path for path in folder.glob(f"*/*/{GAME_FILE}") if path.parts[-3].startswith(prefixes))
    return tuple(sorted(path for path in found if _can_be_solved(path)))


def _can_be_solved(path: Path) -> bool:
    """ALFWorld marks the games that its expert solved; it moves no movable receptacles and slices nothing."""
    if "movable" in str(path) or "Sliced" in str(path):
        return False
    return bool(json.loads(path.read_text("utf-8")).get("solvable", False))


class AlfworldEnv(TurnEnv):
    """`kalie/ALFWorld-v0`."""

    invalid_rule = "nothing is sent to the game, reward -1; the turn counts"

    def __init__(self, config: AlfworldConfig | None = None) -> None:
        self.config = config or AlfworldConfig()
        super().__init__((write_answer("look"), write_answer("inventory")), self.config.max_turns)
        require("alfworld")
        self._textworld = require("textworld")
        self._alfworld = import_module("alfworld.agents.environment.alfred_tw_env")
        self._games = game_files(self.config)
        self._player: Any = None
        self._state: Any = None
        self._opening = self._feedback = ""

    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        """Load the seed's game."""
        game = self._games[int(self.np_random.integers(len(self._games)))]
        self.close()
        infos = self._textworld.EnvInfos(won=True, admissible_commands=True)
        # The demangler turns the simulator's ids into names such as "shelf 1".
        wrappers = [self._alfworld.AlfredDemangler(shuffle=False)]
        self._player = self._textworld.start(str(game), request_infos=infos, wrappers=wrappers)
        self._state = self._player.reset()
        self._opening, self._feedback = str(self._state.feedback), ""
        return {"game": "/".join(game.parts[-3:-1])}

    def commands(self) -> tuple[str, ...]:
        """The admissible commands, without ALFWorld's own "help"."""
        found = self._state.admissible_commands
        if found is None:
            raise EnvironmentFailure("ALFWorld: the game lists no admissible commands")
        return tuple(str(command) for command in found if command != "help")

    def observe(self) -> Observation:
        """Scene and task, the last answer of the game, the admissible commands, the form of the answer."""
        thoughts = '"thoughts": "your reasoning", ' if self.config.thoughts else ""
        listed = "\n".join(self.commands())
        parts = (
            "You act in a household. " + self._opening.strip(),
            self._feedback.strip(),
            f"Admissible actions:\n{listed}",
            f'Answer with one JSON object: {{{thoughts}"action": "one of the admissible actions"}}',
        )
        return Observation("\n".join(part for part in parts if part))

    def read(self, response: str) -> Json:
        """A whole admissible command, in the `action` of the one JSON object."""
        return read_action(response, self.commands())

    def act(self, action: Json, response: str) -> Outcome:
        """Send the command."""
        self._state, _, done = self._player.step(str(action))
        self._feedback = str(self._state.feedback)
        won = bool(self._state.won)
        return Outcome(WON * won + self._progress(), terminated=won or bool(done), success=won)

    def refuse(self, response: str, error: str) -> Outcome:
        """Nothing is sent."""
        self._feedback = "That is no admissible action."
        return Outcome(ILLEGAL + self._progress())

    def _progress(self) -> float:
        """The share of the goal's conditions that hold, 0 where the game does not tell."""
        return float(self._state.get("goal_condition_success_rate") or 0.0)

    def world_state(self) -> Json:
        """What can be done, which tells where one is and what one holds, and whether the task is done."""
        return {"commands": sorted(self.commands()), "won": bool(self._state.won)}

    def close(self) -> None:
        """Free the game."""
        if self._player is not None:
            self._player.close()
            self._player = None


def wanderer(env: AgentEnv, rng: np.random.Generator) -> str:
    """The floor: one of the admissible commands, uniformly."""
    bare = env.unwrapped
    if not isinstance(bare, AlfworldEnv):
        raise TypeError(f"expected an AlfworldEnv, got {type(bare).__name__}")
    commands = bare.commands()
    return write_answer(commands[int(rng.integers(len(commands)))])
