"""Blackjack against an infinite deck, by Gymnasium's rules (Sutton & Barto 2018, example 5.1; RL4VLM).

The dealer shows one card, and draws to 17 when the player stands. 1 for a win, -1 for a loss or going bust, 0
for a draw; naturals pay nothing extra. An episode is a success when the player wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from ..types import Json
from .base import AgentEnv, Outcome
from .blackjack_values import Hand, best_policy
from .drawing import BLACK, WHITE, Colour, Picture, blank, fill, write
from .players import Player
from .points import FELT, RANKS, card_value
from .rendered import BASE_SIZE, RenderedConfig, RenderedGame

BACK: Colour = (150, 30, 40)
# A hand of more cards than this is cut off; no hand that the optimum plays comes near.
MAX_TURNS = 20
PER_ROW, CARD_WIDTH, CARD_HEIGHT, MOST_SHOWN = 5, 12, 14, 15


@dataclass(frozen=True)
class BlackjackConfig(RenderedConfig):
    """Blackjack."""

    env_id: ClassVar[str] = "kalie/Blackjack-v0"


class BlackjackEnv(RenderedGame):
    """`kalie/Blackjack-v0`."""

    invalid_rule = "the hands stay as they are, reward -1; the turn counts"
    legal = ("stand", "hit")
    rules = (
        "Blackjack. You see one card of the dealer and all of yours. Come nearer to 21 than the dealer "
        "without going over; J, Q and K count 10, A counts 1 or 11. "
        '"hit" draws a card, "stand" ends the game.'
    )
    fields: ClassVar[Mapping[str, str]] = {
        "cards": "list of your cards",
        "dealer": "value of the dealer's card, A is 1",
        "player": "your sum",
        "usable_ace": "true if an A of yours counts 11",
    }

    def __init__(self, config: BlackjackConfig | None = None) -> None:
        self.config = config or BlackjackConfig()
        super().__init__(self.config, MAX_TURNS)
        self.player: list[int] = []
        self.dealer: list[int] = []

    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        """Deal one open card to the dealer and two to the player."""
        self.dealer = [self._card()]
        self.player = [self._card(), self._card()]
        return {}

    def _card(self) -> int:
        return int(self.np_random.integers(1, 14))

    @property
    def hand(self) -> Hand:
        """The player's sum and whether an ace counts 11."""
        return hand_of(self.player)

    def apply(self, action: str) -> Outcome:
        """Draw, or let the dealer play."""
        if action == "hit":
            self.player.append(self._card())
            bust = self.hand.total > 21
            return Outcome(-1.0 if bust else 0.0, terminated=bust)
        while hand_of(self.dealer).total < 17 or len(self.dealer) < 2:
            self.dealer.append(self._card())
        theirs = hand_of(self.dealer).total
        ours = self.hand.total
        reward = 1.0 if theirs > 21 or ours > theirs else 0.0 if ours == theirs else -1.0
        return Outcome(reward, terminated=True, success=reward > 0, facts={"dealer_sum": theirs})

    def refuse(self, response: str, error: str) -> Outcome:
        """The hands stay."""
        return Outcome(-1.0)

    def world_state(self) -> Json:
        """All open cards."""
        return {"player": _written(self.player), "dealer": _written(self.dealer)}

    def truth(self) -> Mapping[str, Json]:
        """The player's cards, the dealer's card, the player's sum, and whether an ace counts 11."""
        return {
            "cards": _written(self.player),
            "dealer": card_value(self.dealer[0]),
            "player": self.hand.total,
            "usable_ace": self.hand.usable_ace,
        }

    def sentences(self) -> str:
        """The cards in words."""
        return f"Dealer: {RANKS[self.dealer[0]]}. Your cards: {', '.join(_written(self.player))}."

    def symbols(self) -> str:
        """Player's sum, dealer's card, usable ace: Gymnasium's own observation."""
        return f"{self.hand.total} {card_value(self.dealer[0])} {int(self.hand.usable_ace)}"

    def picture(self) -> Picture:
        """The dealer's card and a card's back above, the player's cards in rows of five below."""
        picture = blank(BASE_SIZE, FELT)
        _draw_card(picture, RANKS[self.dealer[0]], 2, 1)
        fill(picture, 2 + CARD_WIDTH, 1, CARD_WIDTH - 1, CARD_HEIGHT - 1, BACK)
        for index, card in enumerate(_written(self.player)[-MOST_SHOWN:]):
            row, column = divmod(index, PER_ROW)
            _draw_card(picture, card, 2 + column * CARD_WIDTH, 20 + row * CARD_HEIGHT)
        return picture


