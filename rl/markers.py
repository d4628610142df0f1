"""Where in a response the action begins, found in its text: token ids differ from tokenizer to tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

ACTION_MARKER = '"action":'


def action_start(ids: Sequence[int], text: Callable[[Sequence[int]], str], marker: str) -> int:
    """The index of the first token of the marker's last occurrence; len(ids) where there is none.

    Args:
        ids: of a response.
        text: turns ids into text.
        marker: that the action follows.
    """
    place = text(ids).rfind(marker)
    if place < 0:
        return len(ids)
    # Bisection: the text of the first k tokens only grows with k.
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if len(text(ids[: middle + 1])) > place:
            high = middle
        else:
            low = middle + 1
    return low


def token_weights(length: int, start: int, thought_weight: float, skip: int) -> NDArray[np.float64]:
    """Weights of a response's tokens: 0 for the skipped first ones, lambda for thoughts, 1 for the action.

    Args:
        length: of the response.
        start: index of the action's first token.
        thought_weight: lambda.
        skip: how many tokens at the beginning have no weight.
    """
    weights = np.where(np.arange(length) < start, thought_weight, 1.0)
    weights[:skip] = 0.0
    return weights
