"""Questions about toy scenes and their answers: what pre-training teaches.

An answer uses the same five points and scalars as a task's affordance: hold something, at some part; bring
another part of it to something else, from somewhere and on to somewhere; push, pull, put, or just point.
Directions are those of the image: left, right, near (down) and far (up).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..affordance.schema import Affordance, InvalidKeypoints, Keypoint
from ..perception.frame import FloatArray
from .pointing_paint import Painting, colour_names
from .pointing_scenes import Drawing, Hold, PlacedThing
from .world import TABLE

Rng = np.random.Generator
# Unit directions of the table plane in the base frame, by the word for them.
DIRECTIONS: dict[str, FloatArray] = {
    "left": np.array([0.0, 1.0]),
    "right": np.array([0.0, -1.0]),
    "far": np.array([1.0, 0.0]),
    "near": np.array([-1.0, 0.0]),
}
EDGE_WORDS = {"left": ("left",), "right": ("right",), "far": ("far", "top"), "near": ("near", "bottom")}
HOLD_WORDS = ("hold", "grab", "grasp", "take", "pick up")
MOVE_WORDS = ("bring", "move", "guide", "carry")
PUSH_WORDS = ("push", "shove", "slide", "knock", "nudge")
PULL_WORDS = ("pull", "drag", "draw", "tug")
POINT_WORDS = ("point at", "find", "show me", "where is", "touch")
PUT_WORDS = ("put", "place", "set", "lay", "drop")
JAW_MARGIN = 0.02


@dataclass(frozen=True)
class Query:
    """An instruction and its answer."""

    instruction: str
    affordance: Affordance


class _NoAnswer(Exception):
    """The scene has nothing that the drawn kind of question could be about."""


@dataclass(frozen=True)
class _Asker:
    """Makes questions about one painted drawing.

    Attributes:
        drawing: what is where.
        painting: what has which colour.
        rng: of all choices.
    """

    drawing: Drawing
    painting: Painting
    rng: Rng

    # ---- words -----------------------------------------------------------------------------------------

    def word(self, words: tuple[str, ...]) -> str:
        """Any of the words."""
        return words[int(self.rng.integers(len(words)))]

    def direction(self) -> str:
        """Any direction's name."""
        return self.word(tuple(DIRECTIONS))

    def thing(self, suits: Callable[[PlacedThing], bool] = lambda _: True, but: int = -1) -> int:
        """A thing that suits and is not `but`."""
        things = self.drawing.things
        fitting = [i for i, thing in enumerate(things) if i != but and suits(thing)]
        if not fitting:
            raise _NoAnswer
        return int(self.rng.choice(fitting))

    def name(self, index: int) -> str:
        """A phrase that means this thing alone."""
        things = self.drawing.things
        thing, colour = things[index], self.painting.colours[index]
        same = [i for i, other in enumerate(things) if set(other.names) & set(thing.names)]
        noun = self.word(thing.names)
        phrases = []
        if len(same) == 1:
            phrases.append(f"the {noun}")
        if colour in colour_names(self.painting.colours):
            phrases += [f"the {colour} {noun}", f"the {colour} thing"]
        places = np.array([self.pixel(things[i].middle) for i in same])
        if len(same) > 1:
            phrases += [f"the {word} {noun}" for word in _extremes(places, same.index(index))]
        radii = [other.radius for other in things]
        if len(radii) > 1 and thing.radius > 1.25 * sorted(radii)[-2] and thing.radius == max(radii):
            phrases += ["the biggest thing", "the largest thing"]
        if not phrases:
            raise _NoAnswer
        return self.word(tuple(phrases))

    def end(self, thing: PlacedThing) -> tuple[str, Hold, Hold]:
        """Words for one end of a long thing, that end, and the other end."""
        if "thin end" in thing.ends:
            thin, thick = thing.ends["thin end"], thing.ends["thick end"]
            return self.word(("thin end", "narrow end", "handle end", "stem")), thin, thick
        ends = list(thing.ends.values())
        if len(ends) != 2:
            raise _NoAnswer
        first = int(self.rng.integers(2))
        words = _extremes(np.array([self.pixel(end) for end in ends]), first, 0.05)
        if not words:
            raise _NoAnswer
        return f"{self.word(words)} end", ends[first], ends[1 - first]

    # ---- places ----------------------------------------------------------------------------------------

    def pixel(self, hold: Hold) -> FloatArray:
        """Where a grip is seen, fractions of the image."""
        return self.drawing.project(hold.xyz)

    def keypoint(self, xyz: FloatArray | tuple[float, ...]) -> Keypoint:
        """Where a point is seen; one outside the image makes the question void."""
        x, y = self.drawing.project(xyz).tolist()
        try:
            return Keypoint(x, y)
        except InvalidKeypoints:
            raise _NoAnswer from None

    def yaw(self, hold: Hold) -> float | None:
        """The closing axis as seen in the image."""
        if hold.closing is None:
            return None
        step = 0.01 * np.array([np.cos(hold.closing), np.sin(hold.closing), 0.0])
        dx, dy = self.drawing.project(np.array(hold.xyz) + step) - self.drawing.project(hold.xyz)
        angle = math.atan2(dy, dx)
        return angle - math.pi * math.ceil(angle / math.pi - 0.5)

    def grasp(self, hold: Hold) -> Affordance:
        """The entries that say how to hold."""
        width = min(0.08, hold.width + JAW_MARGIN)
        return Affordance(grasp=self.keypoint(hold.xyz), grasp_yaw=self.yaw(hold), gripper_width=width)