def hand_of(ranks: Sequence[int]) -> Hand:
    """A hand's sum, with one ace as 11 where that does not go over 21."""
    total = sum(card_value(rank) for rank in ranks)
    usable = 1 in ranks and total + 10 <= 21
    return Hand(total + 10 * usable, usable)


def _written(ranks: Sequence[int]) -> list[str]:
    return [RANKS[rank] for rank in ranks]


def _draw_card(picture: Picture, card: str, left: int, top: int) -> None:
    # Two digits are as wide as the card: its frame gives way to the first one's left column.
    fill(picture, left, top, CARD_WIDTH - 1, CARD_HEIGHT - 1, WHITE)
    write(picture, card, left + (0 if len(card) > 1 else 3), top + 1, BLACK)


def blackjack(env: AgentEnv) -> BlackjackEnv:
    """The environment itself, under whatever wraps it."""
    bare = env.unwrapped
    if not isinstance(bare, BlackjackEnv):
        raise TypeError(f"expected a BlackjackEnv, got {type(bare).__name__}")
    return bare


class _Seen(NamedTuple):
    player: tuple[int, ...]
    dealer: int


def demonstrator(
    misread: float = 0.0, misjudge: float = 0.0, objective: Literal["win", "mean"] = "win"
) -> Player:
    """A player who answers as a warm start should: states the hands, then plays the optimum for what it read.

    Args:
        misread: share of answers in which one card, of either hand, is read as any card at all, and believed.
        misjudge: share of answers with the other action.
        objective: most wins, or the highest mean return.
    """

    def respond(env: AgentEnv, rng: np.random.Generator) -> str:
        game = blackjack(env)
        seen = _Seen(tuple(game.player), game.dealer[0])
        if rng.random() < misread:
            seen = _misread(seen, rng)
        hand, dealer = hand_of(seen.player), card_value(seen.dealer)
        hit = hand.total <= 21 and best_policy(objective)(hand, dealer) > 0.5
        if rng.random() < misjudge:
            hit = not hit
        soft = "soft " if hand.usable_ace else ""
        thoughts = f"{soft}{hand.total} against {dealer}, {'another card' if hit else 'enough'}"
        # The cards come first: to add up what was read is easier than to read a sum off the picture.
        stated: dict[str, Json] = {"cards": _written(seen.player), "dealer": dealer}
        stated |= {"player": hand.total, "usable_ace": hand.usable_ace}
        return game.answer("hit" if hit else "stand", stated, thoughts)

    return respond


def _misread(seen: _Seen, rng: np.random.Generator) -> _Seen:
    rank = int(rng.integers(1, 14))
    if rng.random() < 0.5:
        return _Seen(seen.player, rank)
    place = int(rng.integers(len(seen.player)))
    return _Seen((*seen.player[:place], rank, *seen.player[place + 1 :]), seen.dealer)


expert: Player = demonstrator()


def stand(env: AgentEnv, rng: np.random.Generator) -> str:
    """Always stand."""
    return blackjack(env).answer("stand", {}, "enough")


def hit_below_17(env: AgentEnv, rng: np.random.Generator) -> str:
    """Play as the dealer must."""
    game = blackjack(env)
    low = game.hand.total < 17
    return game.answer("hit" if low else "stand", {}, "below 17" if low else "17 or more")
