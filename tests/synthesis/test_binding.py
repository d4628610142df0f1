"""Every keypoint follows one object and moves exactly once."""

import math
from dataclasses import replace

import numpy as np
import pytest

from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance, InvalidKeypoints, Keypoint
from kalie.affordance.units import from_pixel, to_pixel
from kalie.synthesis.binding import (
    TASK_BINDINGS,
    KeypointBinding,
    SynthesisError,
    anchors,
    move_affordance,
    tool_group,
    touching_groups,
)
from kalie.synthesis.transform import Transform

SIZE = 100
POINTS = {
    "grasp": (15.0, 20.0),
    "function": (32.0, 20.0),
    "target": (70.0, 60.0),
    "pre_contact": (60.0, 80.0),
    "post_contact": (85.0, 40.0),
}


def group_map() -> np.ndarray:
    groups = np.zeros((SIZE, SIZE), np.uint8)
    groups[15:26, 10:36] = 1
    groups[55:66, 65:76] = 2
    return groups


def photo(**points: tuple[float, float]) -> LabelledImage:
    chosen = {name: from_pixel(np.array(p), SIZE, SIZE) for name, p in (points or POINTS).items()}
    return LabelledImage(
        "shot",
        np.zeros((SIZE, SIZE, 3), np.uint8),
        "sweep",
        Affordance(**chosen),  # pyright: ignore[reportArgumentType]
        Provenance("photo", "shot"),
        group_map(),
    )


def shifted(dx: float, dy: float, angle: float = 0.0) -> Transform:
    c, s = math.cos(angle), math.sin(angle)
    pivot = np.array([70.0, 60.0])
    return Transform(np.array([[c, -s], [s, c]]), np.array([dx, dy]), pivot)


def moved(image: LabelledImage, binding: KeypointBinding, *transforms: Transform) -> dict[str, np.ndarray]:
    found = anchors(image, group_map(), binding)
    after = move_affordance(image.affordance, found, transforms, (SIZE, SIZE))
    return {name: to_pixel(point, SIZE, SIZE) for name, point in after.keypoints()}


def test_each_point_moves_once_with_its_own_object() -> None:
    # The first object lands where the second one was: a test against the old masks would move it twice.
    after = moved(photo(), KeypointBinding(), shifted(50, 40), shifted(-5, 3))
    assert after["grasp"] == pytest.approx([65, 60])
    assert after["function"] == pytest.approx([82, 60])
    assert after["target"] == pytest.approx([65, 63])


def test_free_points_keep_their_offset_from_the_target() -> None:
    after = moved(photo(), KeypointBinding(), Transform.identity(), shifted(4, -6, angle=0.3))
    for name in ("pre_contact", "post_contact"):
        offset = np.subtract(POINTS[name], POINTS["target"])
        assert after[name] - after["target"] == pytest.approx(offset)


def test_free_points_turn_with_the_object_that_is_grasped_and_aimed_at() -> None:
    points = {**POINTS, "grasp": POINTS["target"], "function": POINTS["target"]}
    after = moved(photo(**points), KeypointBinding(), Transform.identity(), shifted(2, 2, angle=0.25))
    before = np.subtract(POINTS["post_contact"], POINTS["target"])
    offset = after["post_contact"] - after["target"]
    turn = math.atan2(offset[1], offset[0]) - math.atan2(before[1], before[0])
    assert turn == pytest.approx(0.25)
    assert np.linalg.norm(offset) == pytest.approx(np.linalg.norm(before))


def test_a_free_point_on_the_followed_object_moves_like_any_spot_of_it() -> None:
    points = {**POINTS, "grasp": POINTS["target"], "function": POINTS["target"], "post_contact": (74.0, 64.0)}
    h = Transform(np.diag([1.2, 0.8]), np.zeros(2), np.array([70.0, 60.0]))
    after = moved(photo(**points), KeypointBinding(), Transform.identity(), h)
    assert after["post_contact"] == pytest.approx(h.points(np.array([74.0, 64.0]))[0])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("scene", (85, 40)), ("target", (95, 45)), ("function", (82, 47))],
)
def test_binding_rule_decides_what_a_free_point_follows(rule: str, expected: tuple[float, float]) -> None:
    binding = KeypointBinding(post_contact=rule)  # pyright: ignore[reportArgumentType]
    after = moved(photo(), binding, shifted(-3, 7), shifted(10, 5))
    assert after["post_contact"] == pytest.approx(expected)


def test_a_point_tied_to_an_edge_slides_along_it() -> None:
    # The stroke runs right; the target moves right and down, the end of the stroke only down.
    points = {**POINTS, "post_contact": (95.0, 60.0)}
    binding = KeypointBinding(post_contact="target_edge")
    after = moved(photo(**points), binding, Transform.identity(), shifted(6, 9))
    assert after["post_contact"] == pytest.approx([95, 69])


