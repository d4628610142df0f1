"""What an instruction says about directions and colours, so that augmenting its image keeps it true."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np


def _both_ways(*pairs: tuple[str, str]) -> Mapping[str, str]:
    return dict(pairs) | {second: first for first, second in pairs}


# Words that trade places when the image is mirrored left-right, and top-bottom.
HORIZONTAL = _both_ways(
    ("left", "right"), ("leftmost", "rightmost"), ("leftward", "rightward"), ("leftwards", "rightwards")
)
VERTICAL = _both_ways(
    ("near", "far"),
    ("nearer", "farther"),
    ("nearest", "farthest"),
    ("top", "bottom"),
    ("upper", "lower"),
    ("above", "below"),
)
# Directions without such a partner: an image whose text holds one is not mirrored.
_NEVER_MIRRORED = {"clockwise", "counterclockwise", "anticlockwise"}
_NEVER_VERTICALLY = {"front", "back", "behind", "forward", "forwards", "backward", "backwards"}
# Words for up and down in the image that stand where "left" and "right" can, and those that cannot turn.
QUARTERS = (("far", "near"), ("upper", "lower"), ("top", "bottom"))
_NEVER_TURNED = (
    _NEVER_VERTICALLY
    | (HORIZONTAL.keys() | VERTICAL.keys()) - {"left", "right"} - {word for pair in QUARTERS for word in pair}
    | {"hand"}  # "left-hand" has no counterpart
)
_COLOURS = {
    *("red", "orange", "yellow", "green", "cyan", "teal", "blue", "purple", "violet", "magenta", "pink"),
    *("brown", "black", "white", "grey", "gray", "turquoise", "beige", "maroon", "navy", "olive"),
}
_MIDDLE = {"middle", "centre", "center"}
# What tells one thing from another of its kind.
_TELLING = (
    HORIZONTAL.keys()
    | VERTICAL.keys()
    | _NEVER_MIRRORED
    | _NEVER_VERTICALLY
    | _COLOURS
    | _MIDDLE
    | {"biggest", "largest", "smallest", "hand"}
)
_WORD = re.compile(r"[a-z]+", re.IGNORECASE)


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}


def names_middle(text: str) -> bool:
    """Whether the text means one thing between others."""
    return not _words(text).isdisjoint(_MIDDLE)


def names_direction(text: str) -> bool:
    """Whether turning the image far would make the text false."""
    return not _words(text).isdisjoint(
        HORIZONTAL.keys() | VERTICAL.keys() | _NEVER_MIRRORED | _NEVER_VERTICALLY
    )


def names_colour(text: str) -> bool:
    """Whether changing the image's hues would make the text false."""
    return not _words(text).isdisjoint(_COLOURS)


def mirrored(text: str, horizontally: bool, vertically: bool) -> str | None:
    """The text for the mirrored image, or None when it has none."""
    words = _words(text)
    refused = _NEVER_MIRRORED if horizontally else set()
    refused = refused | _NEVER_MIRRORED | _NEVER_VERTICALLY if vertically else refused
    if words & refused:
        return None
    swaps = {**(HORIZONTAL if horizontally else {}), **(VERTICAL if vertically else {})}
    return _WORD.sub(lambda match: _like(match[0], swaps), text)


def turned(text: str, up: str, down: str) -> str | None:
    """The text for the image turned clockwise by a quarter, or None when it has none.

    Args:
        text: to change; what was left is then up, what was up is right, and so on.
        up: the word for a direction that becomes up, one of the first words of `QUARTERS`.
        down: its partner.
    """
    if _words(text) & _NEVER_TURNED:
        return None
    swaps = {"left": up, "right": down}
    swaps |= {word: side for pair in QUARTERS for word, side in zip(pair, ("right", "left"), strict=True)}
    return _WORD.sub(lambda match: _like(match[0], swaps), text)


def reworded(text: str, share: float, vocabulary: Sequence[str], rng: np.random.Generator) -> str:
    """The text with some words replaced by any others, or left out; what tells things apart stays.

    A model that has seen few texts learns so that their other words matter little.

    Args:
        text: to change.
        share: chance of a word to go.
        vocabulary: where replacements come from; words that tell things apart are not used.
        rng: source of all draws.
    """
    others = [word for word in vocabulary if word.isalpha() and word not in _TELLING]

    def change(match: re.Match[str]) -> str:
        if match[0].lower() in _TELLING or rng.random() >= share:
            return match[0]
        return others[int(rng.integers(len(others)))] if others and rng.random() < 0.5 else ""

    return " ".join(_WORD.sub(change, text).split())


def _like(word: str, swaps: Mapping[str, str]) -> str:
    """The partner of a word, capitalised as the word is; a word without one stays."""
    partner = swaps.get(word.lower())
    if partner is None:
        return word
    return partner.capitalize() if word[0].isupper() else partner
