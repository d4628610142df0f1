"""Every environment is registered, configured through Hydra and keeps the contract in every rendering."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check

import kalie.rl.envs
from kalie.cli._help import field_docs
from kalie.core.config import ConfigError, Schema
from kalie.rl.envs.alfworld import AlfworldConfig
from kalie.rl.envs.base import EnvConfig
from kalie.rl.envs.check import check_env
from kalie.rl.envs.interactive_fiction import JerichoConfig
from kalie.rl.envs.number_line import NumberLineConfig
from kalie.rl.envs.registry import ENTRY_POINTS, ENVS, make_env
from kalie.rl.envs.rendered import RenderedConfig, Rendering

RENDERED = sorted(name for name, config in ENVS.items() if issubclass(config, RenderedConfig))


@dataclass(frozen=True)
class Job:
    env: EnvConfig = field(default_factory=NumberLineConfig)


def test_importing_the_package_registers_every_environment() -> None:
    assert kalie.rl.envs.__doc__
    assert ENVS.keys() == ENTRY_POINTS.keys()
    for config in ENVS.values():
        assert config.env_id in gymnasium.registry


def test_importing_the_package_pulls_in_nothing_heavy() -> None:
    code = "import sys, kalie.rl.envs; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "pybullet", "transformers", "jericho", "textworld", "alfworld"}
    assert "gymnasium" in done.stdout.split()
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("name", sorted(ENVS))
def test_every_choice_is_a_frozen_dataclass(name: str) -> None:
    config = ENVS[name]
    assert dataclasses.is_dataclass(config)
    assert config.__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
    assert config.env_id.startswith("kalie/")
    assert config.env_id.endswith("-v0")


@pytest.mark.parametrize("rendering", get_args(Rendering))
@pytest.mark.parametrize("name", RENDERED)
def test_every_rendered_game_keeps_the_contract(name: str, rendering: Rendering) -> None:
    config: Any = ENVS[name]
    check_env(lambda: make_env(config(rendering=rendering)))
    check_env(lambda: make_env(config(rendering=rendering, thoughts=False, instructions=False)))


@pytest.mark.parametrize("name", RENDERED)
def test_pictures_have_the_size_asked_for(name: str) -> None:
    config: Any = ENVS[name]
    env = make_env(config(image_size=192))
    observation, _ = env.reset(seed=0)
    assert observation.images[0].shape == (192, 192, 3)
    assert len({tuple(pixel) for pixel in observation.images[0].reshape(-1, 3)}) > 1


@pytest.mark.parametrize("name", RENDERED)
def test_symbolic_observations_are_text_only_and_short(name: str) -> None:
    config: Any = ENVS[name]
    observation, _ = make_env(config(rendering="symbolic")).reset(seed=0)
    assert observation.images == ()
    assert 0 < len(observation.text) < 20


def test_hydra_composes_an_environment() -> None:
    schema = Schema("env_job", Job, {"env": ENVS})
    env = schema.compose(["env=number_line", "env.max_position=9", "env.rendering=text"]).env
    assert env == NumberLineConfig(max_position=9, rendering="text")
    assert make_env(env).reset(seed=0)[0].images == ()


@pytest.mark.parametrize("name", sorted(ENVS))
def test_every_choice_composes_to_its_defaults(name: str) -> None:
    assert Schema("env_job", Job, {"env": ENVS}).compose([f"env={name}"]).env == ENVS[name]()


def test_lists_and_paths_can_be_given_on_the_command_line() -> None:
    schema = Schema("env_job", Job, {"env": ENVS})
    games = schema.compose(["env=jericho", "env.games=[a.z5,b.z8]"]).env
    assert games == JerichoConfig(games=(Path("a.z5"), Path("b.z8")))
    household = schema.compose(["env=alfworld", "env.data=/data", "env.task_types=[heat,cool]"]).env
    assert household == AlfworldConfig(data=Path("/data"), task_types=("heat", "cool"))


@pytest.mark.parametrize("name", ["number_line", "blackjack", "twenty_questions", "adventure", "shop"])
def test_gymnasiums_own_checker_has_nothing_to_say(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(make_env(ENVS[name]()).unwrapped, skip_render_check=True)


def test_help_explains_every_key_of_every_choice() -> None:
    for config in ENVS.values():
        keys = {item.name for item in dataclasses.fields(config)}
        assert keys == field_docs(config, {}).keys() - {"env_id"}


def test_when_a_config_is_wrong_expect_an_error_that_names_the_key() -> None:
    schema = Schema("env_job", Job, {"env": ENVS})
    with pytest.raises(ConfigError, match=r"env\.rendering=pixels"):
        schema.compose(["env.rendering=pixels"])
    with pytest.raises(ConfigError, match="max_position"):
        schema.compose(["env.max_position=1"])
    with pytest.raises(ConfigError, match="did you mean"):
        schema.compose(["env.max_positon=4"])
