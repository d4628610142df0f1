"""Procedural textures: a training set and a disjoint test set of generators, and a bounded bank of images.

Bullet never frees a texture, so scenes draw from a bank of `BANK_SIZE` images per split instead of making new
ones; colours multiply them, so that the bank's variety is not its size. Bullet lays a quarter of a texture on
each face of a box, so every image repeats its pattern twice in both directions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from ..perception.frame import FloatArray, ImageArray

TextureSet = Literal["train", "test"]
BANK_SIZE = 24
SIZE = 256
_Generator = Callable[[np.random.Generator], FloatArray]


@lru_cache(maxsize=2 * BANK_SIZE)
def texture(texture_set: TextureSet, index: int) -> ImageArray:
    """Image `index` of a bank, uint8 (2 SIZE, 2 SIZE, 3), light enough to be tinted by a colour.

    Raises:
        IndexError: the index is not in [0, BANK_SIZE).
    """
    if not 0 <= index < BANK_SIZE:
        raise IndexError(f"texture index {index} is outside [0, {BANK_SIZE})")
    rng = np.random.default_rng([_SALT[texture_set], index])
    generators = GENERATORS[texture_set]
    value = generators[index % len(generators)](rng)
    value = (value - value.min()) / max(float(np.ptp(value)), 1e-9)
    low, high = _two_colours(rng)
    image = low + (high - low) * value[..., None]
    return np.tile(np.clip(255 * image, 0, 255).astype(np.uint8), (2, 2, 1))


def _two_colours(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Two RGB colours in [0, 1] of moderate contrast."""
    low = rng.uniform(0.35, 0.8, 3)
    return low, np.clip(low + rng.uniform(-0.25, 0.35, 3), 0.2, 1.0)


def _noise(rng: np.random.Generator, cells: tuple[int, int]) -> FloatArray:
    """Smooth noise (SIZE, SIZE) of roughly `cells` blobs down and across."""
    coarse = rng.uniform(size=cells).astype(np.float32)
    return cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC).astype(np.float64)


def _grid() -> tuple[FloatArray, FloatArray]:
    v, u = np.mgrid[:SIZE, :SIZE] / SIZE
    return u, v


def _speckle(rng: np.random.Generator) -> FloatArray:
    """Fine grain over faint blotches."""
    return 0.5 * _noise(rng, (8, 8)) + 0.5 * _noise(rng, (128, 128))


def _wood(rng: np.random.Generator) -> FloatArray:
    """Wavy grain along one side."""
    _, v = _grid()
    bend = 0.12 * _noise(rng, (3, 12))
    return np.sin(2 * np.pi * rng.uniform(14, 26) * (v + bend)) + 0.4 * _noise(rng, (96, 12))


def _clouds(rng: np.random.Generator) -> FloatArray:
    """Blotches at three scales."""
    return _noise(rng, (6, 6)) + 0.5 * _noise(rng, (16, 16)) + 0.25 * _noise(rng, (48, 48))


def _brushed(rng: np.random.Generator) -> FloatArray:
    """Streaks along one side, as on brushed metal."""
    return _noise(rng, (180, 5)) + 0.5 * _noise(rng, (60, 3))


def _checks(rng: np.random.Generator) -> FloatArray:
    """A chessboard."""
    u, v = _grid()
    count = int(rng.integers(8, 20))
    return ((np.floor(u * count) + np.floor(v * count)) % 2) + 0.2 * _noise(rng, (64, 64))


def _stripes(rng: np.random.Generator) -> FloatArray:
    """Sharp slanted stripes of two widths."""
    u, v = _grid()
    angle, count = rng.uniform(0, np.pi), rng.uniform(10, 24)
    phase = (u * np.cos(angle) + v * np.sin(angle)) * count % 1
    return (phase < rng.uniform(0.25, 0.6)).astype(np.float64)


def _cells(rng: np.random.Generator) -> FloatArray:
    """Stone-like cells: the distance to the nearest of random seeds."""
    seeds = np.ones((SIZE, SIZE), np.uint8)
    count = int(rng.integers(80, 220))
    seeds[rng.integers(SIZE, size=count), rng.integers(SIZE, size=count)] = 0
    return cv2.distanceTransform(seeds, cv2.DIST_L2, 5).astype(np.float64)


def _weave(rng: np.random.Generator) -> FloatArray:
    """Over-and-under threads."""
    u, v = _grid()
    count = rng.uniform(16, 36)
    return np.abs(np.sin(np.pi * count * u)) * (np.sin(np.pi * count * v) > 0) + np.abs(
        np.sin(np.pi * count * v)
    ) * (np.sin(np.pi * count * u) > 0)


def _marble(rng: np.random.Generator) -> FloatArray:
    """Veins: a sine bent by strong noise."""
    u, v = _grid()
    bend = 1.2 * _noise(rng, (8, 8)) + 0.5 * _noise(rng, (24, 24))
    return np.abs(np.sin(2 * np.pi * (rng.uniform(2, 5) * (u + v) + bend)))


GENERATORS: dict[TextureSet, tuple[_Generator, ...]] = {
    "train": (_speckle, _wood, _clouds, _brushed),
    "test": (_checks, _stripes, _cells, _weave, _marble),
}
_SALT: dict[TextureSet, int] = {"train": 11, "test": 23}
