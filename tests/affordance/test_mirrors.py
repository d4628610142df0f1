"""Answers over mirrors: every view is undone, and texts decide which views there are."""

import numpy as np
import pytest
import torch

from kalie.affordance.heatmap import HeatmapKeypointModel
from kalie.affordance.mirrors import FLIPS, average, average_axes, average_maps, views

torch.manual_seed(0)
IMAGES = torch.rand(2, 3, 16, 16)


def test_each_view_shows_its_image_mirrored_and_says_so() -> None:
    seen = views(IMAGES, ["go left", "turn clockwise"])
    assert seen.instructions == ("go left", "turn clockwise", "go right", "go left", "go right")
    assert seen.owners.tolist() == [0, 1, 0, 0, 0]
    torch.testing.assert_close(seen.images[2], IMAGES[0].flip(2))
    torch.testing.assert_close(seen.images[3], IMAGES[0].flip(1))
    torch.testing.assert_close(seen.images[4], IMAGES[0].flip(1, 2))


def test_maps_that_follow_the_mirror_average_to_themselves() -> None:
    seen = views(IMAGES, ["go left", "go"])
    torch.testing.assert_close(average_maps(seen.images, seen), IMAGES)


def test_an_axis_that_follows_the_mirror_averages_to_itself() -> None:
    seen = views(IMAGES[:1], ["go"])
    angle = torch.tensor(0.4)
    signs = torch.tensor([1.0 if across == down else -1.0 for across, down in FLIPS])
    twice = torch.stack([(2 * angle).cos().expand(4), signs * (2 * angle).sin()], dim=1)
    axes = twice[..., None, None].expand(-1, -1, 4, 4)
    expected = torch.stack([(2 * angle).cos(), (2 * angle).sin()])
    torch.testing.assert_close(average_axes(axes, seen)[0, :, 1, 2], expected)


def test_numbers_average_over_the_views_that_there_are() -> None:
    seen = views(IMAGES, ["go left", "turn clockwise"])
    numbers = torch.tensor([[1.0], [7.0], [2.0], [3.0], [6.0]])
    torch.testing.assert_close(average(numbers, seen), torch.tensor([[3.0], [7.0]]))


@pytest.mark.parametrize("across", [True, False])
def test_a_mirrored_photo_gets_the_mirrored_answer(across: bool) -> None:
    model = HeatmapKeypointModel.load()
    rgb = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    other = np.ascontiguousarray(rgb[:, ::-1] if across else rgb[::-1])
    here, there = model.predict([rgb, other], ["push the red ball", "push the red ball"])
    assert here.affordance is not None
    assert there.affordance is not None
    for name, point in here.affordance.keypoints():
        mirrored = getattr(there.affordance, name)
        wanted = (1 - point.x, point.y) if across else (point.x, 1 - point.y)
        assert (mirrored.x, mirrored.y) == pytest.approx(wanted, abs=0.02)
