"""Adapters for `jericho` (Z-machine games) and `textworld` (generated games), where they are installed.

Both send a game only commands that it lists as valid; other text is answered "Nothing happens.". The
packages are imported when an environment is made. Games are not part of either package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...core.loggers import require
from ...core.ranges import at_least
from ..types import Json
from .base import EnvConfig, EnvironmentFailure
from .story import StoryEnv, Told


@dataclass(frozen=True)
class GameFilesConfig(EnvConfig):
    """Games from files.

    Attributes:
        games: the files; the seed chooses one of them.
        max_turns: of an episode.
    """

    games: tuple[Path, ...] = ()
    max_turns: int = 50

    def __post_init__(self) -> None:
        at_least(self, 1, "max_turns")

    def checked_games(self) -> tuple[Path, ...]:
        """The files, which must be named and be there."""
        if not self.games:
            raise ValueError("games=[] must name one or more game files, e.g. env.games=[detective.z5]")
        for game in self.games:
            if not game.is_file():
                raise FileNotFoundError(f"games: {game} is no file")
        return self.games


@dataclass(frozen=True)
class JerichoConfig(GameFilesConfig):
    """Z-machine games (.z3 to .z8) through Jericho."""

    env_id: ClassVar[str] = "kalie/Jericho-v0"


@dataclass(frozen=True)
class TextWorldConfig(GameFilesConfig):
    """Games (.z8, .ulx) that TextWorld made."""

    env_id: ClassVar[str] = "kalie/TextWorld-v0"


class GameFileEnv(StoryEnv):
    """A story whose game is a file."""

    def __init__(self, config: GameFilesConfig) -> None:
        self.config = config
        self._games = config.checked_games()
        super().__init__(("look", "inventory"), config.max_turns)
        self._game: Path | None = None

    def _draw(self) -> Path:
        return self._games[int(self.np_random.integers(len(self._games)))]


class JerichoEnv(GameFileEnv):
    """`kalie/Jericho-v0`."""

    def __init__(self, config: JerichoConfig | None = None) -> None:
        self._jericho = require("jericho")
        super().__init__(config or JerichoConfig())
        self._frotz: Any = None

    def restart(self, options: Mapping[str, Any]) -> str:
        """Load the seed's game, its own random numbers fixed."""
        game = self._draw()
        if self._frotz is None or game != self._game:
            self.close()
            self._frotz, self._game = self._jericho.FrotzEnv(str(game), seed=0), game
        self._frotz.seed(0)
        opening, _ = self._frotz.reset()
        return str(opening)

    def look(self) -> str:
        """What `look` says; the game is put back as it was."""
        return self._aside("look")

    def inventory(self) -> str:
        """What `inventory` says; the game is put back as it was."""
        return self._aside("inventory")

    def _aside(self, command: str) -> str:
        state = self._frotz.get_state()
        text, *_ = self._frotz.step(command)
        self._frotz.set_state(state)
        return str(text)

    def commands(self) -> tuple[str, ...]:
        """Jericho's list of commands that change the world, and `look` and `inventory`."""
        found = {str(command).lower() for command in self._frotz.get_valid_actions()}
        return (*sorted(found - {"look", "inventory"}), "look", "inventory")

    def obey(self, command: str) -> Told:
        """Send it; the reward is the change of the game's score."""
        text, reward, done, _ = self._frotz.step(command)
        return Told(str(text), float(reward), over=bool(done), won=bool(self._frotz.victory()))

    def world_state(self) -> Json:
        """Jericho's hash of the game's memory."""
        return str(self._frotz.get_world_state_hash())

    def close(self) -> None:
        """Free the interpreter."""
        if self._frotz is not None:
            self._frotz.close()
            self._frotz = None


class TextWorldEnv(GameFileEnv):
    """`kalie/TextWorld-v0`."""

    def __init__(self, config: TextWorldConfig | None = None) -> None:
        self._textworld = require("textworld")
        super().__init__(config or TextWorldConfig())
        self._player: Any = None
        self._state: Any = None

    def restart(self, options: Mapping[str, Any]) -> str:
        """Load the seed's game."""
        game = self._draw()
        if self._player is None or game != self._game:
            self.close()
            wanted = ("description", "inventory", "admissible_commands", "score", "won", "lost")
            infos = self._textworld.EnvInfos(**dict.fromkeys(wanted, True))
            self._player, self._game = self._textworld.start(str(game), request_infos=infos), game
        self._state = self._player.reset()
        return str(self._state.feedback)

    def look(self) -> str:
        """The room."""
        return str(self._state.description)

    def inventory(self) -> str:
        """What is carried."""
        return str(self._state.inventory)

    def commands(self) -> tuple[str, ...]:
        """TextWorld's list of admissible commands."""
        found = self._state.admissible_commands
        if found is None:
            raise EnvironmentFailure(f"{self._game}: TextWorld lists no admissible commands for this game")
        return tuple(str(command) for command in found)

    def obey(self, command: str) -> Told:
        """Send it; the reward is the change of the game's score."""
        before = self._state.score or 0
        self._state, _, done = self._player.step(command)
        over = bool(done) or bool(self._state.won) or bool(self._state.lost)
        message = str(self._state.feedback)
        return Told(message, float((self._state.score or 0) - before), over=over, won=bool(self._state.won))

    def world_state(self) -> Json:
        """Place, inventory, score and what can be done."""
        state = self._state
        return [str(state.description), str(state.inventory), int(state.score or 0), sorted(self.commands())]

    def close(self) -> None:
        """Free the interpreter."""
        if self._player is not None:
            self._player.close()
            self._player = None
