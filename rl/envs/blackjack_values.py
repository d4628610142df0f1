"""Blackjack against an infinite deck, solved by dynamic programming."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal, NamedTuple, TypeAlias

from .number_line import Levels

CARDS: Mapping[int, float] = {value: (4 if value == 10 else 1) / 13 for value in range(1, 11)}
"""The chance of each value; 10, J, Q and K are four of thirteen."""


class Hand(NamedTuple):
    """A hand's sum, and whether one ace of it counts 11."""

    total: int
    usable_ace: bool


HitChance: TypeAlias = Callable[[Hand, int], float]
"""How likely a policy hits: from the player's hand and the value of the dealer's card (ace: 1)."""
Objective: TypeAlias = Literal["win", "mean"]


def drawn(hand: Hand, card: int) -> Hand:
    """The hand with one more card (ace: 1); an ace counts 11 as long as that does not go over 21."""
    total, usable = hand.total + card, hand.usable_ace
    if card == 1 and not usable and total + 10 <= 21:
        return Hand(total + 10, True)
    return Hand(total - 10, False) if total > 21 and usable else Hand(total, usable)


@cache
def dealt() -> Mapping[Hand, float]:
    """The chance of each first hand of two cards."""
    chances: dict[Hand, float] = {}
    for first, p in CARDS.items():
        for second, q in CARDS.items():
            hand = drawn(drawn(Hand(0, False), first), second)
            chances[hand] = chances.get(hand, 0.0) + p * q
    return chances


@cache
def dealer_totals(hand: Hand, cards: int = 1) -> Mapping[int, float]:
    """The chance of each sum that the dealer ends with, 22 for every bust."""
    if hand.total >= 17 and cards >= 2:
        return {min(hand.total, 22): 1.0}
    totals: dict[int, float] = {}
    for card, p in CARDS.items():
        for total, q in dealer_totals(drawn(hand, card), 2).items():
            totals[total] = totals.get(total, 0.0) + p * q
    return totals


@cache
def standing(total: int, dealer: int) -> Levels:
    """The chance to win and the mean reward of standing on a sum."""
    win = mean = 0.0
    for theirs, p in dealer_totals(drawn(Hand(0, False), dealer)).items():
        result = 1 if theirs > 21 or total > theirs else 0 if total == theirs else -1
        win, mean = win + p * (result > 0), mean + p * result
    return Levels(win, mean)


def levels(policy: HitChance) -> Levels:
    """What a policy reaches, exactly: the share of games won and the mean return."""
    win = mean = 0.0
    for dealer, p in CARDS.items():
        memo: dict[Hand, Levels] = {}
        for hand, q in dealt().items():
            value = _value(policy, hand, dealer, memo)
            win, mean = win + p * q * value.success, mean + p * q * value.mean_return
    return Levels(win, mean)


def _value(policy: HitChance, hand: Hand, dealer: int, memo: dict[Hand, Levels]) -> Levels:
    if hand.total > 21:
        return Levels(0.0, -1.0)
    if hand not in memo:
        hit = policy(hand, dealer)
        parts = [(1 - hit, standing(hand.total, dealer))]
        if hit > 0:
            parts += [(hit * p, _value(policy, drawn(hand, card), dealer, memo)) for card, p in CARDS.items()]
        win = sum(weight * value.success for weight, value in parts)
        memo[hand] = Levels(win, sum(weight * value.mean_return for weight, value in parts))
    return memo[hand]


@cache
def best_policy(objective: Objective = "win") -> HitChance:
    """The optimum: most wins, or the highest mean return."""

    @cache
    def best(hand: Hand, dealer: int) -> tuple[float, bool]:
        if hand.total > 21:
            return (0.0 if objective == "win" else -1.0), False
        stood = standing(hand.total, dealer)
        stand = stood.success if objective == "win" else stood.mean_return
        hit = sum(p * best(drawn(hand, card), dealer)[0] for card, p in CARDS.items())
        return max(stand, hit), hit > stand

    return lambda hand, dealer: float(best(hand, dealer)[1])


def random_policy(hand: Hand, dealer: int) -> float:
    """Hits half the time."""
    return 0.5


def stand_policy(hand: Hand, dealer: int) -> float:
    """Never hits."""
    return 0.0


def below_17_policy(hand: Hand, dealer: int) -> float:
    """Hits below 17, as the dealer must."""
    return float(hand.total < 17)
