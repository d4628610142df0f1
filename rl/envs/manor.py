"""The world of the built-in text adventure: a manor with a dark cellar, a locked vault and two treasures.

Pure functions of an immutable state. What earns points early (the lamp, the key) lies rooms away from what
it is good for, and most of the score comes at the very end: both treasures belong into the glass case in
the hall.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import factorial
from typing import NamedTuple

EXITS: Mapping[str, Mapping[str, str]] = {
    "hall": {"north": "library", "east": "kitchen", "south": "garden", "up": "attic"},
    "library": {"south": "hall", "east": "study"},
    "study": {"west": "library"},
    "kitchen": {"west": "hall", "down": "cellar"},
    "garden": {"north": "hall", "east": "shed"},
    "shed": {"west": "garden"},
    "attic": {"down": "hall"},
    "cellar": {"up": "kitchen", "east": "vault"},
    "vault": {"west": "cellar"},
}
DESCRIPTIONS: Mapping[str, str] = {
    "hall": "A high hall with an empty glass case.",
    "library": "A library. The shelves reach the ceiling.",
    "study": "A small study that smells of pipe smoke.",
    "kitchen": "A kitchen. A trapdoor stands open.",
    "garden": "A garden, long since gone wild.",
    "shed": "A shed with a leaking roof.",
    "attic": "An attic full of dust.",
    "cellar": "A vaulted cellar. There is an iron door to the east.",
    "vault": "A narrow vault of bare stone.",
}
# Where the movable things of variant 0 lie; other variants deal the same things out over the same rooms.
ROOMS = ("attic", "shed", "study", "garden", "library")
THINGS = ("lamp", "key", "chalice", "rope", "book")
CROWN_ROOM = "vault"
TREASURES: Mapping[str, int] = {"chalice": 15, "crown": 30}
TAKEN: Mapping[str, int] = {"chalice": 5, "crown": 10}
LIGHT, LIT_CELLAR, UNLOCK, ENTER_VAULT = 5, 10, 15, 10
MOST_POINTS = LIGHT + LIT_CELLAR + UNLOCK + ENTER_VAULT + sum(TREASURES.values()) + sum(TAKEN.values())
VARIANTS = factorial(len(THINGS))
CARRIED, CASE = "you", "case"
MOST_REMEMBERED = 20_000


@dataclass(frozen=True)
class Manor:
    """The state of the world.

    Attributes:
        room: where the player is.
        places: of each thing: a room, "you" or "case".
        lit: whether the lamp burns.
        unlocked: whether the iron door is open.
        earned: what has given its points; nothing gives them twice.
    """

    room: str
    places: tuple[tuple[str, str], ...]
    lit: bool = False
    unlocked: bool = False
    earned: frozenset[str] = field(default_factory=frozenset)

    def at(self, place: str) -> list[str]:
        """The things in a place, in a fixed order."""
        return [thing for thing, where in self.places if where == place]

    def moved(self, thing: str, place: str) -> Manor:
        """The world with a thing elsewhere."""
        return replace(self, places=tuple((t, place if t == thing else p) for t, p in self.places))


class Deed(NamedTuple):
    """What a command leads to: the world after it, the words for it, and the points it earned."""

    after: Manor
    message: str
    points: int


def variant(number: int) -> Manor:
    """The world of a variant, 0 to `VARIANTS` - 1: that permutation of where the things lie."""
    if not 0 <= number < VARIANTS:
        raise ValueError(f"variant={number} must lie between 0 and {VARIANTS - 1}")
    rooms, dealt = list(ROOMS), []
    for left in range(len(ROOMS), 0, -1):
        index, number = divmod(number, factorial(left - 1))
        dealt.append(rooms.pop(index))
    return Manor("hall", (*zip(THINGS, dealt, strict=True), ("crown", CROWN_ROOM)))


def commands(manor: Manor) -> tuple[str, ...]:
    """Every command that does something."""
    moves = [f"go {way}" for way in EXITS[manor.room]]
    takes = [f"take {thing}" for thing in manor.at(manor.room)]
    carried = manor.at(CARRIED)
    puts = [f"put {thing} in case" for thing in carried if thing in TREASURES and manor.room == "hall"]
    lights = ["light lamp"] if "lamp" in carried and not manor.lit else []
    unlocks = ["unlock door"] if manor.room == "cellar" and "key" in carried and not manor.unlocked else []
    return (*moves, *takes, *puts, *lights, *unlocks)


def obey(manor: Manor, command: str) -> Deed:
    """Carry out one of `commands`."""
    verb, _, rest = command.partition(" ")
    if verb == "go":
        return _go(manor, rest)
    if verb == "take":
        return _earn(manor.moved(rest, CARRIED), command, f"You take the {rest}.", TAKEN.get(rest, 0))
    if verb == "put":
        thing = rest.split()[0]
        words = f"The {thing} gleams in the case."
        return _earn(manor.moved(thing, CASE), command, words, TREASURES[thing])
    if verb == "light":
        return _earn(replace(manor, lit=True), command, "The lamp burns brightly.", LIGHT)
    return _earn(replace(manor, unlocked=True), command, "The lock gives way with a groan.", UNLOCK)


def _go(manor: Manor, way: str) -> Deed:
    room = EXITS[manor.room][way]
    if room == "cellar" and not (manor.lit and "lamp" in manor.at(CARRIED)):
        return Deed(manor, "It is pitch dark down there. You turn back.", 0)
    if room == "vault" and not manor.unlocked:
        return Deed(manor, "The iron door is locked.", 0)
    points = {"cellar": LIT_CELLAR, "vault": ENTER_VAULT}.get(room, 0)
    return _earn(replace(manor, room=room), f"enter {room}", f"You go {way}.", points)


def _earn(manor: Manor, deed: str, message: str, points: int) -> Deed:
    """The points of a deed, the first time it is done."""
    if not points or deed in manor.earned:
        return Deed(manor, message, 0)
    return Deed(replace(manor, earned=manor.earned | {deed}), f"{message} ({points} points)", points)


def finished(manor: Manor) -> bool:
    """Whether both treasures are in the case."""
    return len(manor.at(CASE)) == len(TREASURES)


_found: dict[Manor, tuple[str, ...]] = {}


def shortest(manor: Manor) -> tuple[str, ...]:
    """The fewest commands from here to both treasures in the case, by breadth-first search."""
    if manor not in _found:
        if len(_found) > MOST_REMEMBERED:
            _found.clear()
        way, here = _search(manor), manor
        # The rest of a shortest way is a shortest way from where it begins.
        for index, command in enumerate(way):
            _found[here] = way[index:]
            here = obey(here, command).after
        _found[here] = ()
    return _found[manor]


def _search(manor: Manor) -> tuple[str, ...]:
    came: dict[Manor, tuple[Manor, str] | None] = {manor: None}
    queue = deque([manor])
    while queue:
        here = queue.popleft()
        if finished(here):
            return _way(came, here)
        for command in commands(here):
            after = obey(here, command).after
            if after not in came:
                came[after] = here, command
                queue.append(after)
    raise RuntimeError("the treasures cannot be brought home from here")


def _way(came: Mapping[Manor, tuple[Manor, str] | None], end: Manor) -> tuple[str, ...]:
    way: list[str] = []
    step = came[end]
    while step is not None:
        way.append(step[1])
        step = came[step[0]]
    return tuple(reversed(way))
