"""Reading a reply that must be exactly one JSON object: what every model that answers in JSON is held to."""

from __future__ import annotations

import json
import re

# A full answer is about 300 characters; the caps keep hostile replies from costing time or stack.
MAX_CHARACTERS = 20_000
MAX_BRACKETS = 64
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)


class NotOneObject(ValueError):
    """A reply is not exactly one JSON object; the message names the place or the key."""


def read_object(text: str) -> dict[str, object]:
    """Read exactly one JSON object, bare or in one code fence; no key twice, no NaN.

    Raises:
        NotOneObject: the text is anything else, or longer than `MAX_CHARACTERS`.
    """
    if len(text) > MAX_CHARACTERS:
        raise NotOneObject(f"reply: {len(text)} characters, at most {MAX_CHARACTERS} are read")
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        raise NotOneObject(f"reply: more than {MAX_BRACKETS} brackets, expected one flat object")
    stripped = text.strip()
    fenced = _FENCE.fullmatch(stripped)
    try:
        data = json.loads(
            fenced.group(1) if fenced else stripped,
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
        )
    except NotOneObject:
        raise
    except ValueError as error:
        raise NotOneObject(f"reply: not one JSON object ({error})") from None
    if not isinstance(data, dict):
        raise NotOneObject(f"reply: expected a JSON object, got {type(data).__name__}")
    return data


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    out: dict[str, object] = {}
    for key, value in pairs:
        if key in out:
            raise NotOneObject(f"{key}: given twice")
        out[key] = value
    return out


def _refuse_constant(name: str) -> object:
    raise NotOneObject(f"reply: {name} is not a number here")
