"""Repainting changes the look, keeps the parts, and touches nothing outside its region."""

import numpy as np
import pytest

from kalie.affordance.labels import LabelledImage
from kalie.synthesis.background import (
    BackgroundConfig,
    find_surfaces,
    remove_objects,
    retexture,
)
from kalie.synthesis.describe import COLOURS, colours_of, describe, gloss_of, pattern_of
from kalie.synthesis.distractors import DistractorConfig, random_distractors
from kalie.synthesis.edges import compose_edges, edge_agreement, soft_edges
from kalie.synthesis.light import LightConfig, Shadow, finish
from kalie.synthesis.repaint import ProceduralConfig, ProceduralRepainter, RepaintRequest, colour_regions
from kalie.synthesis.textures import PATTERNS, texture


def request_of(photo: LabelledImage, label: int, seed: int, look: str = "teal plastic") -> RepaintRequest:
    assert photo.masks is not None
    mask = photo.masks == label
    return RepaintRequest(photo.rgb, soft_edges(photo.rgb), mask, mask, look, seed)


def test_nothing_changes_outside_the_region(photos: list[LabelledImage]) -> None:
    request = request_of(photos[0], 1, seed=3)
    painted = ProceduralRepainter().repaint([request])[0]
    assert np.array_equal(painted[~request.region], request.image[~request.region])
    assert np.abs(painted[request.region].astype(int) - request.image[request.region]).mean() > 10


def test_repainting_depends_on_the_request_alone(photos: list[LabelledImage]) -> None:
    requests = [request_of(photos[0], 1, seed) for seed in (1, 2)]
    painter = ProceduralRepainter()
    together = painter.repaint(requests)
    alone = [painter.repaint([request])[0] for request in requests]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
    assert not np.array_equal(together[0], together[1])


def test_parts_keep_their_borders(photos: list[LabelledImage]) -> None:
    agreements = []
    for seed in range(12):
        request = request_of(photos[0], 1, seed, describe(np.random.default_rng(seed)))
        painted = ProceduralRepainter().repaint([request])[0]
        agreements.append(edge_agreement(request.edges, soft_edges(painted), request.mask))
    assert np.median(agreements) > 0.5


def test_named_colours_are_used(photos: list[LabelledImage]) -> None:
    config = ProceduralConfig(regions=(1, 1), keep=0, split=0, texture=0, free_colour=0, outline=0)
    for seed in range(4):
        request = request_of(photos[0], 2, seed, "blue rubber")
        painted = ProceduralRepainter(config).repaint([request])[0][request.mask].mean(axis=0)
        assert painted[2] > painted[0] + 40


def test_an_empty_mask_is_left_alone(photos: list[LabelledImage]) -> None:
    request = request_of(photos[0], 77, seed=0)
    assert np.array_equal(ProceduralRepainter().repaint([request])[0], request.image)


def test_colour_regions_find_handle_and_head(photos: list[LabelledImage]) -> None:
    photo = photos[0]
    assert photo.masks is not None
    mask = photo.masks == 1
    labels = colour_regions(photo.rgb, mask, 2, np.random.default_rng(0))
    red = mask & (photo.rgb[..., 0] > 120)
    black = mask & (photo.rgb[..., 0] < 80)
    assert len(np.unique(labels[red])) <= 2
    assert np.bincount(labels[red]).argmax() != np.bincount(labels[black]).argmax()
    assert (labels[red] == np.bincount(labels[red]).argmax()).mean() > 0.95


def test_one_flat_colour_is_no_trouble() -> None:
    pixels = np.full((20, 20, 3), 90, np.uint8)
    labels = colour_regions(pixels, np.ones((20, 20), np.bool_), 4, np.random.default_rng(0))
    assert labels.shape == (20, 20)


def test_objects_and_their_shadows_are_taken_from_the_background(photos: list[LabelledImage]) -> None:
    photo = photos[0]
    assert photo.masks is not None
    plate = remove_objects(photo.rgb, photo.masks, 0.9)
    assert np.abs(plate[60:].astype(int) - (150, 145, 135)).mean() < 4
    x, y = 90, 150
    assert np.abs(plate[y - 40 : y + 40, x - 40 : x + 60].astype(int) - (150, 145, 135)).max() < 30


def test_table_and_floor_are_told_apart(photos: list[LabelledImage]) -> None:
    photo = photos[0]
    assert photo.masks is not None
    surfaces = find_surfaces(remove_objects(photo.rgb, photo.masks, 0.9), 3)
    assert len(surfaces.weights) == 2
    assert np.allclose(surfaces.weights.sum(axis=0), 1, atol=1e-5)
    labels = surfaces.weights.argmax(axis=0)
    assert len(np.unique(labels[:40])) == len(np.unique(labels[60:])) == 1
    assert labels[10, 10] != labels[200, 200]


