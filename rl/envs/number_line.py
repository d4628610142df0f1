"""NumberLine: walk from the current number to the target, one step at a time (Zhai et al. 2024, RL4VLM).

Reward 1 and the end at the target, -1 for a move that does not come nearer, else 0; 2M turns at most. An
episode is a success when its return is positive: the target was reached without one wrong move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...core.ranges import at_least, within
from ..types import Json
from .base import AgentEnv, Outcome
from .drawing import BLACK, GLYPH_HEIGHT, WHITE, Picture, blank, write
from .players import Player
from .rendered import BASE_SIZE, RenderedConfig, RenderedGame

MOVES: Mapping[str, int] = {"-": -1, "+": 1}


@dataclass(frozen=True)
class NumberLineConfig(RenderedConfig):
    """NumberLine.

    Attributes:
        max_position: M; the numbers are 0 to M.
        target_as_sum: whether the target is shown as a sum of two numbers, so that the comparison needs an
            intermediate result.
    """

    env_id: ClassVar[str] = "kalie/NumberLine-v0"
    max_position: int = 5
    target_as_sum: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 2, "max_position")
        within(self, 2, 99, "max_position")


def moved(current: int, action: str, most: int) -> int:
    """Where a move leads; the ends of the line hold."""
    return min(max(current + MOVES[action], 0), most)


def move_reward(before: int, after: int, target: int) -> float:
    """1 at the target, -1 where the distance did not shrink, else 0."""
    if after == target:
        return 1.0
    return 0.0 if abs(after - target) < abs(before - target) else -1.0


class NumberLineEnv(RenderedGame):
    """`kalie/NumberLine-v0`."""

    invalid_rule = "the number stays where it is, reward -1 (the distance did not shrink); the turn counts"
    legal = tuple(MOVES)
    rules = (
        "A number line game. You see a target number and your current number. Bring the current number to "
        'the target: "+" adds one, "-" takes one away.'
    )
    fields: ClassVar[Mapping[str, str]] = {"target": "number", "current": "number"}

    def __init__(self, config: NumberLineConfig | None = None) -> None:
        self.config = config or NumberLineConfig()
        super().__init__(self.config, max_turns=2 * self.config.max_position)
        self.current = self.target = 0
        self.terms: tuple[int, ...] = (0,)
        self._penalties = 0

    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        """Draw start and target, both uniform on the line, and different."""
        most = self.config.max_position
        self.current, target = (int(number) for number in self.np_random.integers(0, most + 1, 2))
        self.target = (target + 1) % most if target == self.current else target
        first = int(self.np_random.integers(self.target + 1))
        self.terms = (first, self.target - first) if self.config.target_as_sum else (self.target,)
        self._penalties = 0
        return {"current": self.current, "target": self.target}

    def apply(self, action: str) -> Outcome:
        """Move, and compare distances."""
        after = moved(self.current, action, self.config.max_position)
        reward = move_reward(self.current, after, self.target)
        self.current = after
        self._penalties += reward < 0
        return Outcome(reward, after == self.target, success=after == self.target and not self._penalties)

    def refuse(self, response: str, error: str) -> Outcome:
        """The number stays."""
        self._penalties += 1
        return Outcome(-1.0)

    def world_state(self) -> Json:
        """Current number and target."""
        return {"current": self.current, "target": self.target, "terms": list(self.terms)}

    def shown_target(self) -> str:
        """The target as the observation gives it, e.g. "5" or "2+3"."""
        return "+".join(map(str, self.terms))

    def truth(self) -> Mapping[str, Json]:
        """Target (its value, where a sum is shown) and current number."""
        return {"target": self.target, "current": self.current}

    def sayable(self) -> frozenset[int]:
        """The numbers of the state."""
        return frozenset((self.current, self.target, *self.terms))

    def sentences(self) -> str:
        """The two numbers in words."""
        return f"Target number: {self.shown_target()}. Current number: {self.current}."

    def symbols(self) -> str:
        """Target and current number."""
        return f"{self.shown_target()} {self.current}"

    def picture(self) -> Picture:
        """Black on white: target above, current number below."""
        picture = blank(BASE_SIZE, WHITE)
        for row, (label, number) in enumerate(
            (("Target", self.shown_target()), ("Current", str(self.current)))
        ):
            top = 4 + row * BASE_SIZE // 2
            write(picture, label, 2, top, BLACK)
            write(picture, number, 2, top + GLYPH_HEIGHT - 2, BLACK, scale=2 if len(number) <= 5 else 1)
        return picture


def number_line(env: AgentEnv) -> NumberLineEnv:
    """The environment itself, under whatever wraps it."""
    bare = env.unwrapped
    if not isinstance(bare, NumberLineEnv):
        raise TypeError(f"expected a NumberLineEnv, got {type(bare).__name__}")
    return bare


def demonstrator(misread: float = 0.0, misjudge: float = 0.0) -> Player:
    """A player who answers as a warm start should: states what it sees, compares, moves.

    Args:
        misread: share of answers in which one of the numbers is read wrong, and then believed.
        misjudge: share of answers whose comparison of the numbers read is wrong.
    """

    def respond(env: AgentEnv, rng: np.random.Generator) -> str:
        game = number_line(env)
        target, current = game.target, game.current
        if rng.random() < misread:
            other = int(rng.integers(game.config.max_position + 1))
            target, current = (other, current) if rng.random() < 0.5 else (target, other)
        less = current < target
        if rng.random() < misjudge:
            less = not less
        compared = f"{current} is {'less' if less else 'more'} than {target}"
        if len(game.terms) > 1:
            compared = f"{game.shown_target()} is {target}, {compared}"
        return game.answer("+" if less else "-", {"target": target, "current": current}, compared)

    return respond


expert: Player = demonstrator()


class Levels(NamedTuple):
    """What a policy reaches, exactly: the share of successes and the mean return."""

    success: float
    mean_return: float


def random_levels(max_position: int = 5) -> Levels:
    """What uniformly random moves reach, by dynamic programming."""
    most = max_position
    pairs = [(s, (g + 1) % most if g == s else g) for s in range(most + 1) for g in range(most + 1)]
    success = sum(_flawless(s, g, most) for s, g in pairs) / len(pairs)
    mean = sum(_random_return(s, g, most, 2 * most) for s, g in pairs) / len(pairs)
    return Levels(success, mean)


@cache
def _flawless(current: int, target: int, most: int) -> float:
    """The chance that random moves reach the target without a penalty."""
    share = 0.0
    for action in MOVES:
        after = moved(current, action, most)
        reward = move_reward(current, after, target)
        share += 0.5 * (1.0 if after == target else 0.0 if reward < 0 else _flawless(after, target, most))
    return share


@cache
def _random_return(current: int, target: int, most: int, turns: int) -> float:
    if turns == 0:
        return 0.0
    total = 0.0
    for action in MOVES:
        after = moved(current, action, most)
        later = 0.0 if after == target else _random_return(after, target, most, turns - 1)
        total += 0.5 * (move_reward(current, after, target) + later)
    return total
