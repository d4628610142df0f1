"""Responses in JSON: an object whose `action` is one of the legal ones, beside whatever the agent thought.

    {"target": 3, "current": 1, "thoughts": "1 is less than 3", "action": "+"}

Only a whole, exact answer counts: one object, one `action`, equal to a legal action. Nothing is searched for
in the text, so neither "10" and "1" nor two actions can be confused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping

from ...core.one_object import NotOneObject, read_object
from ..types import Json
from .base import InvalidResponse

ACTION = "action"
THOUGHTS = "thoughts"
# Longer ones are no number of any game, and slow to read.
_DIGITS = re.compile(r"\b[0-9]{1,9}\b")


def read_fields(response: str) -> dict[str, object]:
    """Every field of a response.

    Raises:
        InvalidResponse: it is not exactly one JSON object.
    """
    try:
        return read_object(response)
    except NotOneObject as error:
        raise InvalidResponse(str(error)) from None


def read_action(response: str, legal: Collection[str]) -> str:
    """The action of a response.

    Args:
        response: any text.
        legal: the actions there are.

    Raises:
        InvalidResponse: it is not one JSON object, or its `action` is none of them.
    """
    fields = read_fields(response)
    if ACTION not in fields:
        raise InvalidResponse(f"{ACTION}: missing")
    action = fields[ACTION]
    if not isinstance(action, str) or action not in legal:
        shown = repr(action)[:80]
        raise InvalidResponse(f"{ACTION}: {shown} is none of {', '.join(legal)}")
    return action


def write_answer(action: str, fields: Mapping[str, Json] | None = None) -> str:
    """The response that `read_action` reads, its other fields before the action."""
    return json.dumps({**(fields or {}), ACTION: action})


def agrees(response: str, facts: Mapping[str, Json], sayable: Collection[int] | None = None) -> bool | None:
    """Whether what a response states is so (thought fidelity).

    Args:
        response: any text.
        facts: the truth by field.
        sayable: the whole numbers that its `thoughts` may hold; None: any.

    Returns:
        None where the response states none of these, else whether everything stated is true.
    """
    try:
        fields = read_fields(response)
    except InvalidResponse:
        return None
    stated = [name for name in facts if name in fields]
    said = (
        [] if sayable is None else [int(digits) for digits in _DIGITS.findall(str(fields.get(THOUGHTS, "")))]
    )
    if not stated and not said:
        return None
    same = all(type(fields[name]) is type(facts[name]) and fields[name] == facts[name] for name in stated)
    return same and all(number in (sayable or ()) for number in said)
