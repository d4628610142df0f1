"""How a scene looks: colours, textures, light and camera, drawn for one split."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np

from ..perception.frame import FloatArray
from .objects import PlacedObject, Split
from .task import SceneVariation
from .textures import BANK_SIZE, TextureSet, texture
from .urdf import Colour
from .world import Lighting, World

# One lab for the photos; other labs for validation; anything for the test.
VARIATIONS: Mapping[Split, SceneVariation] = {
    "train": SceneVariation(textures=False, lights=False, camera_jitter=(0.002, 0.002), clutter=(0, 1)),
    "validation": SceneVariation(textures=True, lights=True, camera_jitter=(0.005, 0.005), clutter=(0, 2)),
    "test": SceneVariation(textures=True, lights=True, camera_jitter=(0.008, 0.008), clutter=(1, 3)),
}
_SETS: Mapping[Split, TextureSet] = {"train": "train", "validation": "train", "test": "test"}
# Least distance between an object's colour and the table's, CIE Lab units.
CONTRAST = 30.0
TEXTURED_SHARE = 0.5


def dress(world: World, variation: SceneVariation, split: Split, rng: np.random.Generator) -> None:
    """Give the table, the floor, every object, the light and the camera their look for one scene.

    Args:
        world: with all objects in place.
        variation: what varies.
        split: decides which textures may be used.
        rng: source of all draws.
    """
    world.lighting = _varied_light(rng) if variation.lights else _lab_light(rng)
    world.camera = world.camera.jittered(*variation.camera_jitter, rng)
    if not variation.textures:
        return
    textures = _SETS[split]
    table = _paint(world, world.table, textures, rng, (0.6, 1.0))
    _paint(world, world.floor, textures, rng, (0.25, 0.8))
    for placed in world.objects():
        _recolour(world, placed, table, textures, rng)


def _lab_light(rng: np.random.Generator) -> Lighting:
    base = Lighting(shadow=0.35)
    return replace(base, ambient=base.ambient + float(rng.uniform(-0.03, 0.03)))


def _varied_light(rng: np.random.Generator) -> Lighting:
    angle, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.7)
    direction = (float(lean * np.cos(angle)), float(lean * np.sin(angle)), 1.0)
    red, green, blue = (float(value) for value in rng.uniform(0.85, 1.0, 3))
    return Lighting(
        direction,
        (red, green, blue),
        ambient=float(rng.uniform(0.55, 0.75)),
        diffuse=float(rng.uniform(0.25, 0.5)),
        specular=float(rng.uniform(0.0, 0.15)),
        shadow=float(rng.uniform(0.2, 0.6)),
    )


def _random_colour(rng: np.random.Generator, value: tuple[float, float], saturation: float = 0.9) -> Colour:
    rgb = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.05, saturation), rng.uniform(*value))
    return (*rgb, 1.0)


def _paint(
    world: World, body: int, textures: TextureSet, rng: np.random.Generator, value: tuple[float, float]
) -> FloatArray:
    """Tint and texture a piece of furniture; returns its mean RGB in [0, 1], (3,)."""
    tint = _random_colour(rng, value, saturation=0.5)
    image = texture(textures, int(rng.integers(BANK_SIZE)))
    world.bullet.changeVisualShape(body, -1, rgbaColor=tint)
    world.set_texture(body, -1, image)
    return np.array(tint[:3]) * image.reshape(-1, 3).mean(axis=0) / 255


def _recolour(
    world: World, placed: PlacedObject, table: FloatArray, textures: TextureSet, rng: np.random.Generator
) -> None:
    """New colours for an object: parts that shared one keep sharing; some get a texture."""
    new: dict[Colour, Colour] = {}
    image = texture(textures, int(rng.integers(BANK_SIZE))) if rng.uniform() < TEXTURED_SHARE else None
    light = np.ones(3) if image is None else image.reshape(-1, 3).mean(axis=0) / 255
    for link, shape, old in world.visual_shapes(placed):
        if old not in new:
            new[old] = _contrasting(table, light, rng)
        world.paint(placed, link, shape, new[old], image)


def _contrasting(table: FloatArray, texture_mean: FloatArray, rng: np.random.Generator) -> Colour:
    """A colour that, times its texture, stands out from the table's; after some failures, the last drawn."""
    colour = _random_colour(rng, (0.25, 1.0))
    for _ in range(20):
        if np.linalg.norm(_lab(texture_mean * np.array(colour[:3])) - _lab(table)) > CONTRAST:
            break
        colour = _random_colour(rng, (0.25, 1.0))
    return colour


def _lab(rgb: FloatArray) -> FloatArray:
    pixel = rgb.astype(np.float32).reshape(1, 1, 3)
    return cv2.cvtColor(pixel, cv2.COLOR_RGB2LAB).reshape(3).astype(np.float64)
