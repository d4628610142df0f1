"""Presets: a key's value changes the defaults of others, and never what the user gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from kalie.core.config import ConfigError, Schema
from kalie.core.presets import presets


@dataclass(frozen=True)
class CutConfig:
    share: float = 0.0
    size: tuple[float, float] = (0.1, 0.2)
    side: Literal["left", "right"] = "left"


@dataclass(frozen=True)
class JobConfig:
    task: Literal["", "drawer", "towel"] = field(
        default="",
        metadata=presets(
            {"drawer": {"cut.share": 0.5, "cut.side": "right"}, "towel": {"cut.size": [0.3, 0.4]}}
        ),
    )
    cut: CutConfig = field(default_factory=CutConfig)


SCHEMA = Schema("preset_job", JobConfig)


@pytest.mark.parametrize(
    ("overrides", "cut"),
    [
        ([], CutConfig()),
        (["task=drawer"], CutConfig(share=0.5, side="right")),
        (["task=towel"], CutConfig(size=(0.3, 0.4))),
        (["task=drawer", "cut.share=0.0"], CutConfig(share=0.0, side="right")),
        (["cut.share=0.1", "task=drawer"], CutConfig(share=0.1, side="right")),
        (["task=towel", "cut.size=[0.1,0.2]"], CutConfig()),
        (["task=drawer", "cut={share: 0.1}"], CutConfig(share=0.1, side="right")),
    ],
)
def test_presets_are_defaults_that_the_user_s_keys_replace(overrides: list[str], cut: CutConfig) -> None:
    assert SCHEMA.compose(overrides).cut == cut


def test_when_the_value_has_no_presets_expect_its_own_error() -> None:
    with pytest.raises(ConfigError, match=r"task=towl.*did you mean 'towel'"):
        SCHEMA.compose(["task=towl"])


def test_when_a_key_beside_a_preset_is_misspelt_expect_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"cut\.shar: no such key; did you mean 'cut\.share'"):
        SCHEMA.compose(["task=drawer", "cut.shar=1"])
