"""One synthetic image: transforms, checks, background, objects repainted one after another, shadows, light.

`compose` is a generator: it yields a `RepaintRequest` per object and is sent the painted scene, so that a
driver may answer many images' requests in one batch.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..affordance.labels import LabelledImage, Provenance
from ..affordance.schema import Affordance, InvalidKeypoints
from ..affordance.units import to_pixel
from .background import BackgroundConfig, retexture
from .binding import TASK_BINDINGS, KeypointBinding, move_affordance, tool_group
from .checks import (
    CheckConfig,
    Rejected,
    check_apart,
    check_edges,
    check_on_part,
    check_sides,
    check_surface,
    check_view,
)
from .cuts import TASK_CUTS, CutConfig, cut
from .describe import describe
from .distractors import TASK_DISTRACTORS, DistractorConfig, Drawn, random_distractors
from .edges import EdgeArray, compose_edges, soft_edges
from .grafts import TASK_GRAFTS, GraftConfig, random_graft
from .light import LightConfig, Shadow, finish, random_shadow
from .placement import Ranges, draw_transforms
from .repaint import ImageArray, RepaintRequest
from .scene import Instance, Scene, told_apart
from .transform import Transform, TransformConfig

Mode = Literal["full", "geometry_only", "appearance_only"]
Composer = Generator[RepaintRequest, ImageArray, LabelledImage]
_PATH = ("grasp", "function", "target", "pre_contact", "target", "post_contact")


@dataclass(frozen=True)
class ComposeConfig:
    """What is drawn. `geometry_only` moves pixels and keeps looks; `appearance_only` keeps places.

    Attributes:
        mode: full, geometry_only or appearance_only.
        transform: ranges of the map h.
        tool: the same for a grasped object on whose place nothing else depends; it may lie any way round.
        cut: what is left out of an object.
        graft: what is added to one.
        binding: what free-space keypoints follow.
        background: surfaces.
        distractors: things that are not the task.
        light: shadows, light, lens.
        checks: thresholds of the filters.
    """

    mode: Mode = "full"
    transform: TransformConfig = field(default_factory=TransformConfig)
    tool: TransformConfig = field(default_factory=lambda: TransformConfig(rotation_deg=180.0, shift=0.45))
    cut: CutConfig = field(default_factory=CutConfig)
    graft: GraftConfig = field(default_factory=GraftConfig)
    binding: KeypointBinding = field(default_factory=KeypointBinding)
    background: BackgroundConfig = field(default_factory=BackgroundConfig)
    distractors: DistractorConfig = field(default_factory=DistractorConfig)
    light: LightConfig = field(default_factory=LightConfig)
    checks: CheckConfig = field(default_factory=CheckConfig)


def for_task(config: ComposeConfig, task: str) -> ComposeConfig:
    """The config with what one of the five tasks asks for: cuts, grafts, bindings, distractors."""
    return replace(
        config,
        cut=TASK_CUTS.get(task, config.cut),
        graft=TASK_GRAFTS.get(task, config.graft),
        binding=TASK_BINDINGS[task],
        distractors=TASK_DISTRACTORS.get(task, config.distractors),
    )


@dataclass
class _Canvas:
    """The growing picture: pixels, wanted edges, and what objects cover so far."""

    rgb: ImageArray
    edges: EdgeArray
    masks: NDArray[np.uint8]


@dataclass(frozen=True)
class _Moved:
    """One object at its new place: alpha (H, W) coverage, mask, pixels and edges."""

    label: int
    old: NDArray[np.bool_]
    alpha: NDArray[np.float32]
    pixels: ImageArray
    edges: EdgeArray

    @property
    def mask(self) -> NDArray[np.bool_]:
        return self.alpha > 0.5


def compose(
    scene: Scene, config: ComposeConfig, seed: Sequence[int], calm: float, words: Sequence[str] = ()
) -> Composer:
    """Draw one synthetic image.

    Args:
        scene: the analysed photo.
        config: what is drawn.
        seed: of every random choice.
        calm: 1 for the full ranges of h, 0 for the identity.
        words: appearances to choose from; the word list when empty.

    Returns:
        The synthetic image (as the generator's value), its id still the parent's.

    Raises:
        Rejected: a filter failed.
    """
    rng = np.random.default_rng(list(seed))
    repainting = config.mode != "geometry_only"
    whole = sum(int(mask.sum()) for mask in scene.groups)
    transforms = [Transform.identity() for _ in scene.groups]
    if config.mode != "appearance_only" and calm > 0:
        scene = cut(scene, config.cut, rng)
        ranges = Ranges(config.tool.calmed(calm), config.transform.calmed(calm))
        transforms = draw_transforms(scene, ranges, config.checks, rng)
    affordance = _move_label(scene, transforms)
    moved = [_move(instance, transforms[instance.group]) for instance in scene.instances]
    _check_geometry(scene, config, affordance, moved)

    plate, surfaces = scene.plate, ["kept"]
    if repainting:
        plate, surfaces = retexture(scene.plate, scene.surfaces, config.background, rng)
    canvas = _Canvas(plate, soft_edges(plate), np.zeros(plate.shape[:2], np.uint8))
    shadow = random_shadow(config.light, rng)
    extras = _draw_extras(config, scene, affordance, moved, rng) if repainting else []
    looks: dict[str, str] = {}
    for item in [*extras, *moved]:
        look = str(rng.choice(list(words))) if words else describe(rng)
        request = _place(canvas, item, look, int(rng.integers(2**31)))
        painted = (yield request) if repainting else request.image
        _settle(canvas, item, painted, shadow)
        looks[str(item.label)] = look if repainting else "unchanged"
    objects = [item.mask for item in moved]
    if repainting:
        check_edges(canvas.rgb, canvas.edges, objects, config.checks.edge_agreement)
        canvas.rgb = finish(canvas.rgb, config.light, rng)
    details: dict[str, object] = {
        "mode": config.mode,
        "objects": {
            str(item.label): {"transform": transforms[item.group].to_json(), "look": looks[str(item.label)]}
            for item in scene.instances
        },
        "cut": 1 - sum(int(mask.sum()) for mask in scene.groups) / whole,
        "extras": [looks[str(item.label)] for item in extras],
        "background": surfaces,
        "shadow": {"offset": list(shadow.offset), "softness": shadow.softness, "darkness": shadow.darkness},
    }
    provenance = Provenance("synthetic", scene.parent.provenance.parent, int(seed[0]), details)
    return replace(
        scene.parent, rgb=canvas.rgb, affordance=affordance, masks=canvas.masks, provenance=provenance
    )


def _move_label(scene: Scene, transforms: Sequence[Transform]) -> Affordance:
    height, width = scene.plate.shape[:2]
    try:
        return move_affordance(scene.parent.affordance, scene.anchors, transforms, (width, height))
    except InvalidKeypoints as error:
        raise Rejected("outside_view", str(error)) from None


def _move(instance: Instance, transform: Transform) -> _Moved:
    """Carry an object's coverage, pixels and edges through the same map."""
    height, width = instance.mask.shape
    if transform.is_identity:
        coverage = instance.mask.astype(np.float32)
        return _Moved(instance.label, instance.mask, coverage, instance.pixels, instance.edges)
    box = transform.moved_box(instance.box, width, height)
    sources = [instance.mask.astype(np.float32), instance.pixels, instance.edges]
    alpha = np.zeros((height, width), np.float32)
    pixels = np.zeros((height, width, 3), np.uint8)
    edges = np.zeros((height, width), np.float32)
    alpha[box.slices], pixels[box.slices], edges[box.slices] = transform.sample(sources, box)
    return _Moved(instance.label, instance.mask, alpha, pixels, edges)


def _check_geometry(
    scene: Scene, config: ComposeConfig, affordance: Affordance, moved: Sequence[_Moved]
) -> None:
    checks = config.checks
    groups = [np.zeros(scene.plate.shape[:2], np.bool_) for _ in scene.groups]
    for instance, item in zip(scene.instances, moved, strict=True):
        groups[instance.group] |= item.mask
    check_view(affordance, groups, scene.fixed, checks.keypoint_margin)
    check_apart(groups, checks.gap_px)
    check_surface(scene.surfaces.labels, scene.groups, groups, checks.surface_slack)
    check_sides(scene.groups, groups, told_apart(scene), checks.turn_deg)
    before = scene.parent.affordance
    check_on_part(before, affordance, scene.anchors, (scene.groups, groups), checks.slack_px)


def _place(canvas: _Canvas, item: _Moved, look: str, seed: int) -> RepaintRequest:
    """Put a moved object's own pixels and edges on the canvas; the request to repaint it there."""
    free = canvas.masks == 0
    covered = cv2.dilate(item.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    canvas.edges = compose_edges(canvas.edges, item.old & free & ~covered, item.edges, covered)
    alpha = item.alpha[..., None]
    image = (canvas.rgb * (1 - alpha) + item.pixels * alpha).astype(np.uint8)
    region = (covered | item.old) & free
    return RepaintRequest(image, canvas.edges, item.mask & free, region, look, seed)


def _settle(canvas: _Canvas, item: _Moved, painted: ImageArray, shadow: Shadow) -> None:
    """Accept a painted object: record its mask and throw its shadow on the background."""
    canvas.masks[item.mask & (canvas.masks == 0)] = item.label
    background = (canvas.masks == 0)[..., None]
    shaded = (painted * shadow.factor(item.alpha)[..., None]).astype(np.uint8)
    canvas.rgb = np.where(background, shaded, painted)


def _draw_extras(
    config: ComposeConfig,
    scene: Scene,
    affordance: Affordance,
    moved: Sequence[_Moved],
    rng: np.random.Generator,
) -> list[_Moved]:
    """Grafts and distractors, clear of the objects."""
    stands = np.bincount(scene.surfaces.labels[np.logical_or.reduce(scene.groups)]).argmax()
    elsewhere = scene.surfaces.labels != stands  # things lie where the objects lie, not on the floor
    taken = np.logical_or.reduce([elsewhere, *(item.mask for item in moved)])
    grafts = _draw_grafts(config.graft, scene, elsewhere, moved, rng)
    taken = np.logical_or.reduce([taken, *(graft.cover > 0 for graft in grafts)])
    height, width = taken.shape
    points = dict(affordance.keypoints())
    path = [to_pixel(points[name], width, height) for name in _PATH if name in points]
    shapes = grafts + random_distractors(config.distractors, taken, path, rng)
    first = max(item.label for item in moved) + 1
    out: list[_Moved] = []
    for label, shape in enumerate(shapes[: 255 - first], start=first):
        grey = np.repeat(shape.relief[..., None], 3, axis=2)
        out.append(_Moved(label, np.zeros_like(taken), shape.cover, grey, soft_edges(grey)))
    return out


def _draw_grafts(
    config: GraftConfig,
    scene: Scene,
    elsewhere: NDArray[np.bool_],
    moved: Sequence[_Moved],
    rng: np.random.Generator,
) -> list[Drawn]:
    """Parts of everything but the loose tool, clear of what is already there."""
    if config.share == 0:
        return []
    tool, taken = tool_group(scene.anchors), elsewhere.copy()
    places = [np.zeros_like(elsewhere) for _ in scene.groups]
    for instance, item in zip(scene.instances, moved, strict=True):
        places[instance.group] |= item.mask
    grafts: list[Drawn] = []
    for group, host in enumerate(places):
        if group == tool:
            continue
        others = np.logical_or.reduce([taken, *places[:group], *places[group + 1 :]])
        graft = random_graft(config, host, others, rng)
        if graft is not None:
            grafts.append(graft)
            taken |= graft.cover > 0
    return grafts
