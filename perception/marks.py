"""Marks on an image for a vision-language model to choose from: lettered points on objects, lettered tiles.

The visual prompt of MOKA (Fang et al., RSS 2024): candidate points P1, P2, ... on the object to be grasped,
Q1, Q2, ... on the other one, and a grid over the image, columns a, b, ... from the left, rows 1, 2, ... from
the bottom, for points in free space. All in pixels here; `affordance.units` makes keypoints of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .frame import BoolArray, FloatArray, ImageArray

PREFIXES = ("P", "Q")
COLOURS = {"P": (220, 30, 30), "Q": (30, 70, 230)}
GRID_COLOUR = (255, 255, 255)
LEAST_DRAWN_SIDE = 768  # Letters on a smaller picture cannot be read.


class UnknownMarkError(ValueError):
    """A name that is on no mark and no tile; the message lists those that exist."""


@dataclass(frozen=True)
class TileGrid:
    """Tiles over an image of `width` x `height` pixels, named "a1" (bottom left) to "e5" (top right)."""

    width: int
    height: int
    columns: int = 5
    rows: int = 5

    def __post_init__(self) -> None:
        if not (1 <= self.columns <= 26 and 1 <= self.rows <= 99):
            raise ValueError(f"a grid has 1..26 columns and 1..99 rows, got {self.columns}x{self.rows}")

    @property
    def names(self) -> tuple[str, ...]:
        """Every tile's name, column by column."""
        return tuple(f"{chr(97 + c)}{r + 1}" for c in range(self.columns) for r in range(self.rows))

    def bounds(self, name: str) -> tuple[float, float, float, float]:
        """A tile's edges in pixels: left, top, right, bottom (pixel centres at integers).

        Raises:
            UnknownMarkError: there is no such tile.
        """
        if name not in self.names:
            raise UnknownMarkError(f"no tile {name!r}; tiles are {self.names[0]} to {self.names[-1]}")
        column, row = ord(name[0]) - 97, self.rows - int(name[1:])
        width, height = self.width / self.columns, self.height / self.rows
        left, top = column * width - 0.5, row * height - 0.5
        return left, top, left + width, top + height

    def centre(self, name: str) -> FloatArray:
        """The middle (u, v) of a tile."""
        left, top, right, bottom = self.bounds(name)
        return np.array([(left + right) / 2, (top + bottom) / 2])

    def sample(self, name: str, rng: np.random.Generator) -> FloatArray:
        """A uniformly random point (u, v) of a tile, as MOKA takes for waypoints."""
        left, top, right, bottom = self.bounds(name)
        return rng.uniform([left, top], [right, bottom])

    def tile_of(self, pixel: FloatArray) -> str:
        """The name of the tile that holds a pixel (u, v).

        Raises:
            UnknownMarkError: the pixel is outside the image.
        """
        column = int(np.floor((pixel[0] + 0.5) * self.columns / self.width))
        row = int(np.floor((pixel[1] + 0.5) * self.rows / self.height))
        if not (0 <= column < self.columns and 0 <= row < self.rows):
            raise UnknownMarkError(f"pixel {pixel} is outside the {self.width}x{self.height} image")
        return f"{chr(97 + column)}{self.rows - row}"


@dataclass(frozen=True)
class Marks:
    """The marks on one image.

    Attributes:
        points: pixel (u, v) by name, P1.. and Q1..
        grid: the tiles.
    """

    points: Mapping[str, FloatArray]
    grid: TileGrid

    def point(self, name: str) -> FloatArray:
        """The pixel (u, v) of a mark.

        Raises:
            UnknownMarkError: there is no such mark.
        """
        if name not in self.points:
            raise UnknownMarkError(f"no mark {name!r}; marks are {', '.join(self.points) or 'none'}")
        return self.points[name]


def propose_marks(masks: Sequence[BoolArray], count: int = 6, columns: int = 5, rows: int = 5) -> Marks:
    """Candidate points on one or two objects, and the tile grid.

    Args:
        masks: bool (H, W) each; the first gets P1.., the second Q1..
        count: points on each object, the one nearest its centroid first.
        columns: of the grid.
        rows: of the grid.

    Raises:
        ValueError: no mask or more than two, an empty mask, or masks of different sizes.
    """
    if not 1 <= len(masks) <= len(PREFIXES):
        raise ValueError(f"marks go on one or two objects, got {len(masks)}")
    if any(mask.shape != masks[0].shape for mask in masks):
        raise ValueError(f"masks differ in size: {', '.join(str(mask.shape) for mask in masks)}")
    points: dict[str, FloatArray] = {}
    for prefix, mask in zip(PREFIXES, masks, strict=False):
        for index, point in enumerate(farthest_points(mask, count)):
            points[f"{prefix}{index + 1}"] = point
    height, width = masks[0].shape
    return Marks(points, TileGrid(width, height, columns, rows))


