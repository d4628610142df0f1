"""The adapter of ALFWorld against a stand-in of its interface: whole commands, rewards, clear errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kalie.core.loggers import MissingPackageError
from kalie.rl.envs.alfworld import AlfworldConfig, AlfworldEnv, MissingData, game_files, wanderer
from kalie.rl.envs.answers import write_answer
from kalie.rl.envs.check import check_env
from kalie.rl.envs.registry import make_env

SHELVES = tuple(f"go to shelf {number}" for number in range(1, 13))


class State(dict[str, Any]):
    """What textworld hands out: a dict whose keys are attributes too."""

    def __getattr__(self, name: str) -> object:
        return self.get(name)


class Player:
    """A room of twelve shelves; the apple is on the tenth."""

    def __init__(self, path: str) -> None:
        self.path, self.sent = path, []

    def reset(self) -> State:
        feedback = f"You see a shelf 1 to 12.\nYour task is to: take the apple ({Path(self.path).parts[-2]})."
        return State(feedback=feedback, admissible_commands=["help", "look", *SHELVES], won=False)

    def step(self, command: str) -> tuple[State, int, bool]:
        self.sent.append(command)
        there = command == "go to shelf 10"
        commands = ["help", "look", *(["take apple 1"] if there else []), *SHELVES]
        won = command == "take apple 1"
        text = "You see an apple 1." if there else "Nothing here."
        return State(feedback=text, admissible_commands=commands, won=won), int(won), won

    def close(self) -> None:
        pass


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    textworld = ModuleType("textworld")
    vars(textworld).update(EnvInfos=SimpleNamespace, start=lambda path, request_infos, wrappers: Player(path))
    module = ModuleType("alfworld.agents.environment.alfred_tw_env")
    vars(module)["AlfredDemangler"] = SimpleNamespace
    for name in ("alfworld", "alfworld.agents", "alfworld.agents.environment"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "textworld", textworld)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    games = {
        "pick_and_place_simple-Apple-None-Shelf-1/trial_1": True,
        "pick_and_place_simple-Apple-None-Shelf-1/trial_2": False,
        "pick_two_obj_and_place-Apple-None-Shelf-1/trial_3": True,
        "pick_and_place_simple-AppleSliced-None-Shelf-1/trial_4": True,
    }
    for name, solvable in games.items():
        folder = tmp_path / "json_2.1.1" / "train" / name
        folder.mkdir(parents=True)
        (folder / "game.tw-pddl").write_text(json.dumps({"solvable": solvable}))
    return tmp_path


def test_it_keeps_the_contract(data: Path) -> None:
    check_env(lambda: make_env(AlfworldConfig(data=data, max_turns=20)), wanderer)


def test_only_a_whole_command_counts(data: Path) -> None:
    env = AlfworldEnv(AlfworldConfig(data=data))
    env.reset(seed=0)
    assert env.step(write_answer("go to shelf 1"))[4]["action"] == "go to shelf 1"
    assert env.step(write_answer("go to shelf 10"))[4]["action"] == "go to shelf 10"
    for text in ("go to shelf", "go to shelf 10 and look", "shelf 1", "help"):
        assert env.step(write_answer(text))[4]["valid"] is False


def test_rewards_are_the_published_ones(data: Path) -> None:
    env = AlfworldEnv(AlfworldConfig(data=data))
    env.reset(seed=0)
    steps = [env.step(text) for text in ("no", write_answer("go to shelf 10"), write_answer("take apple 1"))]
    assert [step[1] for step in steps] == [-1.0, 0.0, 50.0]
    assert [step[2] for step in steps] == [False, False, True]
    assert steps[-1][4]["success"] is True


def test_the_prompt_holds_scene_task_commands_and_form(data: Path) -> None:
    env = AlfworldEnv(AlfworldConfig(data=data))
    observation, _ = env.reset(seed=0)
    for part in ("Your task is to: take the apple", "go to shelf 12", '"thoughts"', "one JSON object"):
        assert part in observation.text
    assert "\nhelp" not in observation.text
    silent = AlfworldEnv(AlfworldConfig(data=data, thoughts=False))
    assert "thoughts" not in silent.reset(seed=0)[0].text


def test_games_are_chosen_by_split_task_type_and_whether_they_can_be_solved(data: Path) -> None:
    names = [path.parts[-2] for path in game_files(AlfworldConfig(data=data))]
    assert names == ["trial_1", "trial_3"]
    assert len(game_files(AlfworldConfig(data=data, task_types=("pick_two",)))) == 1


def test_seeds_choose_games(data: Path) -> None:
    env = AlfworldEnv(AlfworldConfig(data=data))
    assert len({str(env.reset(seed=seed)[1]["game"]) for seed in range(20)}) == 2


def test_when_the_data_are_missing_expect_an_error_that_says_how_to_get_them(data: Path) -> None:
    with pytest.raises(MissingData, match="no folder is named; run alfworld-download"):
        AlfworldEnv()
    with pytest.raises(MissingData, match=r"none of pick.* in .*valid_seen; run alfworld-download"):
        AlfworldEnv(AlfworldConfig(data=data, split="eval_in_distribution"))
    with pytest.raises(MissingData, match="none of heat"):
        AlfworldEnv(AlfworldConfig(data=data, task_types=("heat",)))


def test_when_the_package_is_missing_expect_an_error_that_says_how_to_install_it(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "alfworld", None)
    with pytest.raises(MissingPackageError, match="alfworld is not installed: pip install alfworld"):
        AlfworldEnv(AlfworldConfig(data=data))
