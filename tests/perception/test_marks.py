"""Marks for a model to choose from: spread over the object, named as agreed, refused when unknown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalie.perception.frame import BoolArray
from kalie.perception.marks import (
    TileGrid,
    UnknownMarkError,
    draw_marks,
    draw_numbers,
    farthest_points,
    propose_marks,
)


def bar(left: int, top: int, right: int, bottom: int) -> BoolArray:
    mask = np.zeros((120, 160), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_points_are_the_centroid_and_then_the_farthest() -> None:
    points = farthest_points(bar(20, 50, 101, 57), 3)
    assert np.allclose(points[0], [60, 53])
    assert {round(points[1][0]), round(points[2][0])} == {21, 99}


@given(seed=st.integers(0, 1000), count=st.integers(1, 12))
def test_points_lie_on_the_mask_and_differ(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((40, 50), bool)
    for _ in range(3):
        v, u = rng.integers(0, 30, 2)
        mask[v : v + rng.integers(1, 10), u : u + rng.integers(1, 20)] = True
    points = farthest_points(mask, count)
    assert len(points) == min(count, int(mask.sum()))
    assert len(np.unique(points, axis=0)) == len(points)
    assert mask[points[:, 1].astype(int), points[:, 0].astype(int)].all()


def test_the_centroid_of_a_ring_is_moved_onto_it() -> None:
    ring = bar(40, 20, 100, 80)
    ring[30:70, 50:90] = False
    u, v = farthest_points(ring, 6)[0]
    assert ring[int(v), int(u)]


def test_points_keep_off_the_rim_of_wide_masks_but_use_thin_ones() -> None:
    wide = farthest_points(bar(40, 20, 100, 80), 6)
    assert wide[:, 0].min() >= 41
    assert wide[:, 0].max() <= 98
    assert len(farthest_points(bar(40, 20, 100, 21), 6)) == 6


def test_the_first_object_gets_p_and_the_second_q() -> None:
    marks = propose_marks([bar(10, 10, 50, 30), bar(90, 60, 150, 110)])
    assert list(marks.points) == [f"{letter}{n}" for letter in "PQ" for n in range(1, 7)]
    assert all(marks.point(f"P{n}")[0] < 50 < marks.point(f"Q{n}")[0] for n in range(1, 7))


@pytest.mark.parametrize("name", ["P7", "R1", "p1", "P1 ", "", "a1"])
def test_when_a_mark_does_not_exist_expect_the_existing_ones_listed(name: str) -> None:
    with pytest.raises(UnknownMarkError, match=r"marks are P1, P2, .*P6"):
        propose_marks([bar(10, 10, 50, 30)]).point(name)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([], "one or two objects, got 0"),
        ([bar(1, 1, 9, 9)] * 3, "one or two objects, got 3"),
        ([bar(5, 5, 5, 5)], "mask is empty"),
        ([bar(1, 1, 9, 9), np.ones((4, 4), bool)], "differ in size"),
    ],
)
def test_when_masks_cannot_be_marked_expect_the_reason(masks: list[BoolArray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        propose_marks(masks)


def test_tiles_are_lettered_from_the_left_and_numbered_from_the_bottom() -> None:
    grid = TileGrid(160, 120)
    assert grid.tile_of(np.array([0.0, 119.0])) == "a1"
    assert grid.tile_of(np.array([159.0, 0.0])) == "e5"
    assert grid.tile_of(np.array([0.0, 0.0])) == "a5"
    assert np.allclose(grid.centre("c3"), [79.5, 59.5])
    assert len(grid.names) == 25


@given(name=st.sampled_from(TileGrid(160, 120).names), seed=st.integers(0, 100))
def test_a_tile_holds_its_centre_and_its_samples(name: str, seed: int) -> None:
    grid = TileGrid(160, 120)
    assert grid.tile_of(grid.centre(name)) == name
    sample = grid.sample(name, np.random.default_rng(seed))
    assert grid.tile_of(sample) == name
    assert np.array_equal(sample, grid.sample(name, np.random.default_rng(seed)))


@pytest.mark.parametrize("name", ["f1", "a0", "a6", "A1", "3c", "a1 ", ""])
def test_when_a_tile_does_not_exist_expect_the_existing_ones_named(name: str) -> None:
    with pytest.raises(UnknownMarkError, match="tiles are a1 to e5"):
        TileGrid(160, 120).bounds(name)


@pytest.mark.parametrize("pixel", [(-0.6, 5.0), (160.0, 5.0), (5.0, 119.6)])
def test_when_a_pixel_is_outside_the_image_expect_no_tile(pixel: tuple[float, float]) -> None:
    with pytest.raises(UnknownMarkError, match="outside the 160x120 image"):
        TileGrid(160, 120).tile_of(np.array(pixel))


def test_when_a_grid_cannot_be_lettered_expect_a_refusal() -> None:
    with pytest.raises(ValueError, match=r"1..26 columns"):
        TileGrid(160, 120, columns=27)


def test_the_drawing_is_large_and_shows_the_marks_colours() -> None:
    marks = propose_marks([bar(10, 10, 50, 30), bar(90, 60, 150, 110)])
    drawn = draw_marks(np.full((120, 160, 3), 90, np.uint8), marks)
    assert drawn.shape == (840, 1120, 3)
    for name, colour in (("P1", (220, 30, 30)), ("Q1", (30, 70, 230))):
        u, v = (int((value + 0.5) * 7) for value in marks.point(name))
        assert tuple(drawn[v, u]) == colour


def test_drawing_leaves_the_photo_alone() -> None:
    photo = np.full((120, 160, 3), 90, np.uint8)
    draw_marks(photo, propose_marks([bar(10, 10, 50, 30)]))
    assert (photo == 90).all()


def test_when_the_photo_has_another_size_expect_a_refusal() -> None:
    with pytest.raises(ValueError, match="marks are of"):
        draw_marks(np.zeros((10, 10, 3), np.uint8), propose_marks([bar(10, 10, 50, 30)]))


def test_numbered_objects_are_outlined_and_numbered_in_order() -> None:
    photo = np.full((120, 160, 3), 90, np.uint8)
    masks = [bar(10, 10, 50, 30), bar(90, 60, 150, 110)]
    drawn = draw_numbers(photo, masks)
    assert drawn.shape == (840, 1120, 3)
    assert (photo == 90).all()
    swapped = draw_numbers(photo, masks[::-1])
    for mask in masks:
        inside = np.kron(mask, np.ones((7, 7))) > 0
        assert (drawn[inside] == (220, 30, 30)).all(axis=1).any()
        assert (drawn[inside] != swapped[inside]).any()
