"""The tabletop segmenter finds thin things, ignores noise and whatever is not on the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kalie.perception.frame import BoolArray, RgbdFrame
from kalie.perception.segmentation import (
    BoxPrompt,
    InstanceMask,
    PointPrompt,
    Segmentation,
    SegmentationError,
    TabletopConfig,
    TabletopSegmenter,
    TextPrompt,
)

Render = Callable[..., tuple[RgbdFrame, list[BoolArray]]]
TOWEL = ((0.4, -0.1, 0.0), (0.6, 0.1, 0.003))
BRISTLES = ((0.42, 0.2, 0.0), (0.62, 0.21, 0.01))
CUBE = ((0.6, -0.3, 0.0), (0.7, -0.2, 0.1))
CRUMB = ((0.45, -0.25, 0.0), (0.47, -0.23, 0.02))


def iou(a: BoolArray, b: BoolArray) -> float:
    return float((a & b).sum() / (a | b).sum())


def found(frame: RgbdFrame, config: TabletopConfig | None = None) -> list[BoolArray]:
    return [instance.mask for instance in TabletopSegmenter(config).segment(frame).instances]


def best_iou(truth: BoolArray, masks: list[BoolArray]) -> float:
    return max((iou(truth, mask) for mask in masks), default=0.0)


@pytest.mark.parametrize("tilt", [0.0, 0.15, 0.3])
def test_every_object_is_found_down_to_a_cloth_of_three_millimetres(render: Render, tilt: float) -> None:
    frame, truth = render([TOWEL, BRISTLES, CUBE, CRUMB], tilt=tilt)
    masks = found(frame)
    assert len(masks) == 4
    assert min(best_iou(mask, masks) for mask in truth) > 0.95


@pytest.mark.parametrize("noise", [0.0002, 0.0005, 0.0008])
def test_objects_are_found_and_noise_is_not(render: Render, noise: float) -> None:
    frame, truth = render([TOWEL, BRISTLES, CUBE, CRUMB], noise=noise)
    masks = found(frame)
    assert len(masks) == 4
    assert min(best_iou(mask, masks) for mask in truth) > 0.85


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.003])
def test_an_empty_table_has_no_objects(render: Render, noise: float) -> None:
    for seed in range(3):
        assert found(render([], noise=noise, seed=seed)[0]) == []


def test_the_plane_is_recovered(render: Render) -> None:
    frame, _ = render([TOWEL, CUBE], table=((0.2, -0.45, -0.05), (0.9, 0.45, 0.0)), noise=0.0005)
    plane = TabletopSegmenter().segment(frame).plane
    assert plane is not None
    assert plane.normal == pytest.approx((0.0, 0.0, 1.0), abs=2e-3)
    assert plane.height(np.array([0.5, 0.0, 0.1])) == pytest.approx(0.1, abs=5e-4)


def test_the_plane_may_be_higher_than_the_base(render: Render) -> None:
    lift = np.array([0.0, 0.0, 0.04])
    cube = tuple(map(tuple, np.array(CUBE) + lift))
    frame, truth = render([cube], table=((0.2, -0.45, -0.03), (0.9, 0.45, 0.04)))
    masks = found(frame)
    assert len(masks) == 1
    assert iou(masks[0], truth[0]) > 0.95


def test_when_an_object_has_holes_in_depth_expect_it_whole(render: Render) -> None:
    frame, truth = render([TOWEL, CUBE])
    depth = frame.depth.copy()
    rows, columns = np.nonzero(truth[0])
    depth[int(np.median(rows)) - 8 : int(np.median(rows)) + 8, int(np.median(columns)) - 8 :][:, :16] = np.nan
    depth[np.random.default_rng(0).random(depth.shape) < 0.05] = 0.0
    segmentation = TabletopSegmenter().segment(replace(frame, depth=depth))
    masks = [instance.mask for instance in segmentation.instances]
    assert len(masks) == 2
    assert best_iou(truth[0], masks) > 0.95
    towel = max(segmentation.instances, key=lambda instance: iou(instance.mask, truth[0]))
    assert towel.score < 0.95


def test_when_pixels_spike_expect_no_objects_from_them(render: Render) -> None:
    frame, _ = render([])
    depth = frame.depth.copy()
    depth[np.random.default_rng(1).random(depth.shape) < 0.01] -= 0.1
    assert found(replace(frame, depth=depth)) == []


def test_when_things_stand_on_the_floor_expect_them_left_out(render: Render) -> None:
    small_table = ((0.4, -0.2, -0.03), (0.7, 0.2, 0.0))
    pillar = ((0.45, 0.26, -0.7), (0.5, 0.32, 0.05))
    frame, truth = render([((0.5, 0.0, 0.0), (0.53, 0.03, 0.03)), pillar], table=small_table)
    assert truth[1].sum() > 100
    masks = found(frame)
    assert len(masks) == 1
    assert iou(masks[0], truth[0]) > 0.9


def test_when_the_arm_is_in_view_expect_it_excluded(render: Render) -> None:
    arm = ((0.2, -0.05, 0.1), (0.35, 0.05, 0.3))
    frame, truth = render([CUBE, arm])
    assert len(found(frame)) == 2
    box = ((0.1, -0.1, 0.05), (0.36, 0.1, 0.5))
    masks = found(frame, TabletopConfig(excluded=(box,)))
    assert len(masks) == 1
    assert iou(masks[0], truth[0]) > 0.95


def test_what_overlaps_in_the_image_but_not_in_height_is_split(render: Render) -> None:
    rail = ((0.5, -0.3, 0.25), (0.52, 0.3, 0.27))
    frame, truth = render([TOWEL, rail])
    masks = found(frame)
    assert best_iou(truth[1], masks) > 0.95
    assert not any((mask & truth[0]).any() and (mask & truth[1]).any() for mask in masks)


def test_ids_go_from_the_largest_object_down(render: Render) -> None:
    frame, truth = render([CRUMB, CUBE, TOWEL])
    segmentation = TabletopSegmenter().segment(frame)
    ids = segmentation.instance_map()
    assert ids.dtype == np.uint8
    assert ids.shape == (256, 256)
    areas = np.bincount(ids.ravel())[1:]
    assert list(areas) == sorted(areas, reverse=True)
    assert iou(ids == 1, truth[2]) > 0.95


def test_segmentation_is_deterministic(render: Render) -> None:
    frame, _ = render([TOWEL, CUBE], noise=0.0005)
    first, second = TabletopSegmenter().segment(frame), TabletopSegmenter().segment(frame)
    assert np.array_equal(first.instance_map(), second.instance_map())
    assert first.plane == second.plane


def test_box_and_point_prompts_pick_their_object(render: Render) -> None:
    frame, truth = render([TOWEL, CUBE])
    rows, columns = np.nonzero(truth[1])
    point = PointPrompt(float(np.median(columns)), float(np.median(rows)))
    towel_rows, towel_columns = np.nonzero(truth[0])
    box = BoxPrompt(
        *map(float, (towel_columns.min(), towel_rows.min(), towel_columns.max(), towel_rows.max()))
    )
    instances = TabletopSegmenter().segment(frame, [point, box]).instances
    assert [instance.prompt for instance in instances] == [point, box]
    assert iou(instances[0].mask, truth[1]) > 0.95
    assert iou(instances[1].mask, truth[0]) > 0.95


def test_when_nothing_is_under_a_prompt_expect_no_instance(render: Render) -> None:
    frame, _ = render([CUBE])
    assert TabletopSegmenter().segment(frame, [PointPrompt(128.0, 250.0)]).instances == ()
    assert TabletopSegmenter().segment(render([])[0], [PointPrompt(128.0, 128.0)]).instances == ()


def test_when_the_prompt_is_text_expect_an_error_that_names_it(render: Render) -> None:
    with pytest.raises(SegmentationError, match=r"'brush'.*cannot read text"):
        TabletopSegmenter().segment(render([CUBE])[0], [TextPrompt("brush")])


@pytest.mark.parametrize("depth", [np.nan, 0.0, 2.9])
def test_when_no_table_is_in_view_expect_an_error(render: Render, depth: float) -> None:
    frame, _ = render([])
    with pytest.raises(SegmentationError, match="no support plane"):
        TabletopSegmenter().segment(replace(frame, depth=np.full((256, 256), depth, np.float32)))


def test_the_instance_map_puts_smaller_masks_on_top() -> None:
    large, small = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    large[:3], small[1, 1] = True, True
    ids = Segmentation((InstanceMask(small, 1.0), InstanceMask(large, 1.0)), 4, 4).instance_map()
    assert ids[1, 1] == 1
    assert (ids[:3] == 2).sum() == 11
    assert (ids[3] == 0).all()


def test_when_there_are_more_objects_than_ids_expect_an_error() -> None:
    one = InstanceMask(np.ones((2, 2), bool), 1.0)
    with pytest.raises(SegmentationError, match="255"):
        Segmentation((one,) * 256, 2, 2).instance_map()
