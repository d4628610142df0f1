"""Node parameters as one frozen dataclass per node: description, bounds, read-only flag beside each default.

    @dataclass(frozen=True)
    class CameraParameters:
        rate: float = parameter(15.0, "Frames per second.", low=1.0, high=60.0, read_only=True)

    declare(node, CameraParameters)          # in the constructor
    camera = read(node, CameraParameters)    # in on_configure, or whenever they are used

Bounds, types and read-only flags are then enforced by rclpy on every change; choices and finite numbers here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

_KEY = "kalie_ros"
Values = TypeVar("Values")


@dataclass(frozen=True)
class Rule:
    """What a parameter may be.

    Attributes:
        description: one line for whoever lists the parameters.
        low: least value of a number.
        high: greatest value of a number.
        choices: of a string; empty = any.
        read_only: whether it is fixed once the node runs.
        most: characters of a string or entries of an array, at most.
    """

    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False
    most: int = 1000

    def refuses(self, value: object) -> str:
        """Why a value that has the right type is refused; empty when it is not."""
        if isinstance(value, str) and self.choices and value not in self.choices:
            return f"{value!r} is not one of {', '.join(self.choices)}"
        if isinstance(value, str) and not value.isprintable():
            return "control characters are not allowed"
        if isinstance(value, float) and not math.isfinite(value):
            return f"expected a finite number, got {value}"
        if isinstance(value, Sequence):
            if len(value) > self.most:
                return f"at most {self.most} are allowed, got {len(value)}"
            return next(
                (
                    reason
                    for item in value
                    if not isinstance(value, str) and (reason := self._refuses_item(item))
                ),
                "",
            )
        return ""

    def _refuses_item(self, item: object) -> str:
        """Why an entry of an array is refused; rclpy applies bounds to single numbers only."""
        if isinstance(item, float | int) and not isinstance(item, bool):
            if not math.isfinite(item):
                return f"expected finite numbers, got {item}"
            if (self.low is not None and item < self.low) or (self.high is not None and item > self.high):
                return f"{item} is outside [{self.low}, {self.high}]"
        return ""

    def descriptor(self, default: object) -> ParameterDescriptor:
        """As ROS describes it."""
        described = ParameterDescriptor(description=self.description, read_only=self.read_only)
        if self.choices:
            described.additional_constraints = f"one of {', '.join(self.choices)}"
        low, high = self.low, self.high
        if low is None or high is None:
            return described
        if isinstance(default, float):
            described.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
        elif isinstance(default, int) and not isinstance(default, bool):
            described.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
        return described


def parameter(default: Any, description: str, **rule: Any) -> Any:  # noqa: ANN401 - as dataclasses.field
    """A dataclass field that is a node parameter; see `Rule` for the keywords. Arrays are given as tuples."""
    return field(default=default, metadata={_KEY: Rule(description, **rule)})


def rules(schema: type) -> dict[str, tuple[Any, Rule]]:
    """Default and rule of every parameter of a schema."""
    return {item.name: (item.default, item.metadata[_KEY]) for item in fields(schema)}


def declare(node: Node, schema: type) -> None:
    """Declare a schema's parameters on a node, and check every later change.

    Raises:
        ValueError: a value given at start-up is refused; the message names the parameter.
    """
    known = rules(schema)

    def check(changes: list[Parameter[Any]]) -> SetParametersResult:
        for change in changes:
            if change.name in known:
                reason = known[change.name][1].refuses(change.value)
                if reason:
                    return SetParametersResult(successful=False, reason=f"{change.name}: {reason}")
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)
    for name, (default, rule) in known.items():
        value = list(default) if isinstance(default, tuple) else default
        node.declare_parameter(name, value, rule.descriptor(default))


def read(node: Node, schema: type[Values]) -> Values:
    """A schema's parameters as they are now."""
    values = {}
    for name in rules(schema):
        value = node.get_parameter(name).value
        values[name] = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    return schema(**values)
