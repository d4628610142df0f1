"""Observations are equal when they show the same."""

from __future__ import annotations

import numpy as np

from kalie.rl.types import Observation

DARK, LIGHT = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 9, np.uint8)


def test_observations_are_equal_by_text_and_pixels() -> None:
    shown = Observation("a", (DARK, LIGHT))
    assert shown == Observation("a", (DARK.copy(), LIGHT.copy()))
    assert hash(shown) == hash(Observation("a", (DARK.copy(), LIGHT.copy())))
    for other in (
        Observation("b", (DARK, LIGHT)),
        Observation("a", (LIGHT, DARK)),
        Observation("a", (DARK,)),
        Observation("a", (DARK, LIGHT[:1])),
        "a",
    ):
        assert shown != other
