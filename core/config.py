"""Strict configs: Hydra composes them, frozen dataclasses define and check them.

A job states its config once, as a frozen dataclass; each *group* (a field with several choices, such as
`model`) maps choice names to dataclasses:

    groups = {"model": {"heatmap": HeatmapConfig, "text": TextConfig}}
    schema = Schema("finetune", FinetuneConfig, groups)
    config = schema.compose(["model=text", "model.lora_rank=8", "seed=3"])   # a real FinetuneConfig

The first choice of a group is its default. A YAML file `conf/<group>/<choice>.yaml` adds a choice that starts
from another (`defaults: [text]`) and changes some of its keys. What suits each choice of several groups need
not suit them together: `conf/tuned/<choice>/<choice>.yaml`, of the package `_global_`, is merged wherever
those choices of the groups in `tuned_by` meet; recipes and the user's keys win over it.

Anything wrong is one `ConfigError` before any work: an unknown key or choice (with the nearest valid name), a
wrong type, a missing value, an unresolved `${}`, or whatever a dataclass's `__post_init__` refuses with a
`ValueError` (ranges, unsupported combinations). Types are checked without conversion: `Literal`, enums,
tuples, `Path`, optional values and nested dataclasses are understood; "3" is not a number.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.resources
import json
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePath
from typing import Any, Generic, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from .presets import with_presets

ConfigT = TypeVar("ConfigT")
Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
"""What YAML and JSON hold."""

CONFIG_MODULE = "kalie.conf"
TARGET = "_target_"
"""The key that says which dataclass a group's choice is, as in Hydra's own `instantiate`."""


class ConfigError(ValueError):
    """A config that cannot be run; the message names the key, the value and the nearest valid name."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """A clause naming the candidate most like `name`, e.g. "; did you mean 'seed'?" (empty without any)."""
    matches = difflib.get_close_matches(name, sorted(candidates), n=1, cutoff=0.0)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def target_name(config: type) -> str:
    """The dotted name by which `_target_` refers to a dataclass."""
    return f"{config.__module__}.{config.__qualname__}"


def to_primitive(value: object) -> Plain:
    """A config (or a value in one) as what YAML and JSON can hold.

    A dataclass in a field that allows several gets `_target_`, so that the result can be built again.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        return {
            f.name: _primitive_field(hints[f.name], getattr(value, f.name)) for f in dataclasses.fields(value)
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): to_primitive(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_primitive(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a config cannot hold a {type(value).__name__}: {value!r}")


def _primitive_field(hint: object, value: object) -> Plain:
    primitive = to_primitive(value)
    if isinstance(primitive, dict) and dataclasses.is_dataclass(value) and _configs(hint) != [type(value)]:
        return {TARGET: target_name(type(value)), **primitive}
    return primitive


def defaults_of(config: type) -> dict[str, Any]:
    """The default of every key of a dataclass, `???` where a value must be given."""
    node: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        if item.default is not dataclasses.MISSING:
            node[item.name] = to_primitive(item.default)
        elif item.default_factory is not dataclasses.MISSING:
            node[item.name] = to_primitive(item.default_factory())
        else:
            node[item.name] = MISSING
    return node


def build(
    config: type[ConfigT], node: Mapping[str, Any], targets: Mapping[str, type] | None = None, path: str = ""
) -> ConfigT:
    """A dataclass object from plain values, everything checked.

    Args:
        config: the dataclass.
        node: plain values by key, as `to_primitive` makes them.
        targets: dataclasses that `_target_` may name, by `target_name`.
        path: where `node` stands in the whole config, for messages ("" or "model.").

    Raises:
        ConfigError: unknown key, missing value, wrong type, or refused by a `__post_init__`.
    """
    hints = get_type_hints(config, include_extras=True)
    given = {**defaults_of(config), **node}
    given.pop(TARGET, None)
    for key in given:
        if key not in hints:
            raise ConfigError(f"{path}{key}: no such key{nearest(path + key, [path + n for n in hints])}")
    values = {}
    for key in given:
        if given[key] == MISSING:
            raise ConfigError(f"{path}{key}: a value is required; pass {path}{key}=VALUE")
        if key in node:
            values[key] = _build_value(hints[key], node[key], targets or {}, path + key)
    try:
        return config(**values)
    except ValueError as error:
        raise ConfigError(f"{path.rstrip('.')}: {error}" if path else str(error)) from error


def _build_value(hint: object, value: object, targets: Mapping[str, type], path: str) -> object:
    configs = _configs(hint)
    if isinstance(value, Mapping) and TARGET in value:
        allowed = {name: cls for name, cls in targets.items() if issubclass(cls, tuple(configs))}
        target = str(value[TARGET])
        if target not in allowed:
            raise ConfigError(f"{path}.{TARGET}={target}: not possible here{nearest(target, allowed)}")
        return build(allowed[target], value, targets, path + ".")
    if isinstance(value, Mapping) and len(configs) == 1:
        return build(configs[0], value, targets, path + ".")
    if configs and value is not None:
        raise ConfigError(f"{path}={value}: this is a group of keys; set {path}.KEY=VALUE")
    return _build_leaf(hint, value, path)


def _build_leaf(hint: Any, value: object, path: str) -> object:  # noqa: ANN401  any annotation
    """A value checked by pydantic against its annotation, as strict JSON (lists become tuples)."""
    if hint is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)  # Hydra reads `name=42` as a number; for a text field it is a text.
    if isinstance(value, float) and value != value:
        raise ConfigError(f"{path}={value}: not a number")
    try:
        return TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"[{step}]" for step in first["loc"] if isinstance(step, int))
        choices = [str(choice) for choice in _literals(hint)]
        hint_text = nearest(str(value), choices) if choices else ""
        raise ConfigError(f"{path}{where}={value}: {first['msg'].lower()}{hint_text}") from error


