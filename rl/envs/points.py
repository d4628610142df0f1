"""EZPoints and Points24: make 12 (24) of the cards shown, one token of the formula a turn (RL4VLM).

A number that the cards do not (any longer) hold adds nothing to the formula: reward -1. "=" ends the episode:
10 where the formula is worth the target and uses every card once, else -1. A formula of more than `longest`
tokens, tokens refused included, is cut off with -1. Values are exact fractions; two numbers side by side are
no formula unless `concatenate` opens the loophole that the published environments had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..types import Json
from .base import AgentEnv, Outcome
from .drawing import BLACK, GLYPH_HEIGHT, GLYPH_WIDTH, WHITE, Colour, Picture, blank, fill, write
from .formulas import OPERATORS, InvalidFormula, Tokens, evaluate, solutions
from .players import Player
from .rendered import BASE_SIZE, RenderedConfig, RenderedGame

RANKS: Mapping[int, str] = {1: "A", **{n: str(n) for n in range(2, 11)}, 11: "J", 12: "Q", 13: "K"}
FELT: Colour = (53, 101, 77)
WON, LOST = 10.0, -1.0


def card_value(rank: int) -> int:
    """The number of a card of rank 1 to 13; J, Q and K count 10."""
    return min(rank, 10)


@dataclass(frozen=True)
class PointsConfig(RenderedConfig):
    """A points game.

    Attributes:
        concatenate: whether numbers side by side join their digits, as in the published environments.
    """

    concatenate: bool = False


@dataclass(frozen=True)
class EZPointsConfig(PointsConfig):
    """EZPoints: two cards, always solvable, target 12."""

    env_id: ClassVar[str] = "kalie/EZPoints-v0"


@dataclass(frozen=True)
class Points24Config(PointsConfig):
    """Points24: four cards, solvable or not, target 24."""

    env_id: ClassVar[str] = "kalie/Points24-v0"


class PointsEnv(RenderedGame):
    """What both games share."""

    invalid_rule = "the formula stays as it is, reward -1; the turn counts toward its longest length"
    fields: ClassVar[Mapping[str, str]] = {"cards": "list of cards", "formula": "text"}
    target_value: ClassVar[int]
    longest: ClassVar[int]
    operators: ClassVar[Tokens]

    def __init__(self, config: PointsConfig) -> None:
        self.config = config
        # One turn more than the longest formula is cut off when it is about to grow again.
        super().__init__(config, max_turns=self.longest + 2)
        self.ranks: tuple[int, ...] = ()
        self.formula: Tokens = ()

    def deal(self) -> tuple[int, ...]:
        """Draw the ranks of the cards."""
        raise NotImplementedError

    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        """Deal."""
        self.ranks, self.formula = self.deal(), ()
        return {"cards": self.cards()}

    def cards(self) -> list[str]:
        """The cards as they are written: A, 2 to 10, J, Q, K."""
        return [RANKS[rank] for rank in self.ranks]

    def numbers(self) -> tuple[int, ...]:
        """The numbers of the cards, in order."""
        return tuple(card_value(rank) for rank in self.ranks)

    def left(self) -> Counter[int]:
        """The numbers that the formula has not used."""
        return Counter(self.numbers()) - Counter(int(token) for token in self.formula if token.isdecimal())

    def apply(self, action: str) -> Outcome:
        """Add a token, or judge the formula."""
        if self.turns > self.longest + 1:
            return Outcome(LOST, truncated=True)
        if action == "=":
            won = not self.left() and self._worth_target()
            return Outcome(WON if won else LOST, terminated=True, success=won)
        if action.isdecimal() and not self.left()[int(action)]:
            return Outcome(-1.0)
        self.formula = (*self.formula, action)
        return Outcome(0.0)

    def refuse(self, response: str, error: str) -> Outcome:
        """The formula stays."""
        return Outcome(-1.0, truncated=self.turns > self.longest + 1)

    def _worth_target(self) -> bool:
        try:
            return evaluate(self.formula, self.config.concatenate) == self.target_value
        except InvalidFormula:
            return False

    def world_state(self) -> Json:
        """Cards and formula."""
        return {"cards": self.cards(), "formula": list(self.formula)}

    def truth(self) -> Mapping[str, Json]:
        """Cards and formula as written."""
        return {"cards": self.cards(), "formula": "".join(self.formula)}

    def sentences(self) -> str:
        """Cards and formula in words."""
        return f"Cards: {', '.join(self.cards())}. {self.beside_picture()}"

    def beside_picture(self) -> str:
        """The formula so far."""
        return f"Formula: {''.join(self.formula)}"

    def symbols(self) -> str:
        """Cards, then the formula."""
        return f"{' '.join(self.cards())} | {' '.join(self.formula)}".rstrip()

    def picture(self) -> Picture:
        """White cards on green felt, the formula below them."""
        picture = blank(BASE_SIZE, FELT)
        width = (BASE_SIZE - 2) // len(self.ranks)
        scale = 2 if width >= 4 * GLYPH_WIDTH + 2 else 1
        for index, card in enumerate(self.cards()):
            left = 1 + index * width
            fill(picture, left, 2, width - 1, 26, WHITE)
            write(picture, card, left + 1, 4, BLACK, scale)
        text, line = "".join(self.formula), BASE_SIZE // GLYPH_WIDTH
        for row, start in enumerate(range(0, len(text), line)):
            write(picture, text[start : start + line], 2, 30 + row * GLYPH_HEIGHT, WHITE)
        return picture


class EZPointsEnv(PointsEnv):
    """`kalie/EZPoints-v0`."""

    target_value = 12
    longest = 5
    operators = ("+", "*")
    legal = (*map(str, range(1, 11)), *operators, "=")
    rules = (
        "A card game. Make a formula worth 12 of the two cards shown, each used once; J, Q and K count 10. "
        'Each turn adds one number or operator to the formula; "=" ends the game.'
    )

    def __init__(self, config: EZPointsConfig | None = None) -> None:
        super().__init__(config or EZPointsConfig())

    def deal(self) -> tuple[int, ...]:
        """A first card of 2 to K, and one that makes 12 with it by sum or product, in either order."""
        first = int(self.np_random.integers(2, 14))
        product, swapped = (bool(coin) for coin in self.np_random.integers(0, 2, 2))
        value = card_value(first)
        second = 12 // value if product and value in (2, 3, 4, 6) else 12 - value
        return (second, first) if swapped else (first, second)


class Points24Env(PointsEnv):
    """`kalie/Points24-v0`."""

    target_value = 24
    longest = 20
    operators = OPERATORS
    legal = (*map(str, range(1, 11)), *operators, "(", ")", "=")
    rules = (
        "A card game. Make a formula worth 24 of the four cards shown, each used once; J, Q and K count 10. "
        'Each turn adds one number, operator or bracket to the formula; "=" ends the game. '
        "Some hands have no solution."
    )

    def __init__(self, config: Points24Config | None = None) -> None:
        super().__init__(config or Points24Config())

    def deal(self) -> tuple[int, ...]:
        """Four cards, uniform over the ranks."""
        return tuple(int(rank) for rank in self.np_random.integers(1, 14, 4))


def points(env: AgentEnv) -> PointsEnv:
    """The environment itself, under whatever wraps it."""
    bare = env.unwrapped
    if not isinstance(bare, PointsEnv):
        raise TypeError(f"expected a PointsEnv, got {type(bare).__name__}")
    return bare


def continuation(game: PointsEnv, numbers: tuple[int, ...]) -> Tokens | None:
    """The shortest solution that begins with the present formula, None where there is none.

    Args:
        game: gives formula, target and operators.
        numbers: what the cards are taken to be.
    """
    made = game.formula
    for tokens in solutions(tuple(sorted(numbers)), game.target_value, game.operators):
        if tokens[: len(made)] == made:
            return tokens
    return None


def demonstrator(misread: float = 0.0, misjudge: float = 0.0) -> Player:
    """A player who answers as a warm start should: states the cards, names a solution, adds its next token.

    Where the formula cannot become a solution any more (or the hand has none) it ends the game.

    Args:
        misread: share of answers in which one card is read wrong, and then believed.
        misjudge: share of answers with a random token instead of the solution's.
    """

    def respond(env: AgentEnv, rng: np.random.Generator) -> str:
        game = points(env)
        ranks = list(game.ranks)
        if rng.random() < misread:
            ranks[int(rng.integers(len(ranks)))] = int(rng.integers(1, 14))
        plan = continuation(game, tuple(card_value(rank) for rank in ranks))
        thoughts = f"{''.join(plan)} is {game.target_value}" if plan else "no solution"
        action = "=" if plan is None or plan == game.formula else plan[len(game.formula)]
        if rng.random() < misjudge:
            action = game.legal[int(rng.integers(len(game.legal)))]
        seen: list[Json] = [RANKS[rank] for rank in ranks]
        stated: dict[str, Json] = {"cards": seen, "formula": "".join(game.formula)}
        return game.answer(action, stated, thoughts)

    return respond


expert: Player = demonstrator()
