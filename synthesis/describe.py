"""What repainted objects should look like, in words: from a word list, or from a language model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..affordance.labels import LabelledImage
from ..core.chat import ChatConfig, ChatError, ask
from ..core.files import DamagedFileError, write_json
from .textures import PATTERNS, Pattern

Rgb = tuple[int, int, int]

COLOURS: Mapping[str, Rgb] = {
    "black": (22, 22, 24),
    "charcoal": (58, 60, 64),
    "grey": (128, 128, 128),
    "silver": (186, 188, 192),
    "white": (243, 243, 240),
    "cream": (246, 234, 205),
    "beige": (214, 196, 160),
    "tan": (196, 154, 104),
    "brown": (118, 76, 42),
    "chocolate": (74, 44, 28),
    "maroon": (116, 24, 40),
    "red": (206, 32, 38),
    "scarlet": (236, 60, 36),
    "coral": (246, 128, 104),
    "salmon": (240, 166, 146),
    "orange": (240, 136, 24),
    "amber": (246, 184, 34),
    "yellow": (244, 224, 48),
    "mustard": (200, 160, 40),
    "lime": (176, 220, 48),
    "olive": (114, 116, 40),
    "green": (48, 146, 58),
    "emerald": (24, 160, 108),
    "forest": (30, 82, 44),
    "mint": (164, 226, 190),
    "teal": (20, 128, 128),
    "turquoise": (60, 206, 198),
    "cyan": (50, 196, 230),
    "sky": (134, 192, 236),
    "blue": (36, 86, 200),
    "navy": (26, 36, 88),
    "indigo": (66, 40, 140),
    "violet": (128, 74, 196),
    "lavender": (190, 172, 232),
    "purple": (116, 34, 132),
    "magenta": (206, 40, 150),
    "pink": (246, 150, 190),
    "rose": (220, 78, 118),
    "copper": (184, 112, 62),
    "gold": (208, 170, 70),
}
# Materials with the patterns they come in and how much they shine, 0 to 1.
MATERIALS: Mapping[str, tuple[tuple[Pattern, ...], float]] = {
    "plastic": (("plain", "plain", "striped", "gradient"), 0.6),
    "rubber": (("plain", "speckled"), 0.15),
    "wooden": (("grained", "grained", "plain"), 0.25),
    "metal": (("plain", "gradient", "grained"), 0.9),
    "cloth": (("mottled", "striped", "checked", "dotted"), 0.0),
    "foam": (("speckled", "mottled", "plain"), 0.05),
    "ceramic": (("plain", "marbled", "dotted"), 0.7),
    "paper": (("plain", "mottled", "striped"), 0.1),
    "leather": (("mottled", "plain"), 0.3),
    "stone": (("speckled", "marbled", "mottled"), 0.1),
}


@dataclass(frozen=True)
class WordList:
    """Appearances come from the built-in list of colours, materials and patterns."""


_PROMPT = (
    "The photo shows objects on a table; a robot was told: {instruction!r}. Give {count} short descriptions "
    "of how these objects could look if each were replaced by another of the same kind and shape but "
    "with other colours, materials and patterns. One description a line, at most ten words, no numbering."
)


def describe(rng: np.random.Generator) -> str:
    """A random appearance from the word list, e.g. "teal and cream striped plastic"."""
    colours = rng.choice(list(COLOURS), size=int(rng.integers(1, 5)), replace=False)
    material = str(rng.choice(list(MATERIALS)))
    pattern = str(rng.choice(MATERIALS[material][0]))
    words = [" and ".join(str(name) for name in colours), material]
    if pattern != "plain":
        words.insert(1, pattern)
    return " ".join(words)


def describe_with_chat(
    images: Sequence[LabelledImage],
    config: ChatConfig,
    count: int = 15,
    *,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Ask a vision-language model for `count` appearances per labelled image, keyed by image id.

    Args:
        images: whose objects are described.
        config: of the model.
        count: appearances per image.
        folder: keeps each image's answer once it is there; what it has is not asked for again, for a model
            would answer something else.
        progress: called with (images done, images).

    Raises:
        ChatError: when the endpoint fails or an answer holds no line of text; names the image.
        DamagedFileError: a kept answer cannot be read; names its file.
    """
    found: dict[str, tuple[str, ...]] = {}
    for image in images:
        path = None if folder is None else folder / f"{image.id}.json"
        if path is not None and path.exists():
            found[image.id] = _kept(path)
        else:
            found[image.id] = _asked(image, config, count)
            if path is not None:
                write_json(path, found[image.id])
        if progress is not None:
            progress(len(found), len(images))
    return found


def _asked(image: LabelledImage, config: ChatConfig, count: int) -> tuple[str, ...]:
    prompt = _PROMPT.format(instruction=image.instruction, count=count)
    answer = ask(config, prompt, image.rgb, temperature=1.0)
    lines = tuple(line.strip(" -*\t") for line in answer.splitlines() if line.strip(" -*\t"))
    if not lines:
        raise ChatError(f"{image.id}: {config.url} gave no description")
    return lines[:count]


def _kept(path: Path) -> tuple[str, ...]:
    """What `describe_with_chat` wrote."""
    try:
        lines = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(lines, list) or not lines or not all(isinstance(line, str) for line in lines):
        raise DamagedFileError(f"{path}: expected a list of descriptions")
    return tuple(lines)


def colours_of(description: str) -> list[Rgb]:
    """The colours that a description names, in order."""
    return [COLOURS[word] for word in _words(description) if word in COLOURS]


def pattern_of(description: str) -> Pattern:
    """The pattern that a description names, else plain."""
    words = _words(description)
    named: list[Pattern] = [pattern for pattern in PATTERNS if pattern in words]
    return named[0] if named else "plain"


def gloss_of(description: str) -> float:
    """How much the material that a description names shines, 0 to 1."""
    words = _words(description)
    return next((gloss for name, (_, gloss) in MATERIALS.items() if name in words), 0.3)


def _words(description: str) -> list[str]:
    return description.lower().replace(",", " ").replace("-", " ").replace("gray", "grey").split()
