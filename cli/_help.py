"""The help pages of the `kalie` command."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, get_args, get_type_hints

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from ._verb import Verb


def print_help(usage: str, verbs: Mapping[str, str]) -> None:
    """Print the command's help: one line per verb."""
    console = Console(highlight=False)
    console.print(
        f"[bold]kalie[/]: keypoint affordances, from labelled photos to a working arm.\n\n{escape(usage)}\n"
    )
    table = _table()
    for name, line in verbs.items():
        table.add_row(f"[bold]{name}[/]", escape(line))
    console.print(table)
    console.print("\n[bold]kalie VERB --help[/] shows a verb's keys, their defaults and examples.")


def print_verb_help(name: str, line: str, verb: Verb, overrides: Sequence[str] = ()) -> None:
    """Print one verb's groups, recipes, keys, examples, and their values under `overrides`.

    Raises:
        ConfigError: an override names an unknown key or choice.
    """
    from ..core.config import MISSING, TARGET, flatten

    schema = verb.schema(name)
    values = schema.values(overrides)
    console = Console(highlight=False)
    console.print(f"[bold]kalie {name}[/]: {escape(line)}\n")
    if verb.groups:
        console.print("[bold]Groups[/] (group=choice; the first is the default)")
        table = _table()
        for group in verb.groups:
            own = list(verb.groups[group])
            from_files = [choice for choice in schema.choices(group) if choice not in own]
            table.add_row(group, escape(", ".join([*own, *from_files])))
        console.print(table)
        console.print()
    if recipes := schema.recipes():
        console.print(f"[bold]Recipes[/] (experiment=NAME): {escape(', '.join(recipes))}\n")
    if tuned := schema.tuned():
        console.print(f"[bold]Tuned[/] where {', '.join(verb.tuned_by)} meet: {escape(', '.join(tuned))}\n")
    chosen = {group: schema.targets[values[group][TARGET]] for group in verb.groups}
    docs = field_docs(verb.config, chosen)
    console.print("[bold]Keys[/] (key=value; another choice's: group=choice before --help)")
    table = _table()
    for key, value in flatten(values).items():
        shown = "(required)" if value == MISSING else as_typed(value)
        if not key.endswith(TARGET):
            table.add_row(key, escape(shown), escape(docs.get(key, "")))
    console.print(table)
    console.print("\n[bold]Examples[/]")
    for example in verb.examples:
        console.print(f"  {escape(example)}", soft_wrap=True)


def print_config(config: object) -> None:
    """Print a checked config as YAML."""
    import yaml

    from ..core.config import to_primitive

    Console(highlight=False).print(escape(yaml.safe_dump(to_primitive(config), sort_keys=False)), end="")


def field_docs(config: type, chosen: Mapping[str, type], path: str = "") -> dict[str, str]:
    """Help per dotted key, from the `Attributes:` of the docstrings of a dataclass and those inside it.

    Args:
        config: the dataclass.
        chosen: the dataclass of each field that has several choices.
        path: put before the keys.
    """
    bases = [base for base in reversed(config.__mro__) if dataclasses.is_dataclass(base)]
    docs = {path + name: text for base in bases for name, text in _attributes(base).items()}
    hints = get_type_hints(config)
    for item in dataclasses.fields(config):
        hint = hints[item.name]
        own = [chosen[item.name]] if item.name in chosen else [*get_args(hint), hint]
        for kind in own:
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                docs |= field_docs(kind, {}, f"{path}{item.name}.")
                break
    return docs


def _attributes(config: type) -> dict[str, str]:
    """The entries of a Google-style `Attributes:` section and the base classes', each joined to one line."""
    found: dict[str, str] = {}
    for kind in reversed(config.__mro__):
        section = inspect.cleandoc(kind.__doc__ or "")
        section = section.partition("Attributes:\n")[2].partition("\n\n")[0]
        entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, flags=re.MULTILINE)
        found |= {name: " ".join(text.split()) for name, text in entries}
    return found


def as_typed(value: object) -> str:
    """A default as it would be typed."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return "[" + ",".join(as_typed(item) for item in value) + "]"
    return str(value) if value != "" else "''"


def _table() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True)  # names stay whole, to be copied
    return table