@pytest.mark.parametrize("seed", range(6))
def test_surfaces_are_retextured_in_place(photos: list[LabelledImage], seed: int) -> None:
    plate = np.full((64, 64, 3), 120, np.uint8)
    plate[:20] = 30
    image, words = retexture(plate, find_surfaces(plate, 3), BackgroundConfig(), np.random.default_rng(seed))
    assert image.shape == plate.shape
    assert len(words) == 2
    assert set(words) <= {*PATTERNS, "kept", "recoloured"}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("shape", [(3, 5), (40, 17), (64, 64)])
def test_every_texture_stays_in_range_and_is_reproducible(pattern: str, shape: tuple[int, int]) -> None:
    fields = [texture(pattern, np.random.default_rng(4), *shape, 6.0) for _ in range(2)]  # pyright: ignore[reportArgumentType]
    assert fields[0].shape == shape
    assert fields[0].min() >= -1e-6
    assert fields[0].max() <= 1 + 1e-6
    assert np.array_equal(fields[0], fields[1])


def test_word_list_looks_name_colours_that_can_be_painted() -> None:
    rng = np.random.default_rng(0)
    looks = {describe(rng) for _ in range(200)}
    assert len(looks) > 180
    assert all(colours_of(look) for look in looks)


def test_words_decide_colour_pattern_and_gloss() -> None:
    look = "Gray and teal checked metal"
    assert colours_of(look) == [COLOURS["grey"], COLOURS["teal"]]
    assert pattern_of(look) == "checked"
    assert gloss_of(look) == 0.9
    assert colours_of("something unheard of") == []
    assert pattern_of("something unheard of") == "plain"


def test_shadow_darkens_beside_the_object_on_the_far_side_of_the_light() -> None:
    alpha = np.zeros((60, 60), np.float32)
    alpha[20:30, 20:30] = 1
    factor = Shadow((10.0, 0.0), 1.5, 0.5).factor(alpha)
    assert factor[25, 36] < 0.6
    assert factor[25, 8] > 0.95
    assert factor.min() >= 0.5 - 1e-6


def test_finish_is_reproducible_and_keeps_the_scene_readable(photos: list[LabelledImage]) -> None:
    a, b = (finish(photos[0].rgb, LightConfig(), np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(a, b)
    clean = finish(
        photos[0].rgb,
        LightConfig(exposure=0, tint=0, gradient=0, blur=0, noise=0),
        np.random.default_rng(0),
    )
    assert np.array_equal(clean, photos[0].rgb)


def test_distractors_find_no_room_in_a_full_scene() -> None:
    config = DistractorConfig(share=1.0)
    taken = np.ones((64, 64), np.bool_)
    assert random_distractors(config, taken, [], np.random.default_rng(0)) == []


def test_distractors_do_not_touch_each_other() -> None:
    config = DistractorConfig(share=1.0, most=3, clearance=4.0)
    for seed in range(10):
        shapes = random_distractors(config, np.zeros((128, 128), np.bool_), [], np.random.default_rng(seed))
        assert np.sum([shape.cover > 0 for shape in shapes], axis=0).max() <= 1


def test_distractors_have_sides_darker_than_their_tops() -> None:
    shaded = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for shape in random_distractors(DistractorConfig(share=1.0), np.zeros((128, 128), np.bool_), [], rng):
            assert not shape.relief[shape.cover == 0].any()  # holes show no edges of what was cut out
            brightness = shape.relief[shape.cover > 0.9]
            shaded += int(brightness.max() > 1.05 * brightness.min())
    assert shaded > 20


def test_edges_are_soft_and_mark_steps_not_noise() -> None:
    rgb = np.full((40, 40, 3), 100, np.uint8)
    rgb[:, 20:] = 180
    noisy = np.clip(rgb + np.random.default_rng(0).normal(0, 2, rgb.shape), 0, 255).astype(np.uint8)
    edges = soft_edges(noisy)
    assert edges.dtype == np.float32
    assert edges[:, 18:22].max(axis=1).min() > 0.35
    assert edges[:, :14].max() < 0.2


def test_edge_agreement_counts_shared_edges_both_ways() -> None:
    edges = np.zeros((20, 20), np.float32)
    edges[10] = 1
    everywhere = np.ones((20, 20), np.bool_)
    assert edge_agreement(edges, edges, everywhere) == 1
    assert edge_agreement(edges, np.roll(edges, 2, axis=0), everywhere) == 1
    assert edge_agreement(edges, np.roll(edges, 5, axis=0), everywhere) == 0
    assert edge_agreement(edges, np.zeros_like(edges), everywhere) == 0
    assert edge_agreement(edges * 0, edges * 0, everywhere) == 1


def test_composed_edges_leave_the_old_place_and_take_the_new_one() -> None:
    scene = np.full((4, 4), 0.5, np.float32)
    cleared, covered = np.zeros((4, 4), np.bool_), np.zeros((4, 4), np.bool_)
    cleared[0], covered[1] = True, True
    out = compose_edges(scene, cleared, np.full((4, 4), 0.9, np.float32), covered)
    assert (out[0] == 0).all()
    assert (out[1] == np.float32(0.9)).all()
    assert (out[2:] == 0.5).all()