def test_a_point_on_the_way_from_grasp_to_target_stays_on_it() -> None:
    grasp, target = np.array(POINTS["grasp"]), np.array(POINTS["target"])
    before = target - 20 * (target - grasp) / np.linalg.norm(target - grasp)
    points = {**POINTS, "pre_contact": (float(before[0]), float(before[1]))}
    binding = KeypointBinding(pre_contact="target_line")
    after = moved(photo(**points), binding, shifted(8, -5), shifted(-6, 11))
    way = after["target"] - after["grasp"]
    expected = after["target"] - 20 * way / np.linalg.norm(way)
    assert after["pre_contact"] == pytest.approx(expected)


def test_points_on_both_sides_of_the_target_trade_places_with_the_side_of_the_grasp() -> None:
    points = {**POINTS, "pre_contact": (61.0, 56.0), "post_contact": (79.0, 64.0)}
    binding = KeypointBinding(pre_contact="target_side", post_contact="target_side")
    stay = moved(photo(**points), binding, Transform.identity(), Transform.identity())
    assert stay["pre_contact"] == pytest.approx(points["pre_contact"])
    after = moved(photo(**points), binding, shifted(60, 60), Transform.identity())
    assert after["pre_contact"] == pytest.approx(points["post_contact"])
    assert after["post_contact"] == pytest.approx(points["pre_contact"])


def test_a_free_target_may_turn_with_the_pulled_object() -> None:
    points = {"grasp": (15.0, 20.0), "function": (15.0, 20.0), "target": (60.0, 20.0)}
    turn = Transform(np.array([[0.0, -1.0], [1.0, 0.0]]), np.zeros(2), np.array([15.0, 20.0]))
    after = moved(photo(**points), TASK_BINDINGS["unplug"], turn, Transform.identity())
    assert after["target"] == pytest.approx([15, 65])


def test_when_the_target_is_told_to_follow_itself_expect_error() -> None:
    with pytest.raises(ValueError, match="target=target_frame"):
        KeypointBinding(target="target_frame")


def test_a_click_just_beside_its_object_still_belongs_to_it() -> None:
    after = moved(photo(**{**POINTS, "grasp": (15.0, 29.0)}), KeypointBinding(), shifted(5, 5), shifted(0, 0))
    assert after["grasp"] == pytest.approx([20, 34])


def test_yaw_follows_the_grasped_object_only() -> None:
    image = photo()
    image = replace(image, affordance=replace(image.affordance, grasp_yaw=0.1))
    found = anchors(image, group_map(), KeypointBinding())
    turned, still = shifted(0, 0, angle=0.2), Transform.identity()
    assert move_affordance(image.affordance, found, (turned, still), (SIZE, SIZE)).grasp_yaw == pytest.approx(
        0.3
    )
    assert move_affordance(image.affordance, found, (still, turned), (SIZE, SIZE)).grasp_yaw == pytest.approx(
        0.1
    )


@pytest.mark.parametrize("name", ["grasp", "function", "target"])
def test_when_a_point_lies_on_no_object_expect_error_naming_image_and_point(name: str) -> None:
    with pytest.raises(SynthesisError, match=rf"'shot'.*{name}"):
        anchors(photo(**{**POINTS, name: (5.0, 90.0)}), group_map(), KeypointBinding())


def test_a_free_target_may_be_meant() -> None:
    image = photo(**{**POINTS, "target": (5.0, 90.0)})
    found = anchors(image, group_map(), KeypointBinding(target="scene"))
    assert found["target"].group is None
    assert found["post_contact"].group is None


def test_when_a_point_leaves_the_image_expect_its_name() -> None:
    found = anchors(photo(), group_map(), KeypointBinding())
    with pytest.raises(InvalidKeypoints, match="target"):
        move_affordance(photo().affordance, found, (Transform.identity(), shifted(40, 0)), (SIZE, SIZE))


def test_only_a_grasped_object_on_which_nothing_depends_is_a_loose_tool() -> None:
    brush = anchors(photo(), group_map(), KeypointBinding())
    assert tool_group(brush) == 0
    assert tool_group(anchors(photo(), group_map(), KeypointBinding(pre_contact="function"))) is None
    stick = photo(**{**POINTS, "grasp": POINTS["target"]})
    assert tool_group(anchors(stick, group_map(), KeypointBinding())) is None
    assert tool_group(anchors(photo(target=POINTS["target"]), group_map(), KeypointBinding())) is None


def test_touching_instances_move_together() -> None:
    masks = np.zeros((40, 40), np.uint8)
    masks[5:15, 5:15], masks[5:15, 16:25], masks[30:35, 30:35] = 3, 1, 2
    assert touching_groups(masks) == [(1, 3), (2,)]


def test_scalars_and_absent_points_stay() -> None:
    image = photo(grasp=POINTS["grasp"])
    image = replace(image, affordance=replace(image.affordance, gripper_width=0.06))
    found = anchors(image, group_map(), KeypointBinding())
    after = move_affordance(image.affordance, found, (shifted(1, 1), shifted(0, 0)), (SIZE, SIZE))
    assert after.gripper_width == 0.06
    assert after.target is None
    assert after.grasp == Keypoint(0.165, 0.215)