def _extremes(places: FloatArray, index: int, gap: float = 0.04) -> tuple[str, ...]:
    """Direction words that tell one of several places (N, 2) in the image from the others."""
    others = np.delete(places, index, axis=0)
    x, y = places[index]
    words: list[str] = []
    if (x < others[:, 0] - gap).all():
        words += ["left", "leftmost"]
    if (x > others[:, 0] + gap).all():
        words += ["right", "rightmost"]
    if (y < others[:, 1] - gap).all():
        words += ["far", "upper", "top"]
    if (y > others[:, 1] + gap).all():
        words += ["near", "lower", "bottom"]
    return tuple(words)


def _beside(hold: Hold, direction: FloatArray, distance: float) -> FloatArray:
    """A point of the table near a grip."""
    return np.array([hold.xyz[0] + distance * direction[0], hold.xyz[1] + distance * direction[1], 0.0])


def _at_edge(hold: Hold, word: str) -> FloatArray:
    """The point of the table's edge that a straight push along a direction leads to."""
    x, y = hold.xyz[:2]
    fixed = {
        "left": (x, TABLE.left),
        "right": (x, TABLE.right),
        "far": (TABLE.far, y),
        "near": (TABLE.near, y),
    }
    return np.array([*fixed[word], 0.0])


# ---- kinds of questions ------------------------------------------------------------------------------------


def _point(ask: _Asker) -> Query:
    """Where something is, or one of its ends."""
    index = ask.thing()
    thing, name = ask.drawing.things[index], ask.name(index)
    if thing.ends and ask.rng.random() < 0.5:
        words, end, _ = ask.end(thing)
        return Query(
            f"{ask.word(POINT_WORDS)} the {words} of {name}", Affordance(target=ask.keypoint(end.xyz))
        )
    phrase = ask.word(("", "the middle of "))
    return Query(f"{ask.word(POINT_WORDS)} {phrase}{name}", Affordance(target=ask.keypoint(thing.middle.xyz)))


def _free(ask: _Asker) -> Query:
    """Free space beside something."""
    index, word = ask.thing(), ask.direction()
    thing, name = ask.drawing.things[index], ask.name(index)
    place = _beside(thing.middle, DIRECTIONS[word], thing.radius + 0.05)
    text = ask.word((f"free space {word} of {name}", f"the empty table on the {word} side of {name}"))
    return Query(text, Affordance(target=ask.keypoint(place)))


def _hold(ask: _Asker) -> Query:
    """Hold something, perhaps at an end."""
    index = ask.thing()
    thing, name, verb = ask.drawing.things[index], ask.name(index), ask.word(HOLD_WORDS)
    if thing.ends and ask.rng.random() < 0.7:
        words, end, _ = ask.end(thing)
        return Query(f"{verb} {name} {ask.word(('by', 'at'))} its {words}", ask.grasp(end))
    return Query(f"{verb} {name}", ask.grasp(thing.middle))


def _use(ask: _Asker) -> Query:
    """Hold a long thing at one end, bring the other to something, along a way."""
    tool = ask.thing(lambda thing: bool(thing.ends))
    goal = ask.thing(but=tool)
    words, end, tip = ask.end(ask.drawing.things[tool])
    held = f"{ask.word(HOLD_WORDS)} {ask.name(tool)} by its {words}"
    other = ask.word(("its other end", "the other end", "the far tip of it"))
    if "thick end" in ask.drawing.things[tool].ends:
        other = ask.word(("its thick end", "its wide end", "its other end", "its head"))
    there = f"{ask.word(MOVE_WORDS)} {other} to {ask.name(goal)}"
    way, entries = _way(ask, tip, ask.drawing.things[goal])
    points = replace(ask.grasp(end), function=ask.keypoint(tip.xyz))
    return Query(f"{held}, {there}{way}", replace(points, **entries))


