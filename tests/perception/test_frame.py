"""Cameras: projection and its inverse, with and without distortion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalie.perception.frame import FrameError, Intrinsics, RgbdFrame

LENSES = [
    (),
    (-0.25, 0.06, 0.001, -0.001),
    (0.12, -0.2, -0.0005, 0.0008, 0.05),
    (-0.3, 0.1, 0.001, 0.001, 0.0, 0.05, 0.01, 0.0),
]


@pytest.mark.parametrize("distortion", LENSES)
@given(u=st.floats(-0.5, 639.4), v=st.floats(-0.5, 479.4), depth=st.floats(0.1, 5.0))
def test_unproject_undoes_project(distortion: tuple[float, ...], u: float, v: float, depth: float) -> None:
    camera = Intrinsics(640, 480, 600.0, 605.0, 322.0, 236.0, distortion)
    points = camera.unproject(np.array([[u, v]]), np.array([depth]))
    assert points[0, 2] == pytest.approx(depth)
    assert np.allclose(camera.project(points), [[u, v]], atol=1e-4)


@pytest.mark.parametrize("distortion", LENSES)
@given(x=st.floats(-0.4, 0.4), y=st.floats(-0.3, 0.3), z=st.floats(0.8, 3.0))
def test_project_undoes_unproject(distortion: tuple[float, ...], x: float, y: float, z: float) -> None:
    camera = Intrinsics(640, 480, 600.0, 605.0, 322.0, 236.0, distortion)
    pixel = camera.project(np.array([[x, y, z]]))
    assert np.allclose(camera.unproject(pixel, np.array([z])), [[x, y, z]], atol=1e-6)


def test_the_optical_axis_hits_the_principal_point() -> None:
    camera = Intrinsics(640, 480, 600.0, 605.0, 322.0, 236.0, LENSES[1])
    assert np.allclose(camera.project(np.array([[0.0, 0.0, 2.0]])), [[322.0, 236.0]])


def test_when_a_point_is_behind_the_camera_expect_nan() -> None:
    camera = Intrinsics(640, 480, 600.0, 605.0, 322.0, 236.0)
    pixels = camera.project(np.array([[0.1, 0.1, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert np.isnan(pixels[:2]).all()
    assert np.isfinite(pixels[2]).all()


def test_frame_projection_uses_the_camera_pose() -> None:
    camera = Intrinsics(8, 6, 10.0, 10.0, 4.0, 3.0)
    pose = np.array(
        [[0.0, -1.0, 0.0, 0.5], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
    )
    frame = RgbdFrame(np.zeros((6, 8, 3), np.uint8), np.ones((6, 8), np.float32), camera, pose)
    assert np.allclose(frame.project(np.array([[0.5, 0.0, 0.0]])), [[4.0, 3.0]])
    # Toward the robot (smaller x) is down in the image, to the robot's left (larger y) is left.
    assert np.allclose(frame.project(np.array([[0.4, 0.1, 0.0]])), [[3.0, 4.0]])
    assert np.allclose(frame.to_base(np.array([[0.0, 0.0, 1.0]])), [[0.5, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "size must be positive"),
        ({"fx": -1.0}, "fx, fy"),
        ({"cx": float("nan")}, "finite"),
        ({"distortion": (0.1, 0.2)}, "0, 4, 5 or 8 numbers, got 2"),
    ],
)
def test_when_intrinsics_are_senseless_expect_an_error(change: dict[str, Any], message: str) -> None:
    good = {"width": 8, "height": 6, "fx": 10.0, "fy": 10.0, "cx": 4.0, "cy": 3.0}
    with pytest.raises(FrameError, match=message):
        Intrinsics(**{**good, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rgb": np.zeros((6, 8, 3), np.float32)}, "rgb: expected uint8"),
        ({"depth": np.ones((6, 7), np.float32)}, "depth: expected float32"),
        ({"depth": np.ones((6, 8), np.float64)}, "depth: expected float32"),
        ({"base_from_camera": np.full((4, 4), np.nan)}, "base_from_camera"),
    ],
)
def test_when_a_frame_is_inconsistent_expect_the_field_named(change: dict[str, Any], message: str) -> None:
    good = {
        "rgb": np.zeros((6, 8, 3), np.uint8),
        "depth": np.ones((6, 8), np.float32),
        "intrinsics": Intrinsics(8, 6, 10.0, 10.0, 4.0, 3.0),
    }
    with pytest.raises(FrameError, match=message):
        RgbdFrame(**{**good, **change})
