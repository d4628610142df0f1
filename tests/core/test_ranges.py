"""Ranges of config values: the border itself is judged right, and a refusal names key, value and range."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from kalie.core.ranges import above, at_least, below, rising, within


@dataclass(frozen=True)
class Holder:
    key: object


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (lambda c: at_least(c, 1, "key"), 1),
        (lambda c: above(c, 0, "key"), 1e-9),
        (lambda c: below(c, 1, "key"), -5.0),
        (lambda c: within(c, 0, 1, "key"), 0),
        (lambda c: within(c, 0, 1, "key"), (0.0, 1.0)),
        (lambda c: rising(c, "key"), (0.3, 0.3)),
        (lambda c: at_least(c, 0, "key"), 10**400),
    ],
)
def test_values_in_range_pass(check: Callable[[object], None], value: object) -> None:
    check(Holder(value))


@pytest.mark.parametrize(
    ("check", "value", "says"),
    [
        (lambda c: at_least(c, 1, "key"), 0, "key=0 must be at least 1"),
        (lambda c: at_least(c, 0, "key"), -0.5, "key=-0.5 must not be negative"),
        (lambda c: above(c, 0, "key"), 0.0, "key=0.0 must be positive"),
        (lambda c: above(c, 2, "key"), 2, "key=2 must be above 2"),
        (lambda c: below(c, 1, "key"), 1, "key=1 must be below 1"),
        (lambda c: within(c, 0, 1, "key"), 1.01, "key=1.01 must lie between 0 and 1"),
        (lambda c: within(c, 0, 1, "key"), (0.5, 2.0), r"key=\[0.5, 2.0\] must lie between 0 and 1"),
        (lambda c: rising(c, "key"), (2, 1), r"key=\[2, 1\] must be \[lowest, highest\]"),
        (lambda c: rising(c, "key"), (0, math.inf), r"key=\[0, inf\] must be .*"),
        (lambda c: at_least(c, 0, "key"), math.inf, "key=inf must be finite"),
        (lambda c: within(c, 0, 1, "key"), math.nan, "key=nan must be finite"),
    ],
)
def test_when_a_value_is_out_of_range_expect_key_value_and_range(
    check: Callable[[object], None], value: object, says: str
) -> None:
    with pytest.raises(ValueError, match=f"^{says}$"):
        check(Holder(value))
