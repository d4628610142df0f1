"""Small pictures of numbers and cards: one fixed bitmap font, no system font, the same pixels everywhere."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFont

Picture: TypeAlias = NDArray[np.uint8]
Colour: TypeAlias = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
# Pixels of one glyph of Pillow's own bitmap font.
GLYPH_WIDTH, GLYPH_HEIGHT = 6, 11


def blank(size: int, colour: Colour) -> Picture:
    """A square picture uint8 (size, size, 3) of one colour."""
    return np.full((size, size, 3), colour, np.uint8)


def fill(picture: Picture, left: int, top: int, width: int, height: int, colour: Colour) -> None:
    """Paint a rectangle; what lies outside the picture is left out."""
    picture[top : top + height, left : left + width] = colour


def write(picture: Picture, text: str, left: int, top: int, colour: Colour = BLACK, scale: int = 1) -> None:
    """Write one line of text, its glyphs `6 * scale` wide and `11 * scale` high; what does not fit is cut."""
    glyphs = np.kron(_mask(text), np.ones((scale, scale), bool)).astype(bool)
    height, width = picture.shape[0] - top, picture.shape[1] - left
    shown = glyphs[:height, :width]
    picture[top : top + shown.shape[0], left : left + shown.shape[1]][shown] = colour


@cache
def _mask(text: str) -> NDArray[np.bool_]:
    """The pixels of a line of text, bool (11, 6 * characters)."""
    font = ImageFont.load_default_imagefont()
    if not text:
        return np.zeros((GLYPH_HEIGHT, 0), bool)
    mask = font.getmask(text)
    width, height = mask.size
    return (
        np.array([mask.getpixel((x, y)) for y in range(height) for x in range(width)]).reshape(height, width)
        > 0
    )


def resized(picture: Picture, size: int) -> Picture:
    """The picture at another side, uint8 (size, size, 3); whole multiples keep its pixels square."""
    if picture.shape[0] == size:
        return picture
    exact = size % picture.shape[0] == 0
    how = Image.Resampling.NEAREST if exact else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(picture).resize((size, size), how), np.uint8).copy()
