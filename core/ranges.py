"""Ranges of config values, one line each in a dataclass's `__post_init__`; the message names key and value.

    def __post_init__(self) -> None:
        at_least(self, 1, "steps", "batch_size")
        above(self, 0, "learning_rate")
        within(self, 0, 1, "share", "size")
        rising(self, "size")

Of a tuple every number must obey. NaN and infinity never do.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def at_least(config: object, least: float, *keys: str) -> None:
    """Refuse values below `least`. Raises ValueError naming the key."""
    demand = "not be negative" if least == 0 else f"be at least {least}"
    _check(config, keys, lambda value: value >= least, demand)


def above(config: object, bound: float, *keys: str) -> None:
    """Refuse values that are not greater than `bound`. Raises ValueError naming the key."""
    demand = "be positive" if bound == 0 else f"be above {bound}"
    _check(config, keys, lambda value: value > bound, demand)


def below(config: object, bound: float, *keys: str) -> None:
    """Refuse values that are not less than `bound`. Raises ValueError naming the key."""
    _check(config, keys, lambda value: value < bound, f"be below {bound}")


def within(config: object, low: float, high: float, *keys: str) -> None:
    """Refuse values outside [low, high]. Raises ValueError naming the key."""
    _check(config, keys, lambda value: low <= value <= high, f"lie between {low} and {high}")


def rising(config: object, *keys: str) -> None:
    """Refuse pairs whose first value exceeds the second. Raises ValueError naming the key."""
    for key in keys:
        low, high = getattr(config, key)
        if not -math.inf < low <= high < math.inf:
            raise ValueError(f"{key}={[low, high]} must be [lowest, highest]")


def _check(config: object, keys: tuple[str, ...], allowed: Callable[[float], bool], demand: str) -> None:
    for key in keys:
        value = getattr(config, key)
        numbers = list(value) if isinstance(value, tuple) else [value]
        if not all(-math.inf < number < math.inf for number in numbers):
            raise ValueError(f"{key}={value} must be finite")
        if not all(allowed(number) for number in numbers):
            raise ValueError(f"{key}={numbers if isinstance(value, tuple) else value} must {demand}")
