"""Strict reading and writing of text answers: what a vision-language model is asked to reply.

The reply is one JSON object with the five keypoint keys ([x, y] or null) and, optionally, the scalars.
Units and coordinate order are declared by the caller, never guessed; anything out of range is refused,
never clamped; a reply that is not exactly one such object is refused with the key at fault.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..core.one_object import NotOneObject, read_object
from .schema import KEYPOINT_NAMES, SCALAR_NAMES, Affordance, InvalidKeypoints, Keypoint, ScalarName
from .units import from_thousandths, to_thousandths

Units = Literal["thousandths", "percent", "fraction", "pixels"]
Order = Literal["xy", "yx"]
# Scalars are written as integers: heights and width in millimetres, angles in degrees.
SCALAR_STEPS: Mapping[ScalarName, float] = {
    "pre_height": 1e-3,
    "target_height": 1e-3,
    "post_height": 1e-3,
    "grasp_yaw": math.pi / 180,
    "tool_tilt": math.pi / 180,
    "gripper_width": 1e-3,
}


@dataclass(frozen=True)
class ReplyFormat:
    """How points are written in a reply.

    Attributes:
        units: thousandths (integers 0..999), percent (0 <= x < 100), fraction (0 <= x < 1), or pixels
            (integers 0..size-1 of an image of `width` x `height`).
        order: whether a pair is [x, y] or [y, x].
        width: image width, needed for pixels.
        height: image height, needed for pixels.
    """

    units: Units = "thousandths"
    order: Order = "xy"
    width: int = 0
    height: int = 0

    def __post_init__(self) -> None:
        if self.units == "pixels" and (self.width < 1 or self.height < 1):
            raise ValueError("reply format: pixels need the image's width and height")


def parse_reply(text: str, fmt: ReplyFormat | None = None) -> Affordance:
    """Read one reply.

    Args:
        text: exactly one JSON object, bare or in one code fence.
        fmt: units and order of its points; thousandths as [x, y] by default.

    Raises:
        InvalidKeypoints: naming the key (or the place) at fault.
    """
    fmt = fmt or ReplyFormat()
    data = load_object(text)
    known = (*KEYPOINT_NAMES, *SCALAR_NAMES)
    for key in data:
        if key not in known:
            raise InvalidKeypoints(f"unknown key {key!r}; known keys are {', '.join(known)}")
    points: dict[str, Keypoint | None] = {}
    for name in KEYPOINT_NAMES:
        if name not in data:
            raise InvalidKeypoints(f"{name}: missing; write null when there is no such point")
        points[name] = _read_point(name, data[name], fmt)
    scalars = {name: _read_scalar(name, data.get(name)) for name in SCALAR_NAMES}
    return Affordance(**points, **scalars)  # pyright: ignore[reportArgumentType]


def format_reply(affordance: Affordance, fmt: ReplyFormat | None = None) -> str:
    """Write the text answer that `parse_reply` reads.

    Args:
        affordance: heights and width are written in millimetres, angles in degrees; absent ones are left out.
        fmt: units and order of its points; thousandths as [x, y] by default.
    """
    fmt = fmt or ReplyFormat()
    data: dict[str, list[float] | int | None] = {}
    present = dict(affordance.keypoints())
    for name in KEYPOINT_NAMES:
        data[name] = _write_point(present[name], fmt) if name in present else None
    for scalar in SCALAR_NAMES:
        value: float | None = getattr(affordance, scalar)
        if value is not None:
            data[scalar] = round(value / SCALAR_STEPS[scalar])
    return json.dumps(data, separators=(", ", ": "))


def load_object(text: str) -> dict[str, object]:
    """Read exactly one JSON object, bare or in one code fence; no key twice, no NaN.

    Raises:
        InvalidKeypoints: the text is anything else, or longer than `MAX_CHARACTERS`.
    """
    try:
        return read_object(text)
    except NotOneObject as error:
        raise InvalidKeypoints(str(error)) from None


def _read_point(name: str, value: object, fmt: ReplyFormat) -> Keypoint | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise InvalidKeypoints(f"{name}: expected two numbers or null, got {_short(value)}")
    x, y = value if fmt.order == "xy" else (value[1], value[0])
    try:
        if fmt.units == "thousandths":
            return from_thousandths(x, y)
        if fmt.units == "pixels":
            return Keypoint(_pixel("x", x, fmt.width), _pixel("y", y, fmt.height))
        scale = 100.0 if fmt.units == "percent" else 1.0
        return Keypoint(_number("x", x) / scale, _number("y", y) / scale)
    except InvalidKeypoints as error:
        raise InvalidKeypoints(f"{name}: {error}") from None


def _write_point(point: Keypoint, fmt: ReplyFormat) -> list[float]:
    if fmt.units == "thousandths":
        x, y = to_thousandths(point)
    elif fmt.units == "pixels":
        x, y = math.floor(point.x * fmt.width), math.floor(point.y * fmt.height)
    else:
        # To a thousandth of the image, and never onto its far border, which is outside.
        scale = 100 if fmt.units == "percent" else 1
        x, y = (scale * min(round(value * 1000), 999) / 1000 for value in (point.x, point.y))
    return [x, y] if fmt.order == "xy" else [y, x]


def _pixel(axis: str, value: object, size: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < size:
        raise InvalidKeypoints(f"{axis}: expected an integer 0..{size - 1}, got {_short(value)}")
    return (value + 0.5) / size


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidKeypoints(f"{name}: expected a number, got {_short(value)}")
    try:
        return float(value)
    except OverflowError:
        raise InvalidKeypoints(f"{name}: the number is too large") from None


def _read_scalar(name: ScalarName, value: object) -> float | None:
    return None if value is None else _number(name, value) * SCALAR_STEPS[name]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
