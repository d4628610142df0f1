"""One synthetic image: label and pixels agree, every object sees the others where they are now."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kalie.affordance.labels import LabelledImage
from kalie.affordance.units import to_pixel
from kalie.synthesis.background import BackgroundConfig
from kalie.synthesis.binding import KeypointBinding, SynthesisError
from kalie.synthesis.checks import CheckConfig, Rejected
from kalie.synthesis.compose import ComposeConfig, compose
from kalie.synthesis.distractors import DistractorConfig
from kalie.synthesis.repaint import ProceduralRepainter, RepaintRequest
from kalie.synthesis.scene import Scene, analyse
from kalie.synthesis.transform import Transform, TransformConfig

STRONG = TransformConfig(elastic=0.4, taper_probability=1.0)


def analysed(image: LabelledImage) -> Scene:
    return analyse(image, BackgroundConfig(), KeypointBinding())


def drawn(
    scene: Scene, config: ComposeConfig, seed: int, seen: list[RepaintRequest] | None = None
) -> LabelledImage:
    """Run one draw to its end with the procedural repainter; keeps the requests in `seen`."""
    painter = ProceduralRepainter()
    composer = compose(scene, config, (seed, 0, 0), 1.0)
    try:
        request = next(composer)
        while True:
            if seen is not None:
                seen.append(replace(request, edges=request.edges.copy()))
            request = composer.send(painter.repaint([request])[0])
    except StopIteration as end:
        return end.value


def accepted(scene: Scene, config: ComposeConfig, start: int, count: int) -> list[LabelledImage]:
    """The first `count` draws from seed `start` on that pass the filters."""
    kept: list[LabelledImage] = []
    seed = start
    while len(kept) < count:
        try:
            kept.append(drawn(scene, config, seed))
        except Rejected:
            assert seed < start + 20 * count, "nearly every draw is rejected"
        seed += 1
    return kept


def pixels(image: LabelledImage) -> dict[str, np.ndarray]:
    height, width = image.rgb.shape[:2]
    return {name: to_pixel(point, width, height) for name, point in image.affordance.keypoints()}


def test_dots_of_two_objects_stand_within_half_a_pixel_of_their_moved_labels(
    make_photo: Callable[..., LabelledImage], locate_dot: Callable[..., np.ndarray]
) -> None:
    config = ComposeConfig(mode="geometry_only", transform=STRONG, tool=STRONG)
    scene = analysed(make_photo("dots", dots=True))
    for child in accepted(scene, config, 0, 12):
        where = pixels(child)
        for name in ("grasp", "function", "target"):
            error = np.linalg.norm(locate_dot(child.rgb, where[name]) - where[name])
            assert error <= 0.5, f"{name} is {error:.2f} px off"


def test_one_objects_dot_agrees_when_the_other_is_cut_by_the_border(
    make_photo: Callable[..., LabelledImage], locate_dot: Callable[..., np.ndarray]
) -> None:
    photo = make_photo("dots", dots=True)
    assert photo.masks is not None
    masks = photo.masks.copy()
    masks[:3, :3] = 2  # the lump now reaches the border, so it stays
    scene = analysed(replace(photo, masks=masks))
    child = accepted(scene, ComposeConfig(mode="geometry_only", transform=STRONG, tool=STRONG), 0, 1)[0]
    before, where = pixels(photo), pixels(child)
    assert np.array_equal(before["target"], where["target"])
    assert np.linalg.norm(before["grasp"] - where["grasp"]) > 1
    assert np.linalg.norm(locate_dot(child.rgb, where["grasp"]) - where["grasp"]) <= 0.5


def test_recorded_transforms_reproduce_the_label(photos: list[LabelledImage]) -> None:
    child = accepted(analysed(photos[0]), ComposeConfig(transform=STRONG, tool=STRONG), 0, 1)[0]
    objects = child.provenance.details["objects"]
    assert isinstance(objects, dict)
    before, after = pixels(photos[0]), pixels(child)
    for name, label in (("grasp", "1"), ("function", "1"), ("target", "2")):
        h = Transform.from_json(objects[label]["transform"])
        assert h.points(before[name])[0] == pytest.approx(after[name])


def test_masks_move_with_their_objects(photos: list[LabelledImage]) -> None:
    child = accepted(analysed(photos[0]), ComposeConfig(), 3, 1)[0]
    assert child.masks is not None
    for name, label in (("grasp", 1), ("target", 2)):
        x, y = np.round(pixels(child)[name]).astype(int)
        assert child.masks[y, x] == label


def test_second_object_is_painted_under_the_first_ones_new_edges(photos: list[LabelledImage]) -> None:
    far = TransformConfig(
        scale=(1, 1),
        scale_slender=(1, 1),
        rotation_deg=0,
        shift=0.25,
        elastic=0,
        taper_probability=0,
        lobes=0,
    )
    config = ComposeConfig(
        transform=far,
        tool=far,
        distractors=DistractorConfig(share=0),
        background=BackgroundConfig(keep=1.0, recolour=0.0),
        checks=CheckConfig(edge_agreement=0),
    )
    scene = analysed(photos[0])
    for seed in range(40):
        requests: list[RepaintRequest] = []
        try:
            drawn(scene, config, seed, requests)
        except Rejected:
            continue
        first, second = requests
        old, new = scene.instances[0].mask, first.mask
        vacated = old & ~new & ~second.mask
        if vacated.sum() < 0.9 * old.sum():
            continue
        assert second.edges[vacated].mean() < 0.1  # the brush's old edges are gone
        assert second.edges[new].max() > 0.6  # and its new ones are there
        assert not (second.region & first.mask).any()  # nor is it painted over
        return
    pytest.fail("no draw moved the brush away from its old place")


def test_requests_cover_the_old_and_the_new_place(photos: list[LabelledImage]) -> None:
    requests: list[RepaintRequest] = []
    scene = analysed(photos[0])
    near = TransformConfig(shift=0.02)
    config = ComposeConfig(
        transform=near,
        tool=near,
        distractors=DistractorConfig(share=0),
        checks=CheckConfig(edge_agreement=0),
    )
    drawn(scene, config, 1, requests)
    assert len(requests) == 2
    first = requests[0]
    assert (first.region >= (first.mask | scene.instances[0].mask)).all()


def test_geometry_only_keeps_colours_and_appearance_only_keeps_places(photos: list[LabelledImage]) -> None:
    scene = analysed(photos[0])
    moved = accepted(scene, ComposeConfig(mode="geometry_only"), 0, 1)[0]
    x, y = np.round(pixels(moved)["grasp"]).astype(int)
    assert np.abs(moved.rgb[y, x].astype(int) - (190, 40, 40)).max() < 25
    repainted = accepted(scene, ComposeConfig(mode="appearance_only"), 0, 1)[0]
    assert repainted.affordance == photos[0].affordance
    assert np.abs(repainted.rgb.astype(int) - photos[0].rgb).mean() > 15


def test_full_mode_gives_many_looks(photos: list[LabelledImage]) -> None:
    children = accepted(analysed(photos[0]), ComposeConfig(), 0, 12)
    tables = np.array([child.rgb[200:250].mean(axis=(0, 1)) for child in children])
    handles = []
    for child in children:
        x, y = np.round(pixels(child)["grasp"]).astype(int)
        handles.append(child.rgb[y, x])
    assert tables.std(axis=0).min() > 25
    assert np.std(handles, axis=0).min() > 25


def test_distractors_get_masks_of_their_own_and_keep_clear(photos: list[LabelledImage]) -> None:
    config = ComposeConfig(distractors=DistractorConfig(share=1.0, most=3))
    children = accepted(analysed(photos[0]), config, 0, 6)
    with_extra = 0
    for child in children:
        assert child.masks is not None
        extra = child.masks > 2
        with_extra += extra.any()
        ys, xs = np.nonzero(extra)
        for point in pixels(child).values():
            assert np.hypot(xs - point[0], ys - point[1]).min(initial=np.inf) >= 8
    assert with_extra >= 4


def test_provenance_tells_parent_looks_background_and_shadow(photos: list[LabelledImage]) -> None:
    origin = accepted(analysed(photos[0]), ComposeConfig(), 7, 1)[0].provenance
    assert (origin.source, origin.parent) == ("synthetic", "photo0")
    assert {"mode", "objects", "cut", "extras", "background", "shadow"} <= set(origin.details)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("masks", None),
        ("masks", np.zeros((256, 255), np.uint8)),
        ("masks", np.zeros((256, 256), np.int32)),
        ("masks", np.zeros((256, 256), np.uint8)),
        ("rgb", np.zeros((256, 256), np.uint8)),
    ],
)
def test_when_a_photo_is_malformed_expect_error_naming_image_and_field(
    photos: list[LabelledImage], field: str, value: object
) -> None:
    with pytest.raises(SynthesisError, match=rf"'photo0'.*{field}"):
        analysed(replace(photos[0], **{field: value}))  # pyright: ignore[reportArgumentType]


def test_when_a_label_lies_off_its_object_expect_error_naming_image_and_point(
    photos: list[LabelledImage],
) -> None:
    assert photos[0].affordance.pre_contact is not None
    wrong = replace(photos[0].affordance, grasp=photos[0].affordance.pre_contact)
    with pytest.raises(SynthesisError, match=r"'photo0'.*grasp"):
        analysed(replace(photos[0], affordance=wrong))
