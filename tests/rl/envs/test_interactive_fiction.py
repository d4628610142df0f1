"""The adapters of jericho and textworld: against stand-ins, and against the packages where installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kalie.core.loggers import MissingPackageError
from kalie.rl.envs.check import check_env
from kalie.rl.envs.interactive_fiction import (
    GameFilesConfig,
    JerichoConfig,
    JerichoEnv,
    TextWorldConfig,
    TextWorldEnv,
)
from kalie.rl.envs.registry import make_env
from kalie.rl.envs.story import wanderer


class Frotz:
    """A game of one lever, behind the interface of `jericho.FrotzEnv`."""

    def __init__(self, path: str, seed: int) -> None:
        self.path, self.pulled, self.commands_sent = path, False, []

    def seed(self, seed: int) -> None:
        self.seeded = seed

    def reset(self) -> tuple[str, dict[str, int]]:
        self.pulled = False
        return "There is a lever.", {"score": 0, "moves": 0}

    def step(self, command: str) -> tuple[str, int, bool, dict[str, int]]:
        self.commands_sent.append(command)
        if command == "pull lever" and not self.pulled:
            self.pulled = True
            return "A door opens.", 10, False, {"score": 10, "moves": 1}
        if command == "leave" and self.pulled:
            return "You are out.", 5, True, {"score": 15, "moves": 2}
        return {"look": "A cell.", "inventory": "Nothing."}.get(command, "Time passes."), 0, False, {}

    def get_state(self) -> bool:
        return self.pulled

    def set_state(self, state: bool) -> None:
        self.pulled = state

    def get_valid_actions(self) -> list[str]:
        return ["leave"] if self.pulled else ["Pull lever"]

    def get_world_state_hash(self) -> str:
        return f"hash-{self.pulled}"

    def victory(self) -> bool:
        return self.commands_sent[-1] == "leave" and self.pulled

    def close(self) -> None:
        pass


class Player:
    """The same game behind the interface of `textworld.start`."""

    def __init__(self) -> None:
        self.score = 0

    def _state(self, feedback: str, won: bool = False) -> SimpleNamespace:
        commands = ["leave", "look"] if self.score else ["pull lever", "look"]
        return SimpleNamespace(
            feedback=feedback, description="A cell.", inventory="Nothing.", admissible_commands=commands,
            score=self.score, won=won, lost=False,
        )  # fmt: skip

    def reset(self) -> SimpleNamespace:
        self.score = 0
        return self._state("There is a lever.")

    def step(self, command: str) -> tuple[SimpleNamespace, int, bool]:
        if command == "pull lever":
            self.score = 10
            return self._state("A door opens."), 10, False
        if command == "leave":
            self.score = 15
            return self._state("You are out.", won=True), 15, True
        return self._state("Time passes."), self.score, False

    def close(self) -> None:
        pass


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    jericho, textworld = ModuleType("jericho"), ModuleType("textworld")
    vars(jericho)["FrotzEnv"] = Frotz
    vars(textworld).update(EnvInfos=SimpleNamespace, start=lambda path, request_infos: Player())
    monkeypatch.setitem(sys.modules, "jericho", jericho)
    monkeypatch.setitem(sys.modules, "textworld", textworld)
    path = tmp_path / "lever.z5"
    path.write_bytes(b"game")
    return path


CONFIGS: tuple[type[GameFilesConfig], ...] = (JerichoConfig, TextWorldConfig)


@pytest.mark.parametrize("config", CONFIGS)
def test_both_adapters_keep_the_contract(config: type[GameFilesConfig], game: Path) -> None:
    check_env(lambda: make_env(config(games=(game,), max_turns=20)), wanderer)


@pytest.mark.parametrize("config", CONFIGS)
def test_rewards_are_changes_of_the_score_and_the_end_tells_of_victory(
    config: type[GameFilesConfig], game: Path
) -> None:
    env = make_env(config(games=(game,)))
    observation, _ = env.reset(seed=0)
    assert observation.text.splitlines()[:3] == ["A cell.", "Nothing.", "There is a lever."]
    steps = [env.step(command) for command in ("pull lever", "look", "leave")]
    assert [step[1] for step in steps] == [10.0, 0.0, 5.0]
    assert [step[2] for step in steps] == [False, False, True]
    assert steps[-1][4]["success"] is True


def test_looking_around_is_not_a_move(game: Path) -> None:
    env = JerichoEnv(JerichoConfig(games=(game,)))
    env.reset(seed=0)
    env.step("pull lever")
    assert env.world_state() == "hash-True"
    env.observe()
    assert env.world_state() == "hash-True"


@pytest.mark.parametrize("config", CONFIGS)
def test_text_that_is_not_listed_never_reaches_the_game(config: type[GameFilesConfig], game: Path) -> None:
    env = make_env(config(games=(game,)))
    env.reset(seed=0)
    observation, reward, _, _, info = env.step("pull lever and leave")
    assert (reward, info["valid"]) == (0.0, False)
    assert "Nothing happens." in observation.text


@pytest.mark.parametrize(
    ("env", "config", "package"),
    [(JerichoEnv, JerichoConfig, "jericho"), (TextWorldEnv, TextWorldConfig, "textworld")],
)
def test_when_the_package_is_missing_expect_an_error_that_says_how_to_install_it(
    env: Any,  # noqa: ANN401
    config: type[GameFilesConfig],
    package: str,
    game: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=f"{package} is not installed: pip install {package}"):
        env(config(games=(game,)))


@pytest.mark.parametrize("config", CONFIGS)
def test_when_no_game_is_named_or_there_expect_an_error_that_names_the_key(
    config: type[GameFilesConfig], game: Path
) -> None:
    with pytest.raises(ValueError, match=r"games=\[\] must name"):
        make_env(config())
    with pytest.raises(FileNotFoundError, match=r"games: .*nowhere\.z8 is no file"):
        make_env(config(games=(Path("nowhere.z8"),)))


def made_by_textworld(folder: Path) -> Path:
    """A Z-machine game of TextWorld's with a walkthrough in the JSON file beside it."""
    game = folder / "simple.z8"
    making = ["tw-simple", "--rewards", "dense", "--goal", "brief", "--seed", "1", "--output", str(game)]
    subprocess.run([str(Path(sys.executable).with_name("tw-make")), *making], check=True, capture_output=True)
    return game


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("textworld") is None, reason="textworld is not installed")
def test_a_game_of_textworlds_keeps_the_contract_and_is_won_by_its_walkthrough(tmp_path: Path) -> None:
    config = TextWorldConfig(games=(made_by_textworld(tmp_path),))
    check_env(lambda: TextWorldEnv(config))
    env = TextWorldEnv(config)
    env.reset(seed=0)
    made = json.loads(config.games[0].with_suffix(".json").read_text("utf-8"))
    steps = []
    for command in made["metadata"]["walkthrough"]:
        assert command in env.commands()
        steps.append(env.step(command))
    _, reward, terminated, _, info = steps[-1]
    assert (reward > 0, terminated, info["success"]) == (True, True, True)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("textworld") is None, reason="textworld is not installed")
@pytest.mark.skipif(importlib.util.find_spec("jericho") is None, reason="jericho is not installed")
def test_jericho_plays_a_z_machine_game_and_keeps_the_contract(tmp_path: Path) -> None:
    config = JerichoConfig(games=(made_by_textworld(tmp_path),))
    check_env(lambda: JerichoEnv(config))
