from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalie.control.grasp import GraspSettings, RefinedGrasp, refine_grasp
from kalie.perception.frame import FloatArray, RgbdFrame

from .scenes import Box, render

SETTINGS = GraspSettings()


def refine(frame: RgbdFrame, point: tuple[float, float, float], angle: float) -> RefinedGrasp | None:
    axis = np.array([np.cos(angle), np.sin(angle), 0.0])
    return refine_grasp(frame, np.array(point), axis, 0.0, SETTINGS)


def angle_between(axis: FloatArray, angle: float) -> float:
    """Degrees between a line and a direction."""
    cosine = abs(axis[0] * np.cos(angle) + axis[1] * np.sin(angle))
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


@settings(max_examples=40, deadline=None)
@given(
    yaw=st.floats(-1.5, 1.5), x=st.floats(0.45, 0.65), y=st.floats(-0.15, 0.15), off=st.floats(-0.01, 0.01)
)
def test_a_misplaced_and_misturned_grasp_is_brought_onto_the_bar(
    yaw: float, x: float, y: float, off: float
) -> None:
    frame = render([Box((x, y), (0.022, 0.2, 0.03), yaw)])
    across = np.array([np.cos(yaw), np.sin(yaw)])
    point = (x + off * across[0], y + off * across[1], 0.03)
    refined = refine(frame, point, yaw + 0.6)
    assert refined is not None
    assert abs((refined.point[:2] - [x, y]) @ across) < 0.005
    assert refined.point[2] == pytest.approx(0.03, abs=0.003)
    assert angle_between(refined.closing_axis, yaw) < 20
    assert 0.022 < refined.opening <= SETTINGS.jaw_limit + 1e-9


def test_a_good_yaw_is_kept_exactly() -> None:
    frame = render([Box((0.55, 0.0), (0.022, 0.2, 0.03), 0.4)])
    refined = refine(frame, (0.55, 0.0, 0.03), 0.45)
    assert refined is not None
    np.testing.assert_allclose(refined.closing_axis, [np.cos(0.45), np.sin(0.45), 0.0], atol=1e-12)


def test_a_keypoint_beside_the_object_snaps_to_it() -> None:
    frame = render([Box((0.55, 0.0), (0.02, 0.2, 0.03))])
    refined = refine(frame, (0.575, 0.0, 0.0), 0.0)
    assert refined is not None
    assert refined.point[0] == pytest.approx(0.55, abs=0.005)
    assert refined.point[2] == pytest.approx(0.03, abs=0.003)


def test_a_keypoint_on_the_low_part_of_an_object_snaps_to_the_part_that_fits_the_jaws() -> None:
    """A fold standing up from a cloth, a handle beside a broad head: the height is that part's own."""
    cloth, fold = Box((0.55, 0.0), (0.2, 0.1, 0.008)), Box((0.55, 0.0), (0.02, 0.1, 0.04))
    for off in (-0.03, 0.02, 0.03):
        refined = refine(render([cloth, fold]), (0.55 + off, 0.01, 0.008), 0.1)
        assert refined is not None
        np.testing.assert_allclose(refined.point, [0.55, 0.01, 0.04], atol=0.006)


def test_a_grasp_moves_no_farther_along_the_object_than_it_must() -> None:
    frame = render([Box((0.55, 0.0), (0.02, 0.2, 0.03))])
    for y in (-0.06, 0.0, 0.06):
        refined = refine(frame, (0.565, y, 0.0), 0.2)
        assert refined is not None
        np.testing.assert_allclose(refined.point[:2], [0.55, y], atol=0.006)


@pytest.mark.parametrize(
    ("boxes", "why"),
    [
        ([], "empty table"),
        ([Box((0.55, 0.0), (0.2, 0.2, 0.03))], "wider than the jaws"),
        ([Box((0.55, 0.1), (0.02, 0.05, 0.03))], "too far"),
        ([Box((0.55, 0.0), (0.02, 0.2, 0.003))], "too flat"),
    ],
)
def test_when_nothing_fits_the_jaws_expect_none(boxes: list[Box], why: str) -> None:
    assert refine(render(boxes), (0.55, 0.0, 0.0), 0.0) is None, why


def test_when_a_neighbour_leaves_no_room_for_a_finger_expect_none() -> None:
    bars = [Box((0.55 + 0.032 * n, 0.0), (0.02, 0.2, 0.03)) for n in range(-2, 3)]
    frame = render(bars)
    assert refine(frame, (0.55, 0.0, 0.03), 0.0) is None


def test_opening_is_narrowed_to_the_room_beside_the_object() -> None:
    alone = refine(render([Box((0.55, 0.0), (0.02, 0.2, 0.03))]), (0.55, 0.0, 0.03), 0.0)
    crowd = [Box((0.55 + dx, 0.0), (0.02, 0.2, 0.03)) for dx in (0.0, 0.047)]
    crowded = refine(render(crowd), (0.55, 0.0, 0.03), 0.0)
    assert alone is not None
    assert crowded is not None
    assert crowded.opening < alone.opening <= SETTINGS.jaw_limit + 1e-9
    assert crowded.opening / 2 + SETTINGS.finger_thickness < 0.037 + 0.005


def test_what_lies_below_the_finger_tips_does_not_matter() -> None:
    bar, slab = Box((0.55, 0.0), (0.02, 0.2, 0.06)), Box((0.55, 0.0), (0.3, 0.3, 0.02))
    assert refine(render([bar, slab]), (0.55, 0.0, 0.06), 0.0) is not None


def test_when_depth_has_holes_expect_the_rest_to_do() -> None:
    frame = render([Box((0.55, 0.0), (0.022, 0.2, 0.03))])
    depth = frame.depth.copy()
    depth[np.random.default_rng(0).random(depth.shape) < 0.3] = np.nan
    refined = refine(replace(frame, depth=depth), (0.55, 0.0, 0.03), 0.2)
    assert refined is not None
    assert refined.point[0] == pytest.approx(0.55, abs=0.006)


def test_when_no_depth_at_all_expect_none() -> None:
    frame = render([Box((0.55, 0.0), (0.022, 0.2, 0.03))])
    blind = replace(frame, depth=np.full_like(frame.depth, np.nan))
    assert refine(blind, (0.55, 0.0, 0.03), 0.0) is None
