"""What a verb of the `kalie` command is; how to add one stands at the top of main.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from ..core.config import ConfigError, Schema

# A key or a group before its "=", Hydra's "+" and "~" included.
_KEY = re.compile(r"[+~]{0,2}([A-Za-z_]\w*)[\w.@/]*=")


@dataclass(frozen=True)
class Verb:
    """One verb, the `VERB` of its module.

    Attributes:
        config: frozen dataclass of the verb's keys; its docstring's `Attributes:` are the help of the keys.
        main: does the work; the exit code is 0, or what it returns.
        examples: two or more command lines that work as they stand.
        groups: per field of `config` that is a config group, the dataclass of each choice, default first.
        tuned_by: groups whose choices together may have settings of their own (core/config.py).
        positional: the key whose value may be given without its name; empty for none.
    """

    config: type
    main: Callable[[Any], int | None]
    examples: tuple[str, ...]
    groups: Mapping[str, Mapping[str, type]] = field(default_factory=dict)
    tuned_by: tuple[str, ...] = ()
    positional: str = ""

    def schema(self, name: str) -> Schema[Any]:
        """The verb's config schema under the verb's name."""
        return Schema(name.replace(" ", "_"), self.config, self.groups, self.tuned_by)

    def overrides(self, arguments: Sequence[str]) -> list[str]:
        """The Hydra overrides of a command line, its text without a key put under `positional`.

        Raises:
            ConfigError: there are two such texts.
        """
        if not self.positional:
            return list(arguments)
        keyed = [argument for argument in arguments if self._has_key(argument)]
        texts = [argument for argument in arguments if not self._has_key(argument)]
        given = len(texts) + sum(argument.startswith(f"{self.positional}=") for argument in keyed)
        if given > 1:
            raise ConfigError(f"{self.positional}: expected one text, in quotes, got {given}")
        return [*keyed, *(f"{self.positional}={quoted(text)}" for text in texts)]

    def _has_key(self, argument: str) -> bool:
        """Whether an argument sets a key; one that could be a misspelt key counts, to be refused as such."""
        found = _KEY.match(argument)
        known = {*(item.name for item in fields(self.config)), "hydra", "experiment"}
        return found is not None and (found[1] in known or not re.search(r"\s", argument))


def quoted(text: str) -> str:
    """A text as a value that Hydra reads as that text, whatever it holds ("???" alone means missing)."""
    # OmegaConf looks for ${} after Hydra took the quotes off; a single backslash before it stops it.
    literal = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", text)
    return QuotedString(literal, Quote.double).with_quotes()
