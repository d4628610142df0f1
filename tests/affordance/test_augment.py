from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kalie.affordance.augment import AugmentConfig, apply_homography, augment, warp
from kalie.affordance.directions import (
    QUARTERS,
    mirrored,
    names_colour,
    names_direction,
    reworded,
    turned,
)
from kalie.affordance.encoding import Batch, axis_angle, encode, half_turn, turn_axis
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance, Keypoint

from .pictures import dots

STILL = AugmentConfig(
    rotation=0, rotation_with_directions=0, scale=0, stretch=0, shift=0, perspective=0, mirror=0, quarter=0,
    exposure=0, brightness=0, contrast=0, saturation=0, hue=0, hue_with_colours=0, light=0, noise=0,
    blur=0, occluders=0, shadows=0,
)  # fmt: skip
MOVING = replace(
    STILL, rotation=180, scale=0.2, stretch=0.2, shift=0.1, perspective=0.2, mirror=0.5, quarter=0.5
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(points: list[tuple[float, float]], text: str = "sweep", yaw: float | None = None) -> Batch:
    names = ("grasp", "function", "target", "pre_contact", "post_contact")
    named = {name: Keypoint(*point) for name, point in zip(names, points, strict=False)}
    affordance = replace(Affordance(grasp_yaw=yaw), **named)
    image = LabelledImage("a", dots(points), text, affordance, Provenance("photo", "a"))
    return encode([image], 128)


def brightest(image: torch.Tensor) -> np.ndarray:
    """Centre of mass of the brightness, in fractions of the image."""
    weights = image.mean(dim=0)
    axis = (torch.arange(len(weights)) + 0.5) / len(weights)
    total = weights.sum()
    return np.array([float((weights * axis).sum() / total), float((weights * axis[:, None]).sum() / total)])


@settings(max_examples=40, deadline=None)
@given(x=st.floats(0.3, 0.7), y=st.floats(0.3, 0.7), seed=st.integers(0, 10_000))
def test_every_geometric_change_moves_pixels_and_label_alike(x: float, y: float, seed: int) -> None:
    varied = augment(batch_of([(x, y)]), 128, MOVING, generator(seed))
    point = varied.points[0, 0].numpy()
    if varied.in_view[0, 0] and (point > 0.1).all() and (point < 0.9).all():
        assert np.abs(brightest(varied.images[0]) - point).max() * 128 < 0.5


@pytest.mark.parametrize(
    "change", ["rotation", "scale", "stretch", "shift", "perspective", "mirror", "quarter"]
)
def test_each_single_change_moves_pixels_and_label_alike(change: str) -> None:
    config = replace(STILL, **{change: {"rotation": 90.0, "mirror": 1.0, "quarter": 1.0}.get(change, 0.15)})
    for seed in range(8):
        before = batch_of([(0.42, 0.61)])
        after = augment(before, 128, config, generator(seed))
        assert np.abs(brightest(after.images[0]) - after.points[0, 0].numpy()).max() * 128 < 0.5
        assert not torch.equal(after.points, before.points)


@settings(max_examples=40, deadline=None)
@given(angle=st.floats(-1.5, 1.5), seed=st.integers(0, 10_000))
def test_closing_axis_stays_across_its_part(angle: float, seed: int) -> None:
    """Two dots along a part: the axis is normal to them before, and to the moved dots after."""
    half = 0.08 * np.array([math.cos(angle), math.sin(angle)])
    ends = [tuple(np.array([0.5, 0.5]) - half), tuple(np.array([0.5, 0.5]) + half)]
    yaw = min(float(half_turn(torch.tensor(angle + math.pi / 2))), math.pi / 2)
    flat = replace(MOVING, perspective=0.0)
    varied = augment(batch_of(ends, yaw=yaw), 128, flat, generator(seed))
    if not varied.in_view[0, :2].all():
        return
    dx, dy = (varied.points[0, 1] - varied.points[0, 0]).tolist()
    axis = float(axis_angle(varied.values)[0])
    assert abs(dx * math.cos(axis) + dy * math.sin(axis)) < 1e-3 * math.hypot(dx, dy)


def test_homography_derivative_matches_finite_differences() -> None:
    matrix = torch.tensor([[[1.1, 0.2, 0.1], [-0.3, 0.9, 0.0], [0.1, -0.2, 1.0]]], dtype=torch.float64)
    point = torch.tensor([[[0.3, -0.4]]], dtype=torch.float64)
    moved, jacobian = apply_homography(matrix, point)
    for axis in range(2):
        step = torch.zeros(1, 1, 2, dtype=torch.float64)
        step[..., axis] = 1e-6
        slope = (apply_homography(matrix, point + step)[0] - moved) / 1e-6
        torch.testing.assert_close(slope[0, 0], jacobian[0, 0, :, axis], atol=1e-5, rtol=0)


def test_when_a_point_leaves_the_image_expect_it_absent_from_the_loss_and_not_clamped() -> None:
    shift = torch.eye(3)[None].clone()
    shift[0, 0, 2] = 1.0  # half an image to the right
    moved = warp(batch_of([(0.8, 0.5), (0.2, 0.5)]), shift, 128)
    assert moved.in_view[0].tolist() == [False, True, False, False, False]
    assert moved.points[0, 0].tolist() == [0.0, 0.0]
    assert moved.presence[0, 0] == 1  # the affordance still has the point
    torch.testing.assert_close(moved.points[0, 1], torch.tensor([0.7, 0.5]))


def test_nothing_changes_when_nothing_may() -> None:
    batch = batch_of([(0.3, 0.4)], yaw=0.3)
    still = augment(batch, 128, STILL, generator())
    torch.testing.assert_close(still.images, batch.images.float(), atol=0.02, rtol=0)
    torch.testing.assert_close(still.points, batch.points)
    torch.testing.assert_close(still.values, batch.values)


def test_the_same_generator_gives_the_same_images() -> None:
    batch = batch_of([(0.3, 0.4)])
    first, second = (augment(batch, 96, AugmentConfig(), generator(5)) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.points, second.points)


def test_mirrored_images_swap_their_direction_words() -> None:
    always = replace(STILL, mirror=1.0)
    varied = augment(batch_of([(0.2, 0.3)], "Left of the far edge"), 128, always, generator())
    assert varied.instructions == ("Right of the near edge",)
    torch.testing.assert_close(varied.points[0, 0], torch.tensor([0.8, 0.7]))


def test_images_turned_by_a_quarter_turn_their_direction_words() -> None:
    always = replace(STILL, quarter=1.0)
    varied = augment(batch_of([(0.2, 0.3)], "Left of the upper edge"), 128, always, generator())
    assert varied.instructions in {(f"{up.capitalize()} of the right edge",) for up, _ in QUARTERS}
    torch.testing.assert_close(varied.points[0, 0], torch.tensor([0.7, 0.2]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sweep it off the left side", "sweep it off the far side"),
        ("sweep it off the right edge", "sweep it off the near edge"),
        ("push the top drawer", "push the right drawer"),
        ("pull the lower plug", "pull the left plug"),
        ("take the left-hand one", None),
        ("the leftmost one", None),
        ("hang the towel on the bar", "hang the towel on the bar"),
    ],
)
def test_texts_of_turned_images(text: str, expected: str | None) -> None:
    assert turned(text, "far", "near") == expected


@given(share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_rewording_keeps_what_tells_things_apart(share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    text = reworded("shut the left-hand red drawer", share, ("cup", "right", "green", "##ing"), rng)
    words = set(re.findall("[a-z]+", text))
    assert {"left", "hand", "red"} <= words
    assert words <= {"shut", "the", "left", "hand", "red", "drawer", "cup"}


def test_rewording_without_a_share_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    assert reworded("pour it in the bowl", 0.0, ("cup",), rng) == "pour it in the bowl"
    assert set(reworded("pour it in the bowl", 1.0, ("cup",), rng).split()) <= {"cup"}


@pytest.mark.parametrize(
    ("text", "across", "down", "expected"),
    [
        ("sweep it left", True, False, "sweep it right"),
        ("sweep it left", False, True, "sweep it left"),
        ("the top drawer, then the rightmost", True, True, "the bottom drawer, then the leftmost"),
        ("turn it clockwise", True, False, None),
        ("turn it clockwise", False, False, "turn it clockwise"),
        ("push it to the back", False, True, None),
        ("push it to the back", True, False, "push it to the back"),
        ("bright copyright", True, True, "bright copyright"),
    ],
)
def test_texts_of_mirrored_images(text: str, across: bool, down: bool, expected: str | None) -> None:
    assert mirrored(text, across, down) == expected


@given(text=st.text(max_size=60), across=st.booleans(), down=st.booleans())
def test_mirroring_a_text_twice_gives_it_back(text: str, across: bool, down: bool) -> None:
    once = mirrored(text.lower(), across, down)
    if once is not None:
        assert mirrored(once, across, down) == text.lower()


def test_a_text_with_directions_is_turned_less() -> None:
    assert names_direction("the LEFT one")
    assert not names_direction("close the drawer")
    config = replace(STILL, rotation=90, rotation_with_directions=1.0)
    moved = augment(batch_of([(0.2, 0.5)], "the left one"), 128, config, generator())
    assert float((moved.points[0, 0] - torch.tensor([0.2, 0.5])).norm()) < 0.3 * math.radians(1.01)


def test_a_text_with_colours_keeps_its_colours() -> None:
    assert names_colour("the Red one")
    assert not names_colour("the one")
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    config = replace(STILL, hue=120, hue_with_colours=1.0)
    turned = {}
    for text in ("the red one", "the one"):
        image = LabelledImage("a", red, text, Affordance(), Provenance("photo", "a"))
        changed = augment(encode([image], 64), 64, config, generator(3)).images[0].mean(dim=(1, 2))
        turned[text] = float((changed - torch.tensor([200.0, 0.0, 0.0])).abs().max())
    assert turned["the red one"] < 10 < turned["the one"]


def test_occluders_hide_no_keypoint() -> None:
    config = replace(STILL, occluders=4, clearance=0.06)
    batch = batch_of([(0.3, 0.4), (0.7, 0.6)])
    changed = 0
    for seed in range(20):
        images = augment(batch, 128, config, generator(seed)).images[0]
        different = (images - batch.images[0].float()).abs().amax(dim=0) > 1
        changed += int(different.any())
        for x, y in ((0.3, 0.4), (0.7, 0.6)):
            u, v = round(x * 128 - 0.5), round(y * 128 - 0.5)
            assert not different[v - 6 : v + 7, u - 6 : u + 7].any()
    assert changed > 10


def test_shadows_darken_some_pixels_and_leave_labels() -> None:
    config = replace(STILL, shadows=3, darkness=0.6)
    batch = batch_of([(0.3, 0.4), (0.7, 0.6)])
    darkened = 0
    for seed in range(20):
        varied = augment(batch, 128, config, generator(seed))
        plain = augment(batch, 128, STILL, generator(seed)).images
        ratio = (varied.images / plain)[plain > 0]
        assert float(ratio.max()) <= 1 + 1e-5
        assert float(ratio.min()) >= 0.4**3 - 1e-5
        darkened += int(float(ratio.min()) < 0.9)
        torch.testing.assert_close(varied.points, batch.points)
    assert darkened > 10


@pytest.mark.parametrize(
    "change", ["exposure", "brightness", "contrast", "saturation", "hue", "light", "noise"]
)
def test_each_change_of_colour_leaves_the_labels(change: str) -> None:
    image = LabelledImage(
        "a", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8), "go", Affordance(),
        Provenance("photo", "a"),
    )  # fmt: skip
    batch = encode([image], 64)
    config = replace(STILL, **{change: 60.0 if change == "hue" else 0.4})
    varied = augment(batch, 64, config, generator(1))
    assert float((varied.images - batch.images.float()).abs().mean()) > 0.5
    assert torch.equal(varied.points, batch.points)
    assert 0 <= float(varied.images.min()) <= float(varied.images.max()) <= 255


@given(angle=st.floats(-1.57, 1.57), turn=st.floats(-3.1, 3.1))
def test_rotation_turns_the_closing_axis_by_its_angle(angle: float, turn: float) -> None:
    cos, sin = math.cos(turn), math.sin(turn)
    turned = turn_axis(torch.tensor(angle), torch.tensor([[cos, -sin], [sin, cos]]))
    expected = half_turn(torch.tensor(angle + turn))
    assert abs(math.sin(float(turned - expected))) < 1e-4
    assert -math.pi / 2 - 1e-5 <= float(turned) <= math.pi / 2 + 1e-5
