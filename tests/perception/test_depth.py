"""Depth: every reading is trustworthy or NaN, and no pose comes from an invalid one (fault A5)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalie.perception.depth import (
    DepthCleaning,
    DepthError,
    camera_rays,
    clean_depth,
    clean_frame,
    lift,
    point_cloud,
)
from kalie.perception.frame import DepthArray, Intrinsics, RgbdFrame

CAMERA = Intrinsics(width=64, height=48, fx=60.0, fy=61.0, cx=31.0, cy=24.0)
BARREL = Intrinsics(64, 48, 60.0, 61.0, 31.0, 24.0, distortion=(-0.2, 0.05, 0.001, -0.002))


def flat(depth: float = 1.0) -> DepthArray:
    return np.full((48, 64), depth, dtype=np.float32)


def frame_of(depth: DepthArray, intrinsics: Intrinsics = CAMERA) -> RgbdFrame:
    pose = np.eye(4)
    pose[:3, :3] = np.diag([1.0, -1.0, -1.0])
    pose[:3, 3] = [0.5, 0.1, 1.0]
    return RgbdFrame(np.zeros((48, 64, 3), np.uint8), depth, intrinsics, pose)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -1.0, 0.05, 3.5])
def test_when_a_large_patch_is_unreadable_expect_it_stays_invalid(bad: float) -> None:
    depth = flat()
    depth[10:22, 10:22] = bad
    clean = clean_depth(depth)
    expected = np.zeros(depth.shape, bool)
    expected[10:22, 10:22] = True
    assert np.array_equal(np.isnan(clean), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_when_a_small_hole_is_unreadable_expect_it_filled(bad: float) -> None:
    depth = flat()
    depth[10:14, 10:14] = bad
    assert np.array_equal(clean_depth(depth), flat())


def test_when_holes_may_not_be_filled_expect_them_kept() -> None:
    depth = flat()
    depth[10, 10] = 0.0
    clean = clean_depth(depth, DepthCleaning(hole_width=1))
    assert np.isnan(clean[10, 10])
    assert np.isnan(clean).sum() == 1


def test_when_pixels_fly_between_an_edge_and_its_background_expect_them_on_either_surface() -> None:
    depth = flat()
    depth[:, 32:] = 0.7
    depth[:, 31] = np.linspace(0.75, 0.95, 48)
    clean = clean_depth(depth)
    assert set(np.unique(clean)) == {np.float32(0.7), np.float32(1.0)}


def test_when_one_pixel_spikes_expect_the_surface() -> None:
    depth = flat()
    depth[20, 20] = 0.5
    assert np.array_equal(clean_depth(depth), flat())


def test_object_corners_and_thin_strips_survive_cleaning() -> None:
    depth = flat()
    depth[10:30, 20:22] = 0.9
    assert np.array_equal(clean_depth(depth), depth)


def test_a_steep_ramp_survives_cleaning() -> None:
    depth = np.tile(np.linspace(0.6, 1.6, 64, dtype=np.float32), (48, 1))
    assert np.array_equal(clean_depth(depth), depth)


def test_an_all_invalid_image_stays_invalid() -> None:
    assert np.isnan(clean_depth(flat(np.nan))).all()


def test_clean_frame_changes_depth_only() -> None:
    frame = frame_of(flat(np.inf))
    clean = clean_frame(frame)
    assert np.isnan(clean.depth).all()
    assert clean.rgb is frame.rgb


@pytest.mark.parametrize(
    "settings",
    [{"near": 0.0}, {"near": 4.0}, {"edge_jump": 0.0}, {"least_support": 9}, {"hole_width": 4}],
)
def test_when_cleaning_limits_are_senseless_expect_an_error_naming_them(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        DepthCleaning(**settings)  # pyright: ignore[reportArgumentType]


@given(u=st.floats(2, 61), v=st.floats(2, 45), depth=st.floats(0.2, 2.5))
def test_lift_undoes_projection(u: float, v: float, depth: float) -> None:
    for camera in (CAMERA, BARREL):
        frame = frame_of(flat(depth), camera)
        point = lift(frame, np.array([u, v]))
        assert np.allclose(frame.project(point[None])[0], [u, v], atol=1e-3)
        assert point[2] == pytest.approx(1.0 - depth, abs=1e-6)


def test_when_part_of_the_window_is_invalid_expect_the_median_of_the_rest() -> None:
    depth = flat(np.nan)
    depth[20, 20], depth[21, 20], depth[22, 20] = 0.8, 0.9, 0.0
    assert lift(frame_of(depth), np.array([20.0, 21.0]))[2] == pytest.approx(0.2, abs=1e-6)


def test_when_the_window_straddles_an_edge_expect_a_measured_depth() -> None:
    depth = flat()
    depth[:, 32:] = 0.7
    for u in np.linspace(28, 36, 33):
        height = lift(frame_of(depth), np.array([u, 20.0]), window=3)[2]
        assert min(abs(height - 0.0), abs(height - 0.3)) < 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -0.5, 0.01, 9.0])
def test_when_no_valid_depth_is_near_expect_a_refusal_that_says_why(bad: float) -> None:
    with pytest.raises(DepthError, match=r"pixel \(20.0, 21.0\): none of the 25 .* 0.1 to 3 m") as caught:
        lift(frame_of(flat(bad)), np.array([20.0, 21.0]))
    assert caught.value.fault == "no_valid_depth"


@pytest.mark.parametrize(
    "pixel", [(-0.6, 5.0), (63.5, 5.0), (5.0, -1.0), (5.0, 47.5), (np.nan, 5.0), (5.0, np.inf)]
)
def test_when_the_pixel_is_outside_the_image_expect_a_refusal(pixel: tuple[float, float]) -> None:
    with pytest.raises(DepthError, match="outside the 64x48 image") as caught:
        lift(frame_of(flat()), np.array(pixel))
    assert caught.value.fault == "outside_image"


@pytest.mark.parametrize("pixel", [(-0.5, -0.5), (63.4, 47.4), (0.0, 0.0)])
def test_when_the_pixel_is_on_the_border_expect_it_accepted(pixel: tuple[float, float]) -> None:
    assert np.isfinite(lift(frame_of(flat()), np.array(pixel))).all()


def test_when_the_window_is_even_expect_an_error() -> None:
    with pytest.raises(ValueError, match="window must be odd"):
        lift(frame_of(flat()), np.array([5.0, 5.0]), window=4)


@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.0))
def test_no_pose_ever_comes_from_invalid_depth(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.5, 1.5, (48, 64)).astype(np.float32)
    broken = rng.random(depth.shape) < share
    depth[broken] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -1.0, 50.0], size=int(broken.sum()))
    try:
        point = lift(frame_of(depth), rng.uniform(0, 47, 2))
    except DepthError:
        return
    assert np.isfinite(point).all()
    assert -0.5 <= point[2] <= 0.5


def test_point_cloud_agrees_with_lift_and_keeps_invalid_pixels_nan() -> None:
    depth = np.random.default_rng(0).uniform(0.5, 1.5, (48, 64)).astype(np.float32)
    invalid = {(5, 6): np.nan, (7, 8): 0.0, (9, 10): np.inf, (11, 12): -np.inf, (13, 14): 0.05, (15, 16): 50}
    for pixel, reading in invalid.items():
        depth[pixel] = reading
    frame = frame_of(depth, BARREL)
    cloud = point_cloud(frame)
    assert cloud.shape == (48, 64, 3)
    for row, column in invalid:
        assert np.isnan(cloud[row, column]).all()
    assert np.allclose(cloud[30, 40], lift(frame, np.array([40.0, 30.0]), window=1), atol=1e-9)


def test_camera_rays_cannot_be_changed_by_a_caller() -> None:
    with pytest.raises(ValueError, match="read-only"):
        camera_rays(CAMERA)[0, 0] = 5.0