def _way(ask: _Asker, tip: Hold, goal: PlacedThing) -> tuple[str, Mapping[str, Keypoint | float]]:
    """How to come to a thing and where to go on: words, and the entries target, pre, post and heights."""
    middle, word = goal.middle, ask.direction()
    toward = np.array(middle.xyz[:2]) - np.array(tip.xyz[:2])
    straight, side = toward / max(float(np.hypot(*toward)), 1e-6), DIRECTIONS[word]
    gap = goal.radius + 0.05
    kind = int(ask.rng.integers(4))
    if kind == 0:
        text, before, after = "", _beside(middle, -straight, gap), _beside(middle, straight, gap)
    elif kind == 1:
        text, before, after = f", from the {word}", _beside(middle, side, gap), _beside(middle, -side, gap)
    elif kind == 2:
        edge = ask.word(EDGE_WORDS[word])
        verb = ask.word(PUSH_WORDS)
        text = ask.word(
            (f" and {verb} it to the {edge} edge", f", then {verb} it off the {edge} side of the table")
        )
        before, after = _beside(middle, -side, gap), _at_edge(middle, word)
    else:
        text = ask.word((", from above", ", coming down on it"))
        before = after = np.array(middle.xyz)
    height = 0.12 if kind == 3 else 0.0
    points = {"target": middle.xyz, "pre_contact": before, "post_contact": after}
    found = {name: ask.keypoint(xyz) for name, xyz in points.items()}
    tilt = {}
    if kind == 3 and ask.rng.random() < 0.5:
        text += ask.word((" and tilt it", ", and tip it over"))
        tilt = {"tool_tilt": 1.2}
    return text, {**found, "pre_height": height, "target_height": height / 2, "post_height": height, **tilt}


def _push(ask: _Asker) -> Query:
    """Push something with the closed hand."""
    index, word = ask.thing(), ask.direction()
    thing, side = ask.drawing.things[index], DIRECTIONS[word]
    edge = ask.rng.random() < 0.5
    where = (
        f"to the {ask.word(EDGE_WORDS[word])} edge"
        if edge
        else ask.word((f"to the {word}", f"a little {word}"))
    )
    after = _at_edge(thing.middle, word) if edge else _beside(thing.middle, side, 0.1)
    here = ask.keypoint(thing.middle.xyz)
    before = ask.keypoint(_beside(thing.middle, -side, thing.radius + 0.04))
    return Query(
        f"{ask.word(PUSH_WORDS)} {ask.name(index)} {where}",
        Affordance(
            here,
            here,
            here,
            before,
            ask.keypoint(after),
            pre_height=0.02,
            target_height=0.02,
            post_height=0.02,
        ),
    )


def _pull(ask: _Asker) -> Query:
    """Hold something and pull it away from something else, or along a direction."""
    index = ask.thing()
    thing = ask.drawing.things[index]
    start = np.array(thing.middle.xyz[:2])
    if ask.rng.random() < 0.5:
        word = ask.direction()
        text, along = f"to the {word}", DIRECTIONS[word]
    else:
        other = ask.thing(but=index)
        away = start - np.array(ask.drawing.things[other].middle.xyz[:2])
        text, along = f"away from {ask.name(other)}", away / max(float(np.hypot(*away)), 1e-6)
    before, target, after = (
        ask.keypoint(_beside(thing.middle, along, reach)) for reach in (0.04, 0.09, 0.13)
    )
    held = replace(ask.grasp(thing.middle), function=ask.keypoint(thing.middle.xyz))
    return Query(
        f"{ask.word(PULL_WORDS)} {ask.name(index)} {text}",
        replace(held, target=target, pre_contact=before, post_contact=after),
    )


def _put(ask: _Asker) -> Query:
    """Put something on or beside something else."""
    index = ask.thing()
    other = ask.thing(but=index)
    thing, place = ask.drawing.things[index], ask.drawing.things[other]
    if ask.rng.random() < 0.5:
        text, target = ask.word(("on", "onto", "over")), ask.keypoint(place.middle.xyz)
    else:
        word = ask.direction()
        text = f"{word} of"
        target = ask.keypoint(_beside(place.middle, DIRECTIONS[word], place.radius + thing.radius))
    held = replace(ask.grasp(thing.middle), function=ask.keypoint(thing.middle.xyz))
    return Query(
        f"{ask.word(PUT_WORDS)} {ask.name(index)} {text} {ask.name(other)}",
        replace(
            held,
            target=target,
            pre_contact=target,
            post_contact=target,
            pre_height=0.15,
            target_height=0.05,
            post_height=0.15,
        ),
    )


KINDS: Mapping[Callable[[_Asker], Query], float] = {
    _use: 4.0,
    _hold: 1.5,
    _push: 1.5,
    _put: 1.5,
    _pull: 1.5,
    _point: 1.0,
    _free: 0.7,
}
# Kinds of questions tried on one painted scene before it is given up.
TRIES = 12


def ask(drawing: Drawing, painting: Painting, rng: Rng) -> Query | None:
    """A random question about a painted drawing; None when the scene allows hardly any."""
    weights = np.array(list(KINDS.values()))
    asker = _Asker(drawing, painting, rng)
    for _ in range(TRIES):
        kind = list(KINDS)[int(rng.choice(len(weights), p=weights / weights.sum()))]
        try:
            return kind(asker)
        except _NoAnswer:
            continue
    return None
