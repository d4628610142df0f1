from __future__ import annotations

import math

import numpy as np
import pytest

from kalie.affordance.schema import Affordance, Keypoint
from kalie.sim.annotate import ClickNoise, Photographer, clicked, random_affordance
from kalie.sim.registry import task
from kalie.sim.staging import stage
from kalie.sim.world import World

TRUTH = Affordance(Keypoint(0.5, 0.5), Keypoint(0.3, 0.7), grasp_yaw=math.pi / 2, pre_height=0.01)


def test_clicks_have_the_noise_they_are_given() -> None:
    rng = np.random.default_rng(0)
    clicks = [clicked(TRUTH, (256, 256), ClickNoise(1.5, 0.05), rng) for _ in range(2000)]
    offsets = np.array([[c.grasp.x - 0.5, c.grasp.y - 0.5] for c in clicks if c.grasp]) * 256
    assert abs(offsets.mean()) < 0.1
    assert 1.4 < offsets.std() < 1.6
    assert all(c.pre_height == 0.01 and c.target is None for c in clicks)
    assert all(c.grasp_yaw is not None and -math.pi / 2 < c.grasp_yaw <= math.pi / 2 for c in clicks)


def test_clicks_stay_inside_the_image() -> None:
    corner = Affordance(Keypoint(0.0, 0.999))
    rng = np.random.default_rng(0)
    for _ in range(200):
        clicked(corner, (256, 256), ClickNoise(5.0, 0.0), rng)


def test_no_noise_means_the_truth() -> None:
    exact = clicked(TRUTH, (256, 256), ClickNoise(0.0, 0.0), np.random.default_rng(0))
    assert exact.grasp is not None
    assert TRUTH.grasp is not None
    assert exact.grasp.distance(TRUTH.grasp) < 1e-12


def test_when_noise_is_negative_expect_refusal() -> None:
    with pytest.raises(ValueError, match="negative"):
        ClickNoise(-1.0)


def test_photos_are_deterministic_and_a_shorter_series_is_a_prefix(world: World) -> None:
    calls: list[tuple[int, int]] = []
    photographer = Photographer(world, task("sweep"))
    three = photographer.photograph(3, seed=4, progress=lambda done, total: calls.append((done, total)))
    two = photographer.photograph(2, seed=4)
    for first, second in zip(three, two, strict=False):
        assert first.id == second.id
        assert first.affordance == second.affordance
        np.testing.assert_array_equal(first.rgb, second.rgb)
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert len({photo.id for photo in three}) == 3
    assert {photo.group for photo in three} == {"flat_brush+crumpled_paper"}


def test_masks_come_from_the_segmenter_and_cover_the_keypoints(world: World) -> None:
    for photo in Photographer(world, task("sweep"), noise=ClickNoise(0.0, 0.0)).photograph(4, seed=1):
        assert photo.masks is not None
        for point in (photo.affordance.grasp, photo.affordance.function, photo.affordance.target):
            assert point is not None
            column, row = int(point.x * 256), int(point.y * 256)
            assert photo.masks[row - 1 : row + 2, column - 1 : column + 2].any()


def test_the_floor_clicks_on_objects_but_knows_nothing_else(world: World) -> None:
    staged = stage(world, task("sweep"), "train", 0)
    rng = np.random.default_rng(0)
    guesses = [random_affordance(staged.frame, staged.affordance, rng) for _ in range(20)]
    assert len({guess.grasp for guess in guesses}) > 10
    for guess in guesses:
        assert [name for name, _ in guess.keypoints()] == [name for name, _ in staged.affordance.keypoints()]
        assert guess.pre_height == staged.affordance.pre_height
