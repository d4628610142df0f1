from __future__ import annotations

import numpy as np
import pytest

from kalie.sim.appearance import VARIATIONS, dress
from kalie.sim.objects import LinkPoint, ObjectModel
from kalie.sim.textures import BANK_SIZE, GENERATORS, texture
from kalie.sim.urdf import Link, Part, urdf_text
from kalie.sim.world import World

RED, BLUE = (0.9, 0.1, 0.1, 1.0), (0.1, 0.1, 0.9, 1.0)
THREE = ObjectModel(
    "clutter",
    "three",
    urdf_text(
        "three",
        [
            Link(
                "base",
                (
                    Part("box", (0.05, 0.05, 0.02), (0, 0, 0.01), colour=RED),
                    Part("box", (0.05, 0.05, 0.02), (0.05, 0, 0.01), colour=BLUE),
                    Part("box", (0.05, 0.05, 0.02), (0.1, 0, 0.01), colour=RED),
                ),
            )
        ],
    ),
    {},
)


def test_train_and_test_textures_are_made_differently() -> None:
    assert not set(GENERATORS["train"]) & set(GENERATORS["test"])


@pytest.mark.parametrize("texture_set", ["train", "test"])
def test_textures_are_distinct_and_deterministic(texture_set: str) -> None:
    images = [texture(texture_set, index) for index in range(BANK_SIZE)]  # pyright: ignore[reportArgumentType]
    assert len({image.tobytes() for image in images}) == BANK_SIZE
    texture.cache_clear()
    np.testing.assert_array_equal(texture(texture_set, 3), images[3])  # pyright: ignore[reportArgumentType]


def test_when_a_texture_is_not_in_the_bank_expect_an_error() -> None:
    with pytest.raises(IndexError, match=str(BANK_SIZE)):
        texture("train", BANK_SIZE)


def test_parts_that_shared_a_colour_still_do(world: World) -> None:
    placed = world.load(THREE, (0.5, 0, 0))
    dress(world, VARIATIONS["test"], "test", np.random.default_rng(0))
    frame = world.render()
    middles = [world.point(placed, LinkPoint((x, 0.0, 0.02))) for x in (0.0, 0.05, 0.1)]
    first, second, third = (
        frame.rgb[row - 1 : row + 2, column - 1 : column + 2].mean(axis=(0, 1))
        for column, row in frame.project(np.array(middles)).round().astype(int)
    )
    assert np.abs(first - third).max() < 20
    assert np.abs(first - second).max() > 25


def test_looks_are_deterministic_and_differ_between_seeds(world: World) -> None:
    pictures = []
    for seed in (0, 0, 1):
        world.reset()
        world.load(THREE, (0.5, 0, 0))
        dress(world, VARIATIONS["test"], "test", np.random.default_rng(seed))
        pictures.append(world.render().rgb)
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[0].astype(int) - pictures[2]).mean() > 5


def test_a_reset_undoes_every_look(world: World) -> None:
    plain = world.render().rgb
    dress(world, VARIATIONS["test"], "test", np.random.default_rng(3))
    assert not np.array_equal(world.render().rgb, plain)
    world.reset()
    np.testing.assert_array_equal(world.render().rgb, plain)


def test_textures_are_loaded_once(world: World) -> None:
    for seed in range(60):
        world.reset()
        dress(world, VARIATIONS["test"], "test", np.random.default_rng(seed))
    assert len(list(world.files.glob("*.bmp"))) <= 2 * BANK_SIZE
