"""What a verb of the `kalie` command is; how to add one stands at the top of main.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.config import Schema


@dataclass(frozen=True)
class Verb:
    """One verb, the `VERB` of its module.

    Attributes:
        config: frozen dataclass of the verb's keys; its docstring's `Attributes:` are the help of the keys.
        main: does the work; the exit code is 0, or what it returns.
        examples: two or more command lines that work as they stand.
        groups: per field of `config` that is a config group, the dataclass of each choice, default first.
    """

    config: type
    main: Callable[[Any], int | None]
    examples: tuple[str, ...]
    groups: Mapping[str, Mapping[str, type]] = field(default_factory=dict)

    def schema(self, name: str) -> Schema[Any]:
        """The verb's config schema under the verb's name."""
        return Schema(name, self.config, self.groups)
