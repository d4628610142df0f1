"""What synthesis knows of one photo before it draws anything: objects, who moves with whom, background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..affordance.directions import names_direction
from ..affordance.labels import LabelledImage
from ..affordance.schema import KeypointName
from .background import BackgroundConfig, Surfaces, find_surfaces, remove_objects
from .binding import (
    Anchor,
    KeypointBinding,
    SynthesisError,
    anchors,
    meant_group,
    tool_group,
    touching_groups,
)
from .edges import EdgeArray, soft_edges
from .transform import Box

_MARGIN = 4  # px kept around an object, so that its outline and its edges are carried whole


@dataclass(frozen=True)
class Instance:
    """One object of the photo.

    Attributes:
        label: its id in the masks.
        group: index of the group it moves with.
        box: of its pixels, with a margin.
        mask: bool (H, W).
        pixels: uint8 (H, W, 3); its own colours inside the mask, drawn outward around it so that no
            background bleeds in when it is resampled.
        edges: float32 (H, W) soft edges of the object and nothing else.
    """

    label: int
    group: int
    box: Box
    mask: NDArray[np.bool_]
    pixels: NDArray[np.uint8]
    edges: EdgeArray


@dataclass(frozen=True)
class Scene:
    """An analysed photo.

    Attributes:
        parent: the photo.
        instances: its objects in the order of their ids.
        groups: bool (H, W) of everything that moves as one.
        fixed: per group, whether it is cut by the image border and therefore stays.
        anchors: what each keypoint follows.
        plate: uint8 (H, W, 3) background without objects.
        surfaces: the background's parts.
    """

    parent: LabelledImage
    instances: tuple[Instance, ...]
    groups: tuple[NDArray[np.bool_], ...]
    fixed: tuple[bool, ...]
    anchors: Mapping[KeypointName, Anchor]
    plate: NDArray[np.uint8]
    surfaces: Surfaces


def told_apart(scene: Scene) -> list[tuple[int, int]]:
    """Pairs of the group that an instruction with a direction means and each that it may be told from."""
    meant = meant_group(scene.anchors)
    if meant is None or not names_direction(scene.parent.instruction):
        return []
    left_out = {meant, tool_group(scene.anchors)}
    return [(meant, k) for k, cut in enumerate(scene.fixed) if not cut and k not in left_out]


def check_labelled(image: LabelledImage) -> NDArray[np.uint8]:
    """The image's masks, after checking that pixels, masks and label fit together.

    Raises:
        SynthesisError: naming the image and the field at fault.
    """
    name = f"image {image.id!r}"
    rgb, masks = image.rgb, image.masks
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise SynthesisError(f"{name}: rgb must be uint8 (H, W, 3), got {rgb.dtype} {rgb.shape}")
    if masks is None:
        raise SynthesisError(f"{name}: masks are missing; segment the photo first")
    if masks.dtype != np.uint8 or masks.shape != rgb.shape[:2]:
        raise SynthesisError(
            f"{name}: masks must be uint8 {rgb.shape[:2]} like rgb, got {masks.dtype} {masks.shape}"
        )
    if not masks.any():
        raise SynthesisError(f"{name}: masks hold no object")
    if next(image.affordance.keypoints(), None) is None:
        raise SynthesisError(f"{name}: affordance has no keypoint")
    return masks


def analyse(image: LabelledImage, background: BackgroundConfig, binding: KeypointBinding) -> Scene:
    """Everything about a photo that its synthetic children share; deterministic.

    Raises:
        SynthesisError: see `check_labelled` and `binding.anchors`.
    """
    masks = check_labelled(image)
    members = touching_groups(masks)
    group_of = {label: index for index, labels in enumerate(members) for label in labels}
    group_map = np.zeros_like(masks)
    for label, index in group_of.items():
        group_map[masks == label] = index + 1
    groups = tuple(group_map == index + 1 for index in range(len(members)))
    plate = remove_objects(image.rgb, masks, background.shadow_reach)
    edges = soft_edges(image.rgb)
    return Scene(
        parent=image,
        instances=tuple(
            _instance(image.rgb, edges, masks, label, group_of[label]) for label in sorted(group_of)
        ),
        groups=groups,
        fixed=tuple(touches_border(group) for group in groups),
        anchors=anchors(image, group_map, binding),
        plate=plate,
        surfaces=find_surfaces(plate, background.surfaces),
    )


def touches_border(mask: NDArray[np.bool_]) -> bool:
    """Whether any pixel of an (H, W) mask lies on the image border."""
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def _instance(
    rgb: NDArray[np.uint8], edges: EdgeArray, masks: NDArray[np.uint8], label: int, group: int
) -> Instance:
    mask = masks == label
    near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    foreign = (masks != label) & (masks > 0)
    return Instance(
        label=label,
        group=group,
        box=Box.around(mask, _MARGIN),
        mask=mask,
        pixels=_drawn_outward(rgb, mask),
        edges=np.where(near & ~foreign, edges, np.float32(0)),
    )


def _drawn_outward(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Replace the mixed pixels at an object's outline, and those around it, by its colours from inside."""
    core = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    if core.sum() < 0.3 * mask.sum():  # a thin thing has no pure inside
        core = mask.astype(np.uint8)
    weight = core.astype(np.float32)
    colours = cv2.GaussianBlur(rgb * weight[..., None], (0, 0), 2.0)
    spread = colours / np.maximum(cv2.GaussianBlur(weight, (0, 0), 2.0), 1e-4)[..., None]
    return np.where(core[..., None] > 0, rgb, np.clip(spread, 0, 255).astype(np.uint8))
