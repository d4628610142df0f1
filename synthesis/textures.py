"""Procedural textures: scalar fields in [0, 1] that a palette turns into colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]
Pattern = Literal[
    "plain", "gradient", "striped", "checked", "tiled", "dotted", "speckled", "mottled", "marbled", "grained"
]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


def noise(rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 3) -> Field:
    """Smooth value noise in [0, 1]: random grids of halving cell size (px), upsampled and summed."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        size = max(cell / 2**octave, 1.5)
        grid = rng.random((int(height / size) + 3, int(width / size) + 3), dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.5**octave
    return _normalised(total)


def texture(pattern: Pattern, rng: np.random.Generator, height: int, width: int, period: float) -> Field:
    """A random field of one pattern.

    Args:
        pattern: which one.
        rng: of the draws.
        height: px.
        width: px.
        period: size in px of one repeat.

    Returns:
        float32 (height, width) in [0, 1].
    """
    return _MAKERS[pattern](rng, height, width, period)


def _normalised(values: Field) -> Field:
    low, high = float(values.min()), float(values.max())
    return (values - low) / max(high - low, 1e-6)


def _axes(rng: np.random.Generator, height: int, width: int) -> tuple[Field, Field]:
    """Image coordinates in px, rotated by a random angle."""
    angle = rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    return c * x + s * y, c * y - s * x


def _plain(rng: np.random.Generator, height: int, width: int, period: float) -> Field:
    return np.full((height, width), rng.random(), np.float32)


def _gradient(rng: np.random.Generator, height: int, width: int, period: float) -> Field:
    return _normalised(_axes(rng, height, width)[0])


def _striped(rng: np.random.Generator, height: int, width: int, period: float) -> Field:
    u, _ = _axes(rng, height, width)
    duty = np.float32(rng.uniform(0.2, 0.8))
    phase = np.float32(rng.random())
    return _soft_step((u / np.float32(period) + phase) % 1 - duty, rng)


def _checked(rng: np.random.Generator, height: int, width: int, period: float) -> Field:
    u, v = _axes(rng, height, width)
    k = np.float32(np.pi / period)
    return _soft_step(np.sin(k * u) * np.sin(k * v), rng)


def _tiled(rng: np.random.Generator, height: int, width: int, period: float) -> Field:
    u, v = _axes(rng, height, width)
    aspect = np.float32(rng.uniform(1.0, 3.0))
    column, row = u / np.float32(period), v / np.float32(period * aspect)
    row = row + 0.5 * (np.floor(column) % 2)  # running bond
    tones = rng.random(257, dtype=np.float32)
    index = (np.floor(column).astype(np.int32) * 73 + np.floor(row).astype(np.int32) * 151) % 257
    joint = np.minimum(np.minimum(column % 1, 1 - column % 1), np.minimum(row % 1, 1 - row % 1) * aspect)
    spread = np.float32(rng.uniform(0.1, 0.5))
    return np.where(joint < rng.uniform(0.02, 0.08), np.float32(1.0), tones[index] * spread)


def _dotted(rng: np.random.Generator, height: int, width: int, period: float) -> Field:
    u, v = _axes(rng, height, width)
    p = np.float32(period)
    distance = np.hypot((u / p) % 1 - 0.5, (v / p) % 1 - 0.5)
    return _soft_step(np.float32(rng.uniform(0.15, 0.4)) - distance, rng)


def _speckled(rng: np.random.Generator, height: int, width: int, period: float) -> Field:
    grain = rng.random((height, width), dtype=np.float32)
    soft = np.asarray(cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.5, 1.6)), np.float32)
    return np.clip((_normalised(soft) - rng.uniform(0.4, 0.65)) * 4, 0, 1).astype(np.float32)


def _mottled(rng: np.random.Generator, height: int, width: int, period: float) -> Field:
    return noise(rng, height, width, period)


def _marbled(rng: np.random.Generator, height: int, width: int, period: float) -> Field:
    u, _ = _axes(rng, height, width)
    turbulence = noise(rng, height, width, 2 * period)
    return 0.5 + 0.5 * np.sin(2 * np.pi * (u / np.float32(2 * period) + 2 * turbulence))


def _grained(rng: np.random.Generator, height: int, width: int, period: float) -> Field:
    """Wood: noise drawn out along one direction, with rings."""
    _, v = _axes(rng, height, width)
    slow = noise(rng, height, width, 3 * period, octaves=2)
    rings = (v / np.float32(period) + np.float32(rng.uniform(0.3, 1.5)) * slow) % 1
    fibre = rng.random(512, dtype=np.float32)[(v * 2 + 6 * slow).astype(np.int32) % 512]
    return 0.7 * np.abs(2 * rings - 1) + 0.3 * fibre


def _soft_step(values: Field, rng: np.random.Generator) -> Field:
    """A step at zero whose steepness is random."""
    return np.clip(0.5 + values * np.float32(rng.uniform(4, 16)), 0, 1)


_MAKERS: Mapping[Pattern, Callable[[np.random.Generator, int, int, float], Field]] = {
    "plain": _plain,
    "gradient": _gradient,
    "striped": _striped,
    "checked": _checked,
    "tiled": _tiled,
    "dotted": _dotted,
    "speckled": _speckled,
    "mottled": _mottled,
    "marbled": _marbled,
    "grained": _grained,
}
