"""Colours and patterns for drawings: every use of a drawing is painted anew."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .pointing_scenes import FIRST_PART, ROBOT, TABLE_TOP, Drawing

# Hue (degrees), least and most saturation, least and most value of every colour that has a name.
COLOURS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-8, 8), (0.7, 1.0), (0.6, 1.0)),
    "orange": ((22, 34), (0.8, 1.0), (0.85, 1.0)),
    "yellow": ((50, 60), (0.7, 1.0), (0.8, 1.0)),
    "green": ((95, 145), (0.5, 1.0), (0.4, 0.9)),
    "blue": ((210, 240), (0.6, 1.0), (0.5, 1.0)),
    "purple": ((268, 290), (0.5, 1.0), (0.4, 0.9)),
    "pink": ((320, 345), (0.3, 0.6), (0.85, 1.0)),
    "brown": ((18, 32), (0.55, 0.8), (0.3, 0.5)),
    "black": ((0, 360), (0.0, 0.2), (0.05, 0.18)),
    "white": ((0, 360), (0.0, 0.08), (0.9, 1.0)),
    "grey": ((0, 360), (0.0, 0.08), (0.4, 0.65)),
}
PATTERNS = 96


@dataclass(frozen=True)
class Painting:
    """A coloured scene.

    Attributes:
        rgb: uint8 (S, S, 3).
        colours: the colour by which each thing may be called; None for a thing of several colours.
    """

    rgb: NDArray[np.uint8]
    colours: tuple[str | None, ...]


class Painter:
    """Paints drawings of one size with a bank of patterns."""

    def __init__(self, size: int, seed: int = 0) -> None:
        """Make the patterns, float32 (PATTERNS, 2 size, 2 size) in [0, 1]."""
        rng = np.random.default_rng((seed, 1))
        self.size = size
        self.patterns = np.stack([_pattern(2 * size, rng) for _ in range(PATTERNS)])

    def paint(self, drawing: Drawing, rng: np.random.Generator) -> Painting:
        """Colour a drawing at random."""
        first, second, names = self._palettes(drawing, rng)
        strength = rng.uniform(0.0, 1.0, len(first)).astype(np.float32) ** 2
        strength[:FIRST_PART] = rng.uniform(0.0, 1.0, FIRST_PART)
        pattern = rng.integers(0, PATTERNS, len(first))
        oy, ox = rng.integers(0, self.size, (2, len(first)))
        y, x = np.mgrid[: self.size, : self.size]
        parts = drawing.parts
        weight = self.patterns[pattern[parts], y + oy[parts], x + ox[parts]] * strength[parts]
        colour = first[parts] + weight[..., None] * (second - first)[parts]
        bright = drawing.shade.astype(np.float32) / max(float(np.percentile(drawing.shade, 95)), 1.0)
        gain = rng.uniform(0.75, 1.1)
        return Painting((colour * (gain * bright)[..., None] * 255).clip(0, 255).astype(np.uint8), names)

    def _palettes(
        self, drawing: Drawing, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[str | None, ...]]:
        """Two colours per part number, (256, 3) each in [0, 1], and the things' colour names."""
        first = rng.uniform(0.05, 1.0, (256, 3)).astype(np.float32)
        second = rng.uniform(0.0, 1.0, (256, 3)).astype(np.float32)
        for part in (TABLE_TOP, ROBOT):
            first[part] = _any_colour(rng)
        names: list[str | None] = []
        for thing in drawing.things:
            name = str(rng.choice(list(COLOURS))) if rng.random() < 0.6 else None
            names.append(name)
            parts = list(thing.parts)
            if name is not None:
                first[parts] = named_colour(name, rng)
                second[parts] = named_colour(name, rng)
            elif rng.random() < 0.5:
                # A thing of two colours: its first part against all others.
                first[parts[0]], first[parts[1:]] = _any_colour(rng), _any_colour(rng)
        return first, second, tuple(names)


def named_colour(name: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """An RGB colour in [0, 1] that goes by the name."""
    hue, saturation, value = (rng.uniform(*bounds) for bounds in COLOURS[name])
    return colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value)


def _any_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb(rng.random(), rng.random(), rng.uniform(0.1, 1.0))


def _pattern(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Clouds, grain, stripes, checks, spots or planks; float32 (size, size) in [0, 1]."""
    kind = rng.choice(["clouds", "grain", "stripes", "checks", "spots", "planks"])
    clouds = _clouds(size, rng)
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 40)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    along = (x * np.cos(angle) + y * np.sin(angle)) / period
    across = (y * np.cos(angle) - x * np.sin(angle)) / period
    if kind == "clouds":
        out = clouds
    elif kind == "grain":
        out = 0.5 + 0.5 * np.sin(2 * np.pi * (across * 2 + 3 * clouds))
    elif kind == "stripes":
        out = np.sin(2 * np.pi * along) > rng.uniform(-0.8, 0.8)
    elif kind == "checks":
        out = (np.floor(along) + np.floor(across)) % 2
    elif kind == "spots":
        out = np.cos(2 * np.pi * along) * np.cos(2 * np.pi * across) > rng.uniform(0.2, 0.8)
    else:
        out = np.modf(np.sin(np.floor(across / 2) * 12.9) * 43.7)[0] * 0.7 + 0.3 * clouds
    return _stretch(np.asarray(out, dtype=np.float32))


def _clouds(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of several octaves."""
    total: NDArray[np.float32] = np.zeros((size, size), dtype=np.float32)
    for octave in range(rng.integers(1, 4), 7):
        cells = rng.random((2**octave, 2**octave), dtype=np.float32)
        wide = cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)
        total += np.asarray(wide, dtype=np.float32) / 1.7**octave
    return _stretch(total.astype(np.float32))


def _stretch(values: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = float(values.min()), float(values.max())
    return (values - low) / max(high - low, 1e-6)


def colour_names(names: Sequence[str | None]) -> set[str]:
    """The colours that just one thing has."""
    return {name for name in names if name is not None and list(names).count(name) == 1}
