"""What misplaced keypoints are taken to mean, from the depth around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from kalie.affordance.schema import Affordance
from kalie.control.keypoints import LiftedKeypoints, lift_keypoints, straightened

from .scenes import Box, keypoint, render

RISE = 0.006
# A container with walls 6 cm high, 13 cm wide, its floor at 5 mm; its middle is (0.55, 0.1).
WALLS = [Box((0.55 + dx, 0.1 + dy), size) for dx, dy, size in
         ((0.06, 0.0, (0.01, 0.13, 0.06)), (-0.06, 0.0, (0.01, 0.13, 0.06)),
          (0.0, 0.06, (0.13, 0.01, 0.06)), (0.0, -0.06, (0.13, 0.01, 0.06)))]  # fmt: skip
CONTAINER = [*WALLS, Box((0.55, 0.1), (0.12, 0.12, 0.005))]


def target(boxes: Sequence[Box], x: float, y: float, z: float = 0.0) -> LiftedKeypoints:
    frame = render(boxes)
    return lift_keypoints("pour", ("target",), Affordance(target=keypoint(frame, x, y, z)), frame)


@pytest.mark.parametrize(
    ("x", "y", "z"),
    [(0.55, 0.1, 0.005), (0.58, 0.08, 0.005), (0.61, 0.1, 0.06), (0.55, 0.04, 0.06), (0.64, 0.1, 0.0)],
)
def test_a_point_on_in_or_beside_a_container_is_brought_over_its_middle_at_its_floor(
    x: float, y: float, z: float
) -> None:
    inside = target(CONTAINER, x, y, z).inside("target", 0.01, RISE)
    assert np.hypot(*(inside[:2] - (0.55, 0.1))) < 0.015
    assert inside[2] == pytest.approx(0.005, abs=0.003)


def test_a_point_near_a_containers_middle_stays() -> None:
    points = target(CONTAINER, 0.555, 0.1, 0.005)
    np.testing.assert_allclose(points.inside("target", 0.01, RISE)[:2], points["target"][:2], atol=0.003)


@pytest.mark.parametrize(
    ("boxes", "why"),
    [
        ([], "nothing stands there"),
        ([Box((0.55, 0.25), (0.05, 0.05, 0.05))], "what stands there is too far away"),
        ([Box((0.55, 0.1), (0.3, 0.3, 0.05))], "what stands there is larger than a container"),
    ],
)
def test_when_no_container_is_there_expect_the_point_itself(boxes: list[Box], why: str) -> None:
    points = target(boxes, 0.58, 0.08)
    np.testing.assert_array_equal(points.inside("target", 0.01, RISE), points["target"], err_msg=why)


def test_a_point_beside_a_tool_is_brought_onto_it_and_one_on_it_stays() -> None:
    tool = [Box((0.55, 0.1), (0.04, 0.1, 0.03))]
    beside = target(tool, 0.6, 0.12).standing("target", RISE)
    np.testing.assert_allclose(beside[:2], (0.57, 0.12), atol=0.008)
    assert beside[2] > RISE
    on = target(tool, 0.56, 0.12, 0.03)
    np.testing.assert_array_equal(on.standing("target", RISE), on["target"])
    away = target(tool, 0.7, 0.12)
    np.testing.assert_array_equal(away.standing("target", RISE), away["target"])


def test_points_are_straightened_onto_the_line_with_the_least_squares() -> None:
    points = np.array([[0.0, 0.0, 0.1], [0.1, 0.03, 0.1], [0.2, 0.0, 0.4]])
    expected = [[0.0, 0.01, 0.1], [0.1, 0.01, 0.1], [0.2, 0.01, 0.1]]
    np.testing.assert_allclose(straightened(points), expected, atol=1e-12)
    np.testing.assert_allclose(straightened(points[::-1]), expected[::-1], atol=1e-12)
