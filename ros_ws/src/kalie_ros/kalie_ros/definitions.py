"""Message types by name: their definitions as text, from the ament index, and their Python classes."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

SEPARATOR = "=" * 80
_NAME = re.compile(r"([a-z][a-z0-9_]*)/msg/([A-Z][A-Za-z0-9]*)")
# The type at the start of a field's line, where it is a message's: primitive types are lower case.
_PART = re.compile(
    r"^[ \t]*(?:([a-z][a-z0-9_]*)/)?([A-Z][A-Za-z0-9]*)(?:\[[^\]\n]*\])?[ \t]+[a-z]", re.MULTILINE
)
_COMMENT = re.compile(r"#.*")


class UnknownType(ValueError):
    """A message type is not installed here, or is no message's; the message names it."""


def ament_prefixes() -> list[Path]:
    """The install folders of ROS packages, newest overlay first."""
    return [Path(part) for part in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if part]


def definition(type_name: str, prefixes: Sequence[Path]) -> str:
    """A type's `.msg` text and, each below a separator line, those of every type it is made of ("ros2msg").

    Args:
        type_name: e.g. sensor_msgs/msg/Image.
        prefixes: where packages are looked for, the first that has one first.

    Raises:
        UnknownType: the type, or one it is made of, is not there.
    """
    package, name = _split(type_name)
    texts: dict[tuple[str, str], str] = {}
    wanted = [(package, name)]
    while wanted:
        part = wanted.pop(0)
        if part not in texts:
            texts[part] = _own_text(*part, prefixes)
            wanted += [(found or part[0], inner) for found, inner in _PART.findall(texts[part])]
    own = texts.pop((package, name))
    return "\n".join([own, *(f"{SEPARATOR}\nMSG: {'/'.join(part)}\n{text}" for part, text in texts.items())])


def same_fields(first: str, second: str) -> bool:
    """Whether two definitions differ in comments and blanks at most."""
    return _bare(first) == _bare(second)


def message_class(type_name: str, prefixes: Sequence[Path]) -> type:
    """The Python class of a message type; only what the ament index lists is imported.

    Raises:
        UnknownType: the type is not there, or was not built for this Python.
    """
    package, name = _split(type_name)
    _own_text(package, name, prefixes)
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise UnknownType(f"{type_name} is installed, but not for this Python ({error})") from None


def _split(type_name: str) -> tuple[str, str]:
    matched = _NAME.fullmatch(type_name)
    if matched is None:
        raise UnknownType(f"{type_name[:200]!r} is not a message type")
    return matched[1], matched[2]


def _own_text(package: str, name: str, prefixes: Sequence[Path]) -> str:
    for prefix in prefixes:
        path = prefix / "share" / package / "msg" / f"{name}.msg"
        if path.is_file():
            return path.read_text("utf-8")
    raise UnknownType(f"{package}/msg/{name} is not installed here")


def _bare(text: str) -> list[list[str]]:
    return [words for line in text.splitlines() if (words := _COMMENT.sub("", line).split())]