def _parts(hint: object) -> tuple[object, ...]:
    """The alternatives of a union; any other annotation alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _configs(hint: object) -> list[type]:
    """The dataclasses among the alternatives of an annotation."""
    return [part for part in _parts(hint) if isinstance(part, type) and dataclasses.is_dataclass(part)]


def _literals(hint: object) -> Iterator[object]:
    """The values that an annotation of `Literal`s and enums names."""
    for part in _parts(hint):
        if get_origin(part) is Literal:
            yield from get_args(part)
        elif isinstance(part, type) and issubclass(part, Enum):
            yield from (member.value for member in part)


def flatten(node: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Leaves by dotted key, `_target_` left out; an empty mapping is a leaf."""
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            leaves |= flatten(value, f"{path}{key}.")
        elif key != TARGET:
            leaves[path + key] = value
    return leaves


@dataclass(frozen=True)
class Schema(Generic[ConfigT]):
    """The config of one job.

    Attributes:
        name: the job's name, and its primary config's in Hydra's ConfigStore.
        config: frozen dataclass of all keys.
        groups: per field of `config` that has several choices, each one's dataclass, the default first.
        tuned_by: groups whose choices together may have settings of their own (see above).
    """

    name: str
    config: type[ConfigT]
    groups: Mapping[str, Mapping[str, type]] = field(default_factory=dict)
    tuned_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = {item.name for item in dataclasses.fields(self.config)}  # pyright: ignore[reportArgumentType]
        if unknown := set(self.groups) - names:
            raise TypeError(f"{self.name}: groups {sorted(unknown)} are no fields of {self.config.__name__}")

    @property
    def targets(self) -> dict[str, type]:
        """Every choice's dataclass by the name that `_target_` uses."""
        return {target_name(cls): cls for choices in self.groups.values() for cls in choices.values()}

    def register(self) -> None:
        """Put the primary config and the groups into Hydra's ConfigStore."""
        store = ConfigStore.instance()
        for group, choices in self.groups.items():
            for choice, cls in choices.items():
                node = {TARGET: target_name(cls), **defaults_of(cls)}
                store.store(name=choice, group=group, node=node, provider="kalie")
        defaults = with_presets(self.config, defaults_of(self.config))
        own = {key: value for key, value in defaults.items() if key not in self.groups}
        store.store(name=self.name, node={**self._hydra_part(), **own}, provider="kalie")

    def _hydra_part(self) -> dict[str, Any]:
        """The defaults list, and Hydra's settings: run directories and logging are ours (core/runs.py)."""
        first = [{group: next(iter(choices))} for group, choices in self.groups.items()]
        together = "/".join(f"${{{group}}}" for group in self.tuned_by)
        tuned = [{"optional tuned": together}] if together else []
        quiet = [{"override hydra/job_logging": "none"}, {"override hydra/hydra_logging": "none"}]
        settings = {
            "job": {"name": self.name, "chdir": False},
            "run": {"dir": "."},
            "output_subdir": None,
            "sweep": {"dir": f"outputs/multirun/{self.name}", "subdir": "."},
        }
        return {"defaults": [*first, "_self_", *tuned, {"experiment": None}, *quiet], "hydra": settings}

    def compose(self, overrides: Sequence[str] = ()) -> ConfigT:
        """The checked config that Hydra composes from `overrides` ("group=choice", "key=value").

        Raises:
            ConfigError: anything unknown, missing, of the wrong type or refused.
        """
        recipes = [text for text in overrides if text.startswith("experiment=")]
        try:
            return build(self.config, self.values(overrides), self.targets)
        except ConfigError as error:
            if not recipes or str(error).startswith("experiment="):
                raise
            raise ConfigError(f"{error} (with {recipes[-1]})") from error

    def recipes(self) -> list[str]:
        """The choices of `experiment`, whole recipes of keys, that this job can take."""
        self.register()
        with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            names = list(_files_below("experiment"))
        return [name for name in names if self._takes(name)]

    def _takes(self, recipe: str) -> bool:
        try:
            self.compose([f"experiment={recipe}"])
        except ConfigError as error:
            return "a value is required" in str(error)
        return True

    def tuned(self) -> list[str]:
        """The choices, of the groups in `tuned_by`, that have settings of their own where they meet."""
        if not self.tuned_by:
            return []
        with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            return list(_files_below("tuned"))

    def build(self, node: Mapping[str, Any]) -> ConfigT:
        """The checked config of plain values that were composed before."""
        return build(self.config, node, self.targets)

    def choices(self, group: str) -> list[str]:
        """Every choice of a group, those of YAML files included."""
        self.register()
        with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            options = _group_options(group)
        # The store is Hydra's own and global: other jobs of this process may have put theirs into the group.
        store = ConfigStore.instance()
        stored = {name.removesuffix(".yaml") for name in store.list(group)} if group in store.repo else set()
        own = self.groups.get(group, {})
        return [one for one in options if one in own or (one not in stored and _rests_on(group, one, own))]

    def combinations(self, overrides: Sequence[str]) -> list[list[str]]:
        """What a `--multirun` with these overrides will run: one list of overrides for each job.

        Raises:
            ConfigError: an override that Hydra cannot parse.
        """
        jobs: list[list[str]] = [[]]
        for text, override in zip(overrides, _parse(overrides), strict=True):
            values = [text]
            if override.is_discrete_sweep():
                prefix = text.split("=", 1)[0]
                values = [f"{prefix}={value}" for value in override.sweep_string_iterator()]
            jobs = [[*job, value] for job in jobs for value in values]
        return jobs

    def values(self, overrides: Sequence[str] = ()) -> dict[str, Any]:
        """What Hydra composes from `overrides`, nested and unchecked; a required value is `MISSING`.

        Raises:
            ConfigError: an unknown key or choice.
        """
        self.register()
        with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            try:
                self._check_names(overrides)
                return plain(compose(self.name, list(overrides)))
            except MissingConfigException as error:
                raise ConfigError(_unknown_choice(error)) from error
            except (HydraException, OmegaConfBaseException) as error:
                raise ConfigError(_first_line(error)) from error

    def _check_names(self, overrides: Sequence[str]) -> None:
        """Refuse unknown choices, then unknown keys, with the nearest valid name; Hydra's own keys pass."""
        groups = {*self.groups, "experiment"}
        keys, choices = [], []
        for text, override in zip(overrides, _parse(overrides), strict=True):
            key = override.key_or_group
            is_choice = key in groups or key.startswith("hydra")
            choices += [text] if is_choice else []
            keys += [] if is_choice else [key]
        chosen = OmegaConf.to_container(compose(self.name, choices), resolve=False)
        leaves = flatten(chosen)  # pyright: ignore[reportArgumentType]  a primary config is a mapping
        known = {".".join(key.split(".")[:depth]) for key in leaves for depth in range(1, key.count(".") + 2)}
        for key in keys:
            if key not in known and not key.endswith(f".{TARGET}"):
                raise ConfigError(f"{key}: no such key{nearest(key, known | groups)}")


