"""Values out of range: every number of every verb has a range, and what leaves it is refused by its name."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kalie.cli.main import load_verb, main, verb_names
from kalie.core.config import ConfigError, Schema, to_primitive

TUNE, SYNTH = ("finetune", "data=d"), ("synthesize", "photos=p")
DIFFUSION, TEXT = (*SYNTH, "repainter=diffusion"), (*TUNE, "model=text", "model.source=s")
MOKA = ("predict", "image=i.png", "instruction=go", "model=moka", "model.objects=[brush]")
WRONG = [
    (TUNE, "tuning.training.steps=-5"),
    (TUNE, "tuning.training.steps=0"),
    (TUNE, "tuning.training.batch_size=0"),
    (TUNE, "tuning.training.evaluate_every=0"),
    (TUNE, "tuning.training.checkpoint_every=0"),
    (TUNE, "tuning.training.patience=0"),
    (TUNE, "tuning.training.learning_rate=-1.0"),
    (TUNE, "tuning.training.learning_rate=.inf"),
    (TUNE, "tuning.training.warmup=-1"),
    (TUNE, "tuning.training.average=1.5"),
    (TUNE, "tuning.augment.noise=-0.1"),
    (TUNE, "tuning.augment.mirror=1.1"),
    (TUNE, "tuning.augment.scale=1"),
    (TUNE, "tuning.augment.rotation=181"),
    (TEXT, "text_tuning.training.micro_batch=0"),
    (TEXT, "text_tuning.training.learning_rate=0"),
    (TEXT, "model.lora_rank=0"),
    (TEXT, "model.lora_layers=[]"),
    (TEXT, "model.temperature=0"),
    (TEXT, "model.seed=-1"),
    (MOKA, "model.columns=27"),
    (MOKA, "model.tilt=2"),
    (MOKA, "model.chat.attempts=0"),
    (("pretrain",), "pointing.scenes=1"),
    (("pretrain",), "pointing.image_size=100"),
    (("pretrain",), "pointing.training.batch_size=0"),
    (("bench",), "budget.finetune.training.gradient_clip=0"),
    (("bench",), "episodes=0"),
    (("demo",), "workers=0"),
    (("demo",), "budget.finetune.augment.occluders=-1"),
    (("photograph",), "noise.pixels=-1"),
    (SYNTH, "batch=0"),
    (SYNTH, "compose.transform.shift=-0.1"),
    (SYNTH, "compose.tool.taper_probability=2"),
    (SYNTH, "compose.cut.margin=-0.1"),
    (SYNTH, "compose.graft.gap_px=-1"),
    (SYNTH, "compose.graft.size=[0.5,0.2]"),
    (SYNTH, "compose.binding.snap_px=-1"),
    (SYNTH, "compose.background.surfaces=0"),
    (SYNTH, "compose.background.recolour=0.99"),
    (SYNTH, "compose.distractors.size=[0,0.1]"),
    (SYNTH, "compose.light.noise=-1"),
    (SYNTH, "compose.light.shadow=[0.9,0.1]"),
    (SYNTH, "compose.checks.edge_agreement=1.01"),
    (SYNTH, "compose.checks.edge_agreement=-0.01"),
    (SYNTH, "compose.checks.keypoint_margin=0.6"),
    (SYNTH, "repainter.regions=[0,3]"),
    (SYNTH, "repainter.plain=1.2"),
    (DIFFUSION, "repainter.size=511"),
    (DIFFUSION, "repainter.strength=0"),
    (DIFFUSION, "repainter.strength=1.1"),
    (DIFFUSION, "repainter.strength=0.01"),
    (DIFFUSION, "repainter.steps=0"),
    (("calibrate", "session=s"), "board.columns=2"),
    (("calibrate", "session=s"), "board.marker=0.03"),
]


@functools.cache
def sound(command: tuple[str, ...]) -> tuple[Schema[Any], dict[str, Any]]:
    """A verb's schema, and the plain values of a command that it takes."""
    name, *given = command
    schema = load_verb(name).schema(name)
    node = to_primitive(schema.compose(given))
    assert isinstance(node, dict)
    return schema, node


