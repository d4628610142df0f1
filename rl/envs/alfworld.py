"""ALFWorld through its own package, where its data are present: household tasks in text.

The package (`pip install alfworld`) is imported when an environment is made; its games are downloaded by
its own `alfworld-download`, into the folder that `ALFWORLD_DATA` names. The prompt is the scene, the task
and the admissible commands; the answer is a JSON object with a whole command ("go to shelf 1" is not "go to
shelf 10"). Reward per turn (RL4VLM): 50 for winning, plus the share of the goal's conditions that hold,
minus 1 for a response that is no admissible command.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from ...core.ranges import at_least
from ..types import Json, Observation
from .answers import read_action, write_answer
from .base import AgentEnv, EnvConfig, EnvironmentFailure, Outcome, TurnEnv
from .interactive_fiction import needed

INSTALL = "pip install alfworld"
WON, ILLEGAL = 50.0, -1.0
AlfworldSplit = Literal["train", "eval_in_distribution", "eval_out_of_distribution"]
# ALFWorld's names of the folders below its data.
FOLDERS: Mapping[AlfworldSplit, str] = {
    "train": "train",
    "eval_in_distribution": "valid_seen",
    "eval_out_of_distribution": "valid_unseen",
}
TaskType = Literal["pick", "look", "clean", "heat", "cool", "pick_two"]
# ALFWorld numbers its task types.
TASK_TYPES: Mapping[TaskType, int] = {name: i for i, name in enumerate(get_args(TaskType), start=1)}


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


def data_folder(config: AlfworldConfig) -> Path:
    """Where the games are.

    Raises:
        MissingData: nowhere.
    """
    named = config.data or os.environ.get("ALFWORLD_DATA")
    help_text = "run alfworld-download, then set ALFWORLD_DATA or env.data to the folder that it filled"
    if not named:
        raise MissingData(f"ALFWorld's games: no folder is named; {help_text}")
    games = Path(named) / "json_2.1.1" / FOLDERS[config.split]
    if not games.is_dir():
        raise MissingData(f"ALFWorld's games: {games} is no folder; {help_text}")
    return Path(named)


def settings(config: AlfworldConfig, data: Path) -> dict[str, Any]:
    """What ALFWorld's own text environment is configured with."""
    root = data / "json_2.1.1"
    return {
        "dataset": {
            "data_path": str(root / "train"),
            "eval_id_data_path": str(root / "valid_seen"),
            "eval_ood_data_path": str(root / "valid_unseen"),
            "num_train_games": -1,
            "num_eval_games": -1,
        },
        "logic": {
            "domain": str(data / "logic" / "alfred.pddl"),
            "grammar": str(data / "logic" / "alfred.twl2"),
        },
        "env": {
            "type": "AlfredTWEnv",
            "domain_randomization": False,
            "task_types": [TASK_TYPES[name] for name in config.task_types],
            "expert_timeout_steps": 150,
            "expert_type": "handcoded",
            "goal_desc_human_anns_prob": 0.0,
        },
        "general": {"training_method": "dagger"},
        "dagger": {"training": {"max_nb_steps_per_episode": config.max_turns}},
    }


class AlfworldEnv(TurnEnv):
    """`kalie/ALFWorld-v0`."""

    invalid_rule = "nothing is sent to the game, reward -1; the turn counts"

    def __init__(self, config: AlfworldConfig | None = None) -> None:
        self.config = config or AlfworldConfig()
        super().__init__((write_answer("look"), write_answer("inventory")), self.config.max_turns)
        module = needed("alfworld.agents.environment", INSTALL)
        data = data_folder(self.config)
        maker = module.get_environment("AlfredTWEnv")(
            settings(self.config, data), train_eval=self.config.split
        )
        self._game: Any = maker.init_env(batch_size=1)
        self._text = self._feedback = ""
        self._infos: Mapping[str, Any] = {}

    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        """Load the seed's game."""
        self._game.seed(int(self.np_random.integers(2**31)))
        texts, infos = self._game.reset()
        self._text, self._infos = str(texts[0]), infos
        self._feedback = ""
        return {"game": str(self._fact("extra.gamefile"))}

    def _fact(self, name: str) -> Any:  # noqa: ANN401  whatever ALFWorld reports
        if name not in self._infos:
            raise EnvironmentFailure(f"ALFWorld: its info lacks {name!r}")
        return self._infos[name][0]

    def commands(self) -> tuple[str, ...]:
        """The admissible commands, without ALFWorld's own "help"."""
        found = (str(command) for command in self._fact("admissible_commands"))
        return tuple(command for command in found if command != "help")

    def observe(self) -> Observation:
        """Scene and task, the last answer of the game, the admissible commands, the form of the answer."""
        thoughts = '"thoughts": "your reasoning", ' if self.config.thoughts else ""
        listed = "\n".join(self.commands())
        parts = (
            "You act in a household. " + self._text.strip(),
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
        texts, _, dones, infos = self._game.step([str(action)])
        self._feedback, self._infos = str(texts[0]), infos
        won = bool(self._fact("won"))
        over = won or (bool(dones[0]) and self.turns < self.max_turns)
        return Outcome(self._progress() + WON * won, terminated=over, success=won)

    def refuse(self, response: str, error: str) -> Outcome:
        """Nothing is sent."""
        self._feedback = "That is no admissible action."
        return Outcome(self._progress() + ILLEGAL)

    def _progress(self) -> float:
        """The share of the goal's conditions that hold, 0 where this version of ALFWorld does not tell."""
        shares = self._infos.get("goal_condition_success_rate")
        return 0.0 if shares is None else float(shares[0])

    def world_state(self) -> Json:
        """What the game last said and what can be done."""
        return {"commands": sorted(self.commands()), "won": bool(self._fact("won"))}

    def close(self) -> None:
        """Free the game."""
        self._game.close()


def wanderer(env: AgentEnv, rng: np.random.Generator) -> str:
    """The floor: one of the admissible commands, uniformly."""
    bare = env.unwrapped
    if not isinstance(bare, AlfworldEnv):
        raise TypeError(f"expected an AlfworldEnv, got {type(bare).__name__}")
    commands = bare.commands()
    return write_answer(commands[int(rng.integers(len(commands)))])
