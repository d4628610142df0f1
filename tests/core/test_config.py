"""Strict configs: everything wrong is one error that names the key and the nearest valid name."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalie.core.config import ConfigError, Schema, build, defaults_of, flatten, nearest, to_primitive
from kalie.core.loggers import LOGGERS, LoggerConfig


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class HeatmapLike:
    width: int = 32
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.width % 8:
            raise ValueError(f"width={self.width} must be a multiple of 8")


@dataclass(frozen=True)
class TextLike:
    lora_rank: int = 8
    kind: Literal["small", "large"] = "small"


@dataclass(frozen=True)
class Optimiser:
    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class JobConfig:
    data: Path
    model: HeatmapLike | TextLike = field(default_factory=HeatmapLike)
    optimiser: Optimiser = field(default_factory=Optimiser)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    layers: tuple[int, ...] = (1, 2)
    colour: Colour = Colour.RED
    note: str = ""
    limit: int | None = None
    fast: bool = False

    def __post_init__(self) -> None:
        if self.fast and self.limit is not None:
            raise ValueError("fast=true does not go with limit")


SCHEMA = Schema(
    "job", JobConfig, groups={"model": {"heat": HeatmapLike, "text": TextLike}, "logger": LOGGERS}
)
GOOD = ["data=photos"]


def refused(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        SCHEMA.compose([*GOOD, *overrides])
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_are_the_dataclasses_own() -> None:
    assert SCHEMA.compose(GOOD) == JobConfig(data=Path("photos"))


def test_overrides_reach_groups_nested_tuples_enums_and_none() -> None:
    groups = ["model=text", "model.kind=large", "logger=wandb", "logger.project=mine"]
    values = ["optimiser.betas=[0.5,0.6]", "layers=[]", "colour=blue", "limit=3", "note=42"]
    config = SCHEMA.compose([*GOOD, *groups, *values])
    assert config.model == TextLike(kind="large")
    assert config.optimiser.betas == (0.5, 0.6)
    assert config.layers == ()
    assert config.colour is Colour.BLUE
    assert config.limit == 3
    assert config.logger == LoggerConfig(tracker="wandb", project="mine")
    assert config.note == "42"


def test_interpolation_is_resolved() -> None:
    assert SCHEMA.compose([*GOOD, "note=${data}"]).note == "photos"


def test_when_required_key_is_missing_expect_its_name() -> None:
    with pytest.raises(ConfigError, match=r"^data: a value is required; pass data=VALUE$"):
        SCHEMA.compose([])


def mutated_leaves() -> list[str]:
    node = {**defaults_of(JobConfig), "model": defaults_of(HeatmapLike)}
    return sorted(flatten(node))


@pytest.mark.parametrize("key", mutated_leaves())
def test_when_any_key_is_misspelt_expect_nearest_name(key: str) -> None:
    typo = key[:-2] + key[-1] + key[-2] if key[-1] != key[-2] else key + "x"
    message = refused(f"{typo}=1")
    assert f"did you mean '{key}'" in message
    assert message.startswith(f"{typo}: no such key")


@pytest.mark.parametrize("key", mutated_leaves())
def test_when_any_value_has_a_wrong_type_expect_key_and_value(key: str) -> None:
    assert refused(f"{key}={{a: 1}}").startswith(key)


@pytest.mark.parametrize("key", [k for k in mutated_leaves() if k not in ("data", "note", "logger.project")])
def test_when_text_is_given_for_any_other_type_expect_error(key: str) -> None:
    assert refused(f"{key}=banana").startswith(f"{key}=banana: ")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model=hate", "model=hate: no such choice; did you mean 'heat'? (choices: heat, "),
        ("model=text model.width=8", "model.width: no such key; did you mean 'model.kind'?"),
        ("model.width=12", "model: width=12 must be a multiple of 8"),
        ("fast=true limit=1", "fast=true does not go with limit"),
        ("logger=wandb logger.project=''", "logger: project must not be empty with tracker=wandb"),
        ("model=text model.kind=larg", "did you mean 'large'?"),
        ("colour=rd", "did you mean 'red'?"),
        ("limit=1.5", "limit=1.5: input should be a valid integer"),
        ("limit=true", "limit=True: input should be a valid integer"),
        ("limit='3'", "limit=3: input should be a valid integer"),
        ("optimiser.betas=[0.1]", "optimiser.betas"),
        ("optimiser.rate=nan", "optimiser.rate=nan: not a number"),
        ("optimiser=3", "optimiser"),
        ("note=${datta}", "'datta' not found"),
        ("note=${oc.env:KALIE_NO_SUCH_VARIABLE}", "KALIE_NO_SUCH_VARIABLE"),
        ("+extra=1", "extra: no such key"),
        ("model._target_=os.system", "model._target_=os.system: not possible here"),
        ("model._target_=kalie.core.loggers.LoggerConfig", "not possible here"),
        ("nonsense", "write key=value"),
        ("note=[1", "note=[1: "),
        ("limit=1,2", "limit"),
        ("experiment=none_such", "experiment"),
    ],
)
def test_when_config_is_wrong_expect_one_clear_line(override: str, says: str) -> None:
    assert says in refused(*override.split(" "))


def test_when_a_recipe_is_misspelt_expect_the_nearest_and_all_there_are() -> None:
    message = refused("experiment=papr")
    assert message.startswith("experiment=papr: no such choice; did you mean 'paper'? (choices: ")


def test_when_a_recipe_is_of_another_job_expect_its_name_beside_the_key() -> None:
    message = refused("experiment=paper")
    assert "no such key" in message or "Key" in message
    assert message.endswith("(with experiment=paper)")


@given(
    st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(lambda k: k not in flatten(defaults_of(JobConfig)))
)
def test_when_yaml_holds_any_unknown_key_expect_error(key: str) -> None:
    with pytest.raises(ConfigError, match=r"(no such key|group of keys|input should)"):
        build(JobConfig, {"data": "photos", key: {}})


def test_primitive_form_builds_the_same_config_again() -> None:
    config = SCHEMA.compose([*GOOD, "model=text", "layers=[3]", "colour=blue"])
    node = json.loads(json.dumps(to_primitive(config)))
    assert SCHEMA.build(node) == config


def test_multirun_lists_every_combination() -> None:
    assert SCHEMA.combinations(["data=x", "limit=1,2", "colour=red,blue"]) == [
        ["data=x", "limit=1", "colour=red"],
        ["data=x", "limit=1", "colour=blue"],
        ["data=x", "limit=2", "colour=red"],
        ["data=x", "limit=2", "colour=blue"],
    ]


def test_when_group_names_no_field_expect_error_at_definition() -> None:
    with pytest.raises(TypeError, match="modle"):
        Schema("job", JobConfig, groups={"modle": {"heat": HeatmapLike}})


def test_nearest_is_empty_without_candidates() -> None:
    assert nearest("x", []) == ""
    assert nearest("sede", ["seed", "size"]) == "; did you mean 'seed'?"