def with_override(node: Mapping[str, Any], override: str) -> dict[str, Any]:
    """The plain values with one of them changed."""
    key, _, value = override.partition("=")
    changed = copy.deepcopy(dict(node))
    *path, leaf = key.split(".")
    below = changed
    for step in path:
        below = below[step]
    assert leaf in below
    below[leaf] = yaml.safe_load(value)
    return changed


@pytest.mark.parametrize(("command", "override"), WRONG, ids=[f"{c[0]} {o}" for c, o in WRONG])
def test_when_a_value_is_out_of_range_expect_its_key(command: tuple[str, ...], override: str) -> None:
    schema, node = sound(command)
    *path, key = override.partition("=")[0].split(".")
    with pytest.raises(ConfigError, match=rf"^({re.escape('.'.join(path))}: )?.*\b{key}="):
        schema.build(with_override(node, override))


@pytest.mark.parametrize(("strength", "ok"), [("0.04", True), ("0.039", False), ("1.0", True)])
def test_strength_leaves_a_step_to_denoise(strength: str, ok: bool) -> None:
    schema, node = sound(DIFFUSION)
    changed = with_override(node, f"repainter.strength={strength}")
    if ok:
        assert schema.build(changed).repainter.strength == float(strength)
    else:
        with pytest.raises(ConfigError, match="steps=25 and strength"):
            schema.build(changed)


def test_when_a_value_is_out_of_range_expect_one_line_exit_2_and_no_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "budget.finetune.training.batch_size=0", f"run.outputs={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert error == "kalie: bench: budget.finetune.training: batch_size=0 must be at least 1\n"
    assert not (tmp_path / "out").exists()


def reachable(config: type) -> Iterator[type]:
    """A config dataclass and those below it."""
    yield config
    hints = typing.get_type_hints(config)
    for item in dataclasses.fields(config):
        for part in (hints[item.name], *typing.get_args(hints[item.name])):
            if dataclasses.is_dataclass(part) and isinstance(part, type):
                yield from reachable(part)


def numbers() -> list[tuple[type, str]]:
    """Every number that any verb reads, as (dataclass, field)."""
    found: dict[tuple[type, str], None] = {}
    for name in verb_names():
        verb = load_verb(name)
        choices = [choice for group in verb.groups.values() for choice in group.values()]
        for config in [below for top in (verb.config, *choices) for below in reachable(top)]:
            hints = typing.get_type_hints(config)
            for item in dataclasses.fields(config):
                if {int, float} & {hints[item.name], *typing.get_args(hints[item.name])}:
                    found[config, item.name] = None
    return list(found)


NUMBERS = numbers()
# Coordinates, which may lie anywhere.
PLACES = {"support_range"}
GIVEN = {"url": "http://localhost/v1", "instruction": "go", "image": Path("i.png"), "picture": Path("o.png")}


def with_value(config: type, key: str, value: float) -> object:
    """The dataclass with one value set (in every place of a tuple) and stand-ins where it needs values."""
    hints, values = typing.get_type_hints(config), {}
    for item in dataclasses.fields(config):
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            values[item.name] = GIVEN.get(item.name, Path("x") if hints[item.name] is Path else "x")
    size = len(typing.get_args(hints[key])) if typing.get_origin(hints[key]) is tuple else 0
    return config(**{**values, key: (value,) * size if size else value})


@pytest.mark.parametrize(("config", "key"), NUMBERS, ids=[f"{c.__name__}.{k}" for c, k in NUMBERS])
def test_when_any_number_of_any_verb_is_absurd_expect_its_key(config: type, key: str) -> None:
    hint = typing.get_type_hints(config)[key]
    absurd = [math.inf, -1e9] if float in (hint, *typing.get_args(hint)) else [-(10**9)]
    for value in absurd[: 1 if key in PLACES else 2]:
        with pytest.raises(ValueError, match=rf"\b{key}\b"):
            with_value(config, key, value)


def test_every_kind_of_number_is_found() -> None:
    names = {f"{config.__name__}.{key}" for config, key in NUMBERS}
    assert {"TrainingConfig.steps", "GraftConfig.size", "ChatConfig.timeout_s", "DepthCleaning.near"} <= names
    assert len(names) > 100