def farthest_points(mask: BoolArray, count: int) -> FloatArray:
    """Spread points over a mask: the one nearest its centroid, then each time the farthest from those taken.

    The points keep a pixel away from the mask's rim where it is wide enough, so that depth is read on the
    object.

    Args:
        mask: bool (H, W), not empty.
        count: how many points; fewer come back from a mask of fewer pixels.

    Returns:
        (N, 2) pixels (u, v), all on the mask.
    """
    if not mask.any():
        raise ValueError("the mask is empty; there is nothing to mark")
    inner = np.asarray(cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8))) > 0
    pixels = np.argwhere(inner if inner.sum() >= count else mask)[:, ::-1].astype(np.float64)
    first = int(np.argmin(np.linalg.norm(pixels - pixels.mean(axis=0), axis=1)))
    chosen = [first]
    distance = np.linalg.norm(pixels - pixels[first], axis=1)
    while len(chosen) < min(count, len(pixels)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(pixels - pixels[chosen[-1]], axis=1))
    return pixels[chosen]


def draw_marks(rgb: ImageArray, marks: Marks) -> ImageArray:
    """The image with grid, tile names and marks, enlarged so far that letters can be read.

    Args:
        rgb: uint8 (H, W, 3), of the marks' size.
        marks: from `propose_marks`.

    Returns:
        uint8 (n * H, n * W, 3) for a whole number n.
    """
    grid = marks.grid
    if rgb.shape[:2] != (grid.height, grid.width):
        raise ValueError(f"the image is {rgb.shape[:2]}, the marks are of {(grid.height, grid.width)}")
    canvas, scale = _enlarged(rgb)
    size = (grid.width * scale, grid.height * scale)
    dots = {name: _drawn(pixel, scale) for name, pixel in marks.points.items()}
    for name in grid.names:
        left, top, right, bottom = (round((edge + 0.5) * scale) for edge in grid.bounds(name))
        cv2.rectangle(canvas, (left, top), (right, bottom), GRID_COLOUR, 1, cv2.LINE_AA)
        corners = [(x, y) for y in (bottom - 8, top + 22) for x in (left + 6, right - 32)]
        _write(canvas, name, max(corners, key=lambda corner: _room(corner, dots.values())), GRID_COLOUR)
    for name, dot in dots.items():
        cv2.circle(canvas, dot, 7, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(canvas, dot, 5, COLOURS[name[0]], -1, cv2.LINE_AA)
    # Names last, so that no dot hides one; to the left of the dot at the right border.
    for name, (u, v) in dots.items():
        left = u + 9 if u + 44 < size[0] else u - 42
        _write(canvas, name, (left, min(max(v + 6, 18), size[1] - 4)), COLOURS[name[0]], edge=(255, 255, 255))
    return canvas


def draw_numbers(rgb: ImageArray, masks: Sequence[BoolArray]) -> ImageArray:
    """The image with every object outlined and numbered from 1, enlarged as in `draw_marks`.

    Args:
        rgb: uint8 (H, W, 3).
        masks: bool (H, W) each, none empty.

    Returns:
        uint8 (n * H, n * W, 3) for a whole number n.
    """
    canvas, scale = _enlarged(rgb)
    for mask in masks:
        large = cv2.resize(mask.astype(np.uint8), canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(canvas, outlines, -1, COLOURS["P"], 2, cv2.LINE_AA)
    # Numbers last, so that no outline crosses one.
    for number, mask in enumerate(masks, start=1):
        u, v = _drawn(farthest_points(mask, 1)[0], scale)
        left = min(max(u - 7 * len(str(number)), 2), canvas.shape[1] - 16 * len(str(number)))
        _write(canvas, str(number), (left, min(max(v + 8, 18), canvas.shape[0] - 4)), GRID_COLOUR)
    return canvas


def _enlarged(rgb: ImageArray) -> tuple[ImageArray, int]:
    """A picture on which letters can be read, and how many times larger it is."""
    height, width = rgb.shape[:2]
    scale = max(1, -(-LEAST_DRAWN_SIDE // min(height, width)))
    large = cv2.resize(rgb, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, dtype=np.uint8), scale


def _drawn(pixel: FloatArray, scale: int) -> tuple[int, int]:
    """A pixel's place on the enlarged picture."""
    return round((pixel[0] + 0.5) * scale), round((pixel[1] + 0.5) * scale)


def _room(corner: tuple[int, int], dots: Iterable[tuple[int, int]]) -> float:
    """How far the nearest dot is; all corners beyond 50 pixels are as good, so that the first is taken."""
    return min((math.dist(corner, dot) for dot in dots if math.dist(corner, dot) < 50), default=50.0)


def _write(
    canvas: ImageArray,
    text: str,
    position: tuple[int, int],
    colour: tuple[int, int, int],
    edge: tuple[int, int, int] = (0, 0, 0),
) -> None:
    """Letters with an edge, readable on any ground."""
    for ink, thickness in ((edge, 5), (colour, 2)):
        cv2.putText(canvas, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.65, ink, thickness, cv2.LINE_AA)
