"""What chance and perfect play reach in EZPoints and Points24, exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import combinations_with_replacement
from math import factorial, prod

from .formulas import InvalidFormula, Tokens, evaluate, solvable
from .number_line import Levels
from .points import LOST, WON, EZPointsEnv, Points24Env, card_value


def ez_hands() -> Iterator[tuple[float, tuple[int, int]]]:
    """Every hand of EZPoints, sorted, with its probability."""
    for rank in range(2, 14):
        value = card_value(rank)
        for product in (True, False):
            second = 12 // value if product and value in (2, 3, 4, 6) else 12 - value
            yield 1 / 24, (min(value, second), max(value, second))


def ez_random_levels() -> Levels:
    """What uniformly random tokens reach in EZPoints, by dynamic programming over formulas and turns."""
    success = mean = 0.0
    for share, hand in ez_hands():
        won, value = _ez_random(hand, (), 0)
        success, mean = success + share * won, mean + share * value
    return Levels(success, mean)


@cache
def _ez_random(hand: tuple[int, int], formula: Tokens, turns: int) -> tuple[float, float]:
    """Chance of success and mean return from here on."""
    legal = EZPointsEnv.legal
    if turns > EZPointsEnv.longest:
        return 0.0, LOST
    success = mean = 0.0
    for action in legal:
        won, value = _ez_after(hand, formula, turns, action)
        success, mean = success + won, mean + value
    return success / len(legal), mean / len(legal)


def _ez_after(hand: tuple[int, int], formula: Tokens, turns: int, action: str) -> tuple[float, float]:
    left = Counter(hand) - Counter(int(token) for token in formula if token.isdecimal())
    if action == "=":
        won = not left and _worth(formula, EZPointsEnv.target_value)
        return float(won), WON if won else LOST
    if action.isdecimal() and not left[int(action)]:
        won, value = _ez_random(hand, formula, turns + 1)
        return won, value - 1
    return _ez_random(hand, (*formula, action), turns + 1)


def _worth(formula: Tokens, target: int) -> bool:
    try:
        return evaluate(formula) == target
    except InvalidFormula:
        return False


def solvable_share() -> float:
    """The share of Points24's hands that have a solution: the ceiling of success."""
    weights = Counter(card_value(rank) for rank in range(1, 14))
    found = total = 0
    for hand in combinations_with_replacement(range(1, 11), 4):
        orders = factorial(4) // prod(factorial(count) for count in Counter(hand).values())
        weight = orders * prod(weights[number] for number in hand)
        total += weight
        found += weight * solvable(hand, Points24Env.target_value)
    return found / total


def points24_optimum() -> Levels:
    """Perfect play: solve what has a solution, end the rest at once."""
    share = solvable_share()
    return Levels(share, share * WON + (1 - share) * LOST)
