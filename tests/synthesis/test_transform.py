"""The map h moves labels and pixels alike, is invertible, and round-trips through JSON."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalie.synthesis.transform import (
    Box,
    Transform,
    TransformConfig,
    random_transform,
)
from kalie.synthesis.warps import Elastic, Lobes, Taper, TransformError

SIZE = 128
seeds = st.integers(0, 10_000)
KINDS = {
    "affine": TransformConfig(elastic=0.0, taper_probability=0.0),
    "elastic": TransformConfig(
        scale=(1, 1), scale_slender=(1, 1), rotation_deg=0, shift=0, elastic=0.5, taper_probability=0.0
    ),
    "taper": TransformConfig(
        scale=(1, 1), scale_slender=(1, 1), rotation_deg=0, shift=0, elastic=0.0, taper_probability=1.0
    ),
    "lobes": TransformConfig(
        scale=(1, 1),
        scale_slender=(1, 1),
        rotation_deg=0,
        shift=0,
        elastic=0.0,
        taper_probability=0.0,
        lobes_probability=1.0,
    ),
    "all": TransformConfig(elastic=0.4, taper_probability=1.0, lobes_probability=1.0),
}


def long_mask() -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[50:70, 30:95] = True
    return mask


def disc_mask() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.hypot(x - 62, y - 59) < 24


def draw(kind: str, seed: int) -> Transform:
    mask = disc_mask() if kind == "lobes" else long_mask()
    return random_transform(KINDS[kind], mask, np.random.default_rng(seed))


def object_points(seed: int, count: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).uniform((30, 50), (94, 69), size=(count, 2))


def dot_image(point: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 8).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_a_dot_in_the_moved_image_stands_where_the_moved_label_says(kind: str, seed: int) -> None:
    h = draw(kind, seed)
    point = object_points(seed, 1)[0]
    where = h.points(point)[0]
    if not (10 < where[0] < SIZE - 10 and 10 < where[1] < SIZE - 10):
        return
    moved = h.image(dot_image(point))
    peak = np.array(np.unravel_index(moved.argmax(), moved.shape))[::-1]
    assert np.abs(peak - where).max() <= 1.0
    ring = moved > 0.6  # near the peak, where h is all but affine, the centroid is the moved centre
    y, x = np.nonzero(ring)
    centroid = np.array([np.average(x, weights=moved[ring]), np.average(y, weights=moved[ring])])
    assert np.linalg.norm(centroid - where) < 0.5


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_inverse_undoes_forward(kind: str, seed: int) -> None:
    h, points = draw(kind, seed), object_points(seed)
    assert np.abs(h.inverse_points(h.points(points)) - points).max() < 1e-2
    assert np.abs(h.points(h.inverse_points(points)) - points).max() < 2e-2


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_jacobian_is_the_derivative_and_never_folds(kind: str, seed: int) -> None:
    h, points = draw(kind, seed), object_points(seed)
    step = 1e-5
    numeric = np.stack(
        [(h.points(points + step * e) - h.points(points - step * e)) / (2 * step) for e in np.eye(2)], axis=2
    )
    jacobian = h.jacobian(points)
    assert np.abs(jacobian - numeric).max() < 1e-5
    assert np.linalg.det(jacobian).min() > 0.05


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_json_round_trip_is_exact(seed: int) -> None:
    h = draw("all", seed)
    again = Transform.from_json(json.loads(json.dumps(h.to_json())))
    points = object_points(seed)
    assert np.array_equal(h.points(points), again.points(points))


@given(seed=seeds, yaw=st.floats(-1.5, 1.5))
@settings(max_examples=30, deadline=None)
def test_jaws_stay_across_the_part_they_hold(seed: int, yaw: float) -> None:
    h, point = draw("all", seed), object_points(seed, 1)[0]
    part = np.array([-math.sin(yaw), math.cos(yaw)])  # the held part runs across the closing direction
    moved_part = h.jacobian(point)[0] @ part
    moved_yaw = h.yaw(point, yaw)
    assert -math.pi / 2 < moved_yaw <= math.pi / 2
    assert abs(moved_part @ (math.cos(moved_yaw), math.sin(moved_yaw))) < 1e-9 * np.linalg.norm(moved_part)


def test_yaw_turns_with_a_rotation() -> None:
    angle = 0.3
    linear = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    h = Transform(linear, np.zeros(2), np.zeros(2))
    assert h.yaw(np.array([5.0, 6.0]), 0.4) == pytest.approx(0.7)
    assert h.yaw(np.array([5.0, 6.0]), math.pi / 2) == pytest.approx(0.3 - math.pi / 2)


def test_turned_offset_keeps_its_length() -> None:
    h = draw("all", 3)
    offset = np.array([11.0, -4.0])
    assert np.linalg.norm(h.turned(np.array([60.0, 60.0]), offset)) == pytest.approx(np.linalg.norm(offset))


def test_calmed_to_zero_is_the_identity() -> None:
    h = random_transform(TransformConfig().calmed(0), long_mask(), np.random.default_rng(0))
    points = object_points(0)
    assert np.allclose(h.points(points), points)
    assert Transform.identity().is_identity


def test_identity_returns_the_same_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    assert np.array_equal(Transform.identity().image(image), image)


@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_moved_box_holds_the_whole_moved_object(seed: int) -> None:
    h, mask = draw("all", seed), long_mask().astype(np.float32)
    box = h.moved_box(Box.around(mask), SIZE, SIZE)
    moved = h.image(mask)
    inside = h.sample([mask], box)[0]
    assert np.abs(moved[box.slices] - inside).max() < 0.05  # OpenCV samples at 1/32 px
    assert moved.sum() == pytest.approx(inside.sum(), rel=1e-3)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_draws_stay_within_the_configured_ranges(seed: int) -> None:
    ranges = TransformConfig()
    for mask, (low, high) in ((long_mask(), ranges.scale_slender), (disc_mask(), ranges.scale)):
        h = random_transform(KINDS["affine"], mask, np.random.default_rng(seed))
        assert np.abs(h.shift).max() <= ranges.shift * SIZE
        scales = np.linalg.svd(h.linear, compute_uv=False)
        assert scales.min() >= low - 1e-9
        assert scales.max() <= high + 1e-9


def test_four_lobes_make_a_disc_nearly_a_square() -> None:
    lobes = Lobes(np.array([62.0, 59.0]), radius=8.0, count=4, phase=math.pi / 4, depth=0.17)
    moved = (
        Transform(np.eye(2), np.zeros(2), np.zeros(2), lobes=lobes).image(disc_mask().astype(np.float32))
        > 0.5
    )
    rows, columns = moved.any(axis=1).sum(), moved.any(axis=0).sum()
    disc, square = np.pi / 4, 1.0
    assert abs(rows - columns) <= 1
    assert moved.sum() / (rows * columns) > (disc + square) / 2


def test_long_things_get_no_lobes() -> None:
    for seed in range(20):
        assert random_transform(KINDS["lobes"], long_mask(), np.random.default_rng(seed)).lobes is None


def test_when_lobes_are_too_deep_expect_error() -> None:
    with pytest.raises(TransformError, match="lobes"):
        Lobes(np.zeros(2), radius=5.0, count=4, phase=0.0, depth=0.9)


def test_when_elastic_could_fold_expect_error() -> None:
    with pytest.raises(TransformError, match="elastic"):
        Elastic(np.array([[5.0, 0.0]]), np.array([[0.5, 0.0]]), np.zeros(1))


def test_when_linear_part_is_singular_expect_error() -> None:
    with pytest.raises(TransformError, match="determinant"):
        Transform(np.array([[1.0, 1.0], [1.0, 1.0]]), np.zeros(2), np.zeros(2))


def test_when_taper_is_too_strong_expect_error() -> None:
    with pytest.raises(TransformError, match="taper"):
        Taper(np.zeros(2), 0.0, 0.0, 5.0, width=0.99, stretch=0.0)


@pytest.mark.parametrize(
    "bad",
    [
        {"scale": (0.0, 1.0)},
        {"scale_slender": (2.0, 1.0)},
        {"elastic": 0.9},
        {"taper_width": 2.0},
        {"lobes": 0.6},
    ],
)
def test_when_config_is_out_of_range_expect_error_naming_the_field(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        TransformConfig(**bad)  # pyright: ignore[reportArgumentType]
