"""The keypoint affordance: five optional image points and six optional scalars, with exact JSON round trip.

A `Keypoint` is (x, y) in [0, 1) of image width and height: x right, y down, the corner of the image is
(0, 0). Pixels and thousandths appear only at the edges and are converted by `affordance.units`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, TypeGuard, get_args

KeypointName = Literal["grasp", "function", "target", "pre_contact", "post_contact"]
KEYPOINT_NAMES: tuple[KeypointName, ...] = get_args(KeypointName)
ScalarName = Literal["pre_height", "target_height", "post_height", "grasp_yaw", "tool_tilt", "gripper_width"]
SCALAR_NAMES: tuple[ScalarName, ...] = get_args(ScalarName)
# Closed ranges; anything outside is refused, never clamped.
SCALAR_RANGES: Mapping[ScalarName, tuple[float, float]] = {
    "pre_height": (-0.5, 0.5),
    "target_height": (-0.5, 0.5),
    "post_height": (-0.5, 0.5),
    "grasp_yaw": (-math.pi / 2, math.pi / 2),
    "tool_tilt": (-math.pi, math.pi),
    "gripper_width": (0.0, 0.2),
}


class InvalidKeypoints(ValueError):
    """An affordance, or a reply that should hold one, is malformed; the message names the key."""


@dataclass(frozen=True, order=True)
class Keypoint:
    """A point in the image, as fractions of its width and height, each in [0, 1)."""

    x: float
    y: float

    def __post_init__(self) -> None:
        for axis, value in (("x", self.x), ("y", self.y)):
            if not _is_finite(value):
                raise InvalidKeypoints(f"keypoint {axis}: expected a finite number, got {value!r}")
            if not 0.0 <= value < 1.0:
                raise InvalidKeypoints(f"keypoint {axis}: {value} is outside the image, expected [0, 1)")

    def distance(self, other: Keypoint) -> float:
        """Euclidean distance in fractions of the image (of a square image: side lengths)."""
        return math.hypot(self.x - other.x, self.y - other.y)


@dataclass(frozen=True)
class Affordance:
    """Where to grasp, with which part, toward what, along which way; the scalars complete the pose.

    Attributes:
        grasp: where the gripper closes.
        function: the part of the held object that does the work.
        target: what the function point acts on.
        pre_contact: a free-space point before contact.
        post_contact: a free-space point after it.
        pre_height: metres at pre_contact, above the primitive's reference surface (see `control.primitives`).
        target_height: metres at target.
        post_height: metres at post_contact.
        grasp_yaw: radians in (-pi/2, pi/2], image-plane direction of the jaws' closing axis, measured from
            +x toward +y (clockwise as seen); a line, so defined modulo pi.
        tool_tilt: radians about the jaws' closing axis at the target; positive lowers the function point.
        gripper_width: metres between the open jaws when approaching.
    """

    grasp: Keypoint | None = None
    function: Keypoint | None = None
    target: Keypoint | None = None
    pre_contact: Keypoint | None = None
    post_contact: Keypoint | None = None
    pre_height: float | None = None
    target_height: float | None = None
    post_height: float | None = None
    grasp_yaw: float | None = None
    tool_tilt: float | None = None
    gripper_width: float | None = None

    def __post_init__(self) -> None:
        for name in KEYPOINT_NAMES:
            value = getattr(self, name)
            if value is not None and not isinstance(value, Keypoint):
                raise InvalidKeypoints(f"{name}: expected a Keypoint or None, got {value!r}")
        for name in SCALAR_NAMES:
            _check_scalar(name, getattr(self, name))

    def keypoints(self) -> Iterator[tuple[KeypointName, Keypoint]]:
        """The keypoints that are present, in schema order."""
        for name in KEYPOINT_NAMES:
            point: Keypoint | None = getattr(self, name)
            if point is not None:
                yield name, point

    def with_keypoints(self, points: Mapping[KeypointName, Keypoint | None]) -> Affordance:
        """A copy with some keypoints replaced."""
        return replace(self, **{str(name): point for name, point in points.items()})

    def to_json(self) -> dict[str, list[float] | float | None]:
        """A JSON object with every key of the schema; absent values are null."""
        out: dict[str, list[float] | float | None] = {}
        for spec in fields(self):
            value = getattr(self, spec.name)
            out[spec.name] = [value.x, value.y] if isinstance(value, Keypoint) else value
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Affordance:
        """Parse what `to_json` wrote. Missing keys are absent; unknown keys are refused.

        Raises:
            InvalidKeypoints: naming the key at fault.
        """
        known = {spec.name for spec in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise InvalidKeypoints(f"unknown key {unknown[0]!r}; known keys are {', '.join(sorted(known))}")
        values: dict[str, Keypoint | float | None] = {}
        for name in KEYPOINT_NAMES:
            values[name] = _point_from_json(name, data.get(name))
        for name in SCALAR_NAMES:
            values[name] = _check_scalar(name, data.get(name))
        return cls(**values)  # pyright: ignore[reportArgumentType]


def _is_finite(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large
        return False


def _point_from_json(name: KeypointName, value: object) -> Keypoint | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidKeypoints(f"{name}: expected [x, y] or null, got {value!r}")
    try:
        return Keypoint(value[0], value[1])
    except InvalidKeypoints as error:
        raise InvalidKeypoints(f"{name}: {error}") from None


def _check_scalar(name: ScalarName, value: object) -> float | None:
    if value is None:
        return None
    if not _is_finite(value):
        raise InvalidKeypoints(f"{name}: expected a finite number or null, got {value!r}")
    low, high = SCALAR_RANGES[name]
    if not low <= value <= high:
        raise InvalidKeypoints(f"{name}: {value} is outside [{low:g}, {high:g}]")
    return float(value)


def json_schema() -> dict[str, object]:
    """The published JSON schema (draft 2020-12) of `Affordance.to_json`."""
    unit = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    point = {"type": ["array", "null"], "items": unit, "minItems": 2, "maxItems": 2}
    scalars = {
        name: {"type": ["number", "null"], "minimum": low, "maximum": high}
        for name, (low, high) in SCALAR_RANGES.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Affordance",
        "type": "object",
        "properties": {**dict.fromkeys(KEYPOINT_NAMES, point), **scalars},
        "additionalProperties": False,
    }
