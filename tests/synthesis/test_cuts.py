"""Cuts take what lies beside the motion's way, and never the target."""

from dataclasses import replace

import numpy as np
import pytest

from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance
from kalie.affordance.units import from_pixel
from kalie.synthesis.background import BackgroundConfig
from kalie.synthesis.binding import TASK_BINDINGS
from kalie.synthesis.cuts import CutConfig, cut
from kalie.synthesis.scene import Scene, analyse

ALWAYS = CutConfig(share=1.0)
# Half extents of the chest, px: across the way of the motion and along it.
ACROSS, ALONG = 48, 30


def chest(place: float, instruction: str) -> LabelledImage:
    """A turned chest of three drawers; the target is `place` (-1, 0 or 1) drawers off the middle."""
    y, x = np.mgrid[:256, :256]
    angle = np.radians(20)
    out, side = np.array([-np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), np.sin(angle)])
    middle = np.array([128.0, 120.0])
    u = (x - middle[0]) * side[0] + (y - middle[1]) * side[1]
    v = (x - middle[0]) * out[0] + (y - middle[1]) * out[1]
    inside = (np.abs(u) < ACROSS) & (np.abs(v) < ALONG)
    rgb = np.full((256, 256, 3), 150, np.uint8)
    rgb[inside] = (120, 60, 30)
    rgb[inside & (v > 0)] = (200, 170, 60)
    target = middle + place * 2 * ACROSS / 3 * side + (ALONG - 6) * out
    points = {"target": target, "pre_contact": target + 25 * out, "post_contact": target - 15 * out}
    keypoints = {name: from_pixel(point, 256, 256) for name, point in points.items()}
    affordance = replace(Affordance(), **keypoints)
    masks = inside.astype(np.uint8)
    return LabelledImage("chest", rgb, instruction, affordance, Provenance("photo", "chest"), masks=masks)


def scene(place: float, instruction: str = "close the left drawer") -> Scene:
    return analyse(chest(place, instruction), BackgroundConfig(), TASK_BINDINGS["drawer"])


def extents(mask: np.ndarray) -> np.ndarray:
    """Across the way and along it, px."""
    angle = np.radians(20)
    ys, xs = np.nonzero(mask)
    turned = np.stack([xs, ys], 1) @ np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    return np.ptp(turned, axis=0)


@pytest.mark.parametrize("place", [-1.0, 1.0])
def test_cuts_narrow_the_chest_and_keep_its_depth_and_the_target(place: float) -> None:
    whole, narrowed = scene(place), 0
    for seed in range(20):
        rest = cut(whole, ALWAYS, np.random.default_rng(seed))
        wide, deep = extents(rest.groups[0])
        assert deep == pytest.approx(2 * ALONG, abs=3)
        assert wide >= (1 / 6 + ALWAYS.margin) * 2 * ACROSS - 3
        assert not (rest.groups[0] & ~whole.groups[0]).any()
        assert (rest.instances[0].mask == rest.groups[0]).all()
        assert not rest.instances[0].edges[~rest.groups[0] & whole.groups[0]].any()
        narrowed += int(wide < 2 * ACROSS - 5)
    assert 5 <= narrowed < 20  # the other draws would cut the side on which there is no room


def test_the_drawer_in_the_middle_keeps_its_neighbours() -> None:
    for text in ("close the middle drawer", "shut the drawer in the centre"):
        whole = scene(0.0, text)
        for seed in range(10):
            assert cut(whole, ALWAYS, np.random.default_rng(seed)) is whole


def test_without_a_share_nothing_is_cut_and_nothing_drawn() -> None:
    rng = np.random.default_rng(0)
    whole = scene(-1.0)
    assert cut(whole, CutConfig(), rng) is whole
    assert rng.random() == np.random.default_rng(0).random()


def test_a_scene_without_a_way_stays_whole() -> None:
    image = chest(-1.0, "close the left drawer")
    lone = replace(image, affordance=replace(image.affordance, pre_contact=None, post_contact=None))
    whole = analyse(lone, BackgroundConfig(), TASK_BINDINGS["drawer"])
    assert cut(whole, ALWAYS, np.random.default_rng(1)) is whole


def test_when_share_is_no_share_expect_error() -> None:
    with pytest.raises(ValueError, match=r"share=1\.5"):
        CutConfig(share=1.5)