def plain(composed: DictConfig) -> dict[str, Any]:
    """A composed Hydra config as plain values, with every `${}` resolved."""
    values = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(values, dict)  # noqa: S101  a primary config is a mapping
    return {str(key): value for key, value in values.items() if key not in ("hydra", "experiment")}


def _parse(overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            raise ConfigError(f"{text}: {_first_line(error)} (write key=value or group=choice)") from error
    return parsed


def _unknown_choice(error: MissingConfigException) -> str:
    """A message for a choice that its group does not have."""
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    options = [str(option) for option in error.options or ()]
    listed = f" (choices: {', '.join(options) or 'none'})"
    return f"{group}={choice}: no such choice{nearest(choice, options)}{listed}"


def _rests_on(group: str, choice: str, own: Mapping[str, type]) -> bool:
    """Whether a choice that is a YAML file starts from one of a job's own choices, or from none."""
    file = importlib.resources.files(CONFIG_MODULE).joinpath(group, f"{choice}.yaml")
    if not file.is_file():
        return False
    bases = (yaml.safe_load(file.read_text("utf-8")) or {}).get("defaults", ())
    named = [base for base in bases if isinstance(base, str) and base != "_self_"]
    return all(base in own or _rests_on(group, base, own) for base in named)


def _group_options(group: str, kind: ObjectType = ObjectType.CONFIG) -> list[str]:
    return GlobalHydra.instance().config_loader().get_group_options(group, kind)


def _files_below(group: str, folder: str = "") -> Iterator[str]:
    """The config files of a group and of the folders in it, by their path from there."""
    for name in _group_options(group + folder):
        yield f"{folder}/{name}".removeprefix("/")
    for inner in _group_options(group + folder, ObjectType.GROUP):
        yield from _files_below(group, f"{folder}/{inner}")


def _first_line(error: Exception) -> str:
    """Hydra's message without the listings below it; a merge error names its reason in the second line."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    head, found, override = lines[0].partition("Error merging override ")
    return ": ".join([override, *lines[1:2]]) if found and not head else lines[0]
