"""Presets: what the value of one key makes the default of others; whatever the user sets wins.

    task: Literal["", "drawer"] = field(default="", metadata=presets({"drawer": {"compose.cut.share": 0.5}}))

Hydra cannot tell a default from the same value given by the user; so the defaults become interpolations,
which any given value replaces.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

_KEY = "presets"
Presets = Mapping[str, Mapping[str, Any]]
"""By value of the key that has them: defaults of other keys, by dotted name."""


def presets(values: Presets) -> Mapping[str, Presets]:
    """The `metadata` of a dataclass field that has presets."""
    return {_KEY: values}


def with_presets(config: type, node: dict[str, Any]) -> dict[str, Any]:
    """A config dataclass's defaults with interpolations in the place of those that its presets decide.

    Args:
        config: the dataclass.
        node: its defaults, nested; it is changed.
    """
    for item in dataclasses.fields(config):
        values: Presets = item.metadata.get(_KEY, {})
        for key in dict.fromkeys(key for chosen in values.values() for key in chosen):
            *path, leaf = key.split(".")
            below = node
            for step in path:
                below = below[step]
            by_value = {value: chosen[key] for value, chosen in values.items() if key in chosen}
            below[leaf] = _interpolation(item.name, by_value, below[leaf])
    return node


def _interpolation(key: str, by_value: Mapping[str, Any], default: object) -> str:
    listed = ", ".join(f"{value}: {json.dumps(preset)}" for value, preset in by_value.items())
    return f"${{preset:${{{key}}},{{{listed}}},{json.dumps(default)}}}"


def _chosen(value: str, by_value: Mapping[str, Any], default: object) -> object:
    return by_value.get(value, default)


OmegaConf.register_new_resolver("preset", _chosen, replace=True)
