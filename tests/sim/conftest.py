"""One world for all tests of a module: they reset it, as every user of a world does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kalie.sim.world import World


@pytest.fixture(scope="module")
def shared_world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@pytest.fixture
def world(shared_world: World) -> World:
    shared_world.reset()
    return shared_world
