"""Which keypoint follows which object: decided once per photo, so that every point moves exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..affordance.labels import LabelledImage
from ..affordance.schema import Affordance, InvalidKeypoints, KeypointName
from ..affordance.units import from_pixel, to_pixel
from .transform import Transform

Follow = Literal["auto", "scene", "target", "target_frame", "function", "function_frame"]
FREE_POINTS: tuple[KeypointName, ...] = ("pre_contact", "post_contact")


class SynthesisError(ValueError):
    """A labelled image cannot be multiplied; the message names the image and the field."""


@dataclass(frozen=True)
class KeypointBinding:
    """What the two free-space points follow, and whether the target may be free as well.

    `scene` stays; `target` and `function` keep the offset from that keypoint (rigid translation);
    `target_frame` and `function_frame` turn with its object as well, and when they lie on that object they
    move like any other spot of it. `auto` reads the geometry: when
    the target sits on the very object that is grasped (or nothing is grasped) the motion follows that
    object's own axes, so `target_frame`; on any other object `target`; off every object `scene`.

    Attributes:
        pre_contact: rule for that point.
        post_contact: rule for that point.
        free_target: whether a target off every object is meant so; else it is an error.
        snap_px: how far off its object a clicked point may lie.
    """

    pre_contact: Follow = "auto"
    post_contact: Follow = "auto"
    free_target: bool = False
    snap_px: float = 6.0


@dataclass(frozen=True)
class Anchor:
    """How one keypoint moves: with object `group` at its own place, or relative to the point `pivot`.

    Attributes:
        group: index of the moving object, None for the scene.
        pivot: (2,) px of the keypoint that is followed; None when the point itself lies on the object.
        turns: whether the offset from the pivot turns with the object; its length stays either way.
    """

    group: int | None
    pivot: NDArray[np.float64] | None = None
    turns: bool = False

    def moved(self, point: NDArray[np.float64], transforms: Sequence[Transform]) -> NDArray[np.float64]:
        """Where a (2,) px point goes."""
        if self.group is None:
            return point
        transform = transforms[self.group]
        if self.pivot is None:
            return transform.points(point)[0]
        offset = point - self.pivot
        if self.turns:
            offset = transform.turned(self.pivot, offset)
        return transform.points(self.pivot)[0] + offset


def anchors(
    image: LabelledImage, groups: NDArray[np.uint8], binding: KeypointBinding
) -> dict[KeypointName, Anchor]:
    """An anchor for every keypoint that is present.

    Args:
        image: the photo with its label.
        groups: uint8 (H, W), 0 = background, k + 1 = the k-th object that moves as one.
        binding: the rules.

    Raises:
        SynthesisError: a grasp, function or target point lies on no object.
    """
    height, width = groups.shape
    pixels: dict[KeypointName, NDArray[np.float64]] = {
        name: to_pixel(point, width, height) for name, point in image.affordance.keypoints()
    }
    found: dict[KeypointName, Anchor] = {}
    for name, _ in image.affordance.keypoints():
        if name in FREE_POINTS:
            continue
        group = _group_at(groups, pixels[name], binding.snap_px)
        if group is None and not (name == "target" and binding.free_target):
            raise SynthesisError(f"image {image.id!r}: {name} lies on no object of masks")
        found[name] = Anchor(group)
    for name in FREE_POINTS:
        if name in pixels:
            rule = binding.pre_contact if name == "pre_contact" else binding.post_contact
            found[name] = _free_anchor(name, rule, found, pixels, groups)
    return found


def move_affordance(
    affordance: Affordance,
    anchored: Mapping[KeypointName, Anchor],
    transforms: Sequence[Transform],
    size: tuple[int, int],
) -> Affordance:
    """The label of the moved scene: every keypoint through its anchor once, grasp yaw through the Jacobian.

    Args:
        affordance: the photo's label.
        anchored: of every keypoint present.
        transforms: one per moving object.
        size: image width and height, px.

    Raises:
        InvalidKeypoints: a point leaves the image; names it.
    """
    moved: dict[KeypointName, object] = {}
    for name, point in affordance.keypoints():
        pixel = anchored[name].moved(to_pixel(point, *size), transforms)
        try:
            moved[name] = from_pixel(pixel, *size)
        except InvalidKeypoints as error:
            raise InvalidKeypoints(f"{name}: {error}") from None
    out = affordance.with_keypoints(moved)  # pyright: ignore[reportArgumentType]
    anchor = anchored.get("grasp")
    if affordance.grasp is None or affordance.grasp_yaw is None or anchor is None or anchor.group is None:
        return out
    transform = transforms[anchor.group]
    return _with_yaw(out, transform.yaw(to_pixel(affordance.grasp, *size), affordance.grasp_yaw))


def _with_yaw(affordance: Affordance, yaw: float) -> Affordance:
    return Affordance.from_json({**affordance.to_json(), "grasp_yaw": yaw})


def _free_anchor(
    name: KeypointName,
    rule: Follow,
    found: Mapping[KeypointName, Anchor],
    pixels: Mapping[KeypointName, NDArray[np.float64]],
    groups: NDArray[np.uint8],
) -> Anchor:
    if rule == "auto":
        rule = _geometric_rule(found)
    followed: KeypointName = "target" if rule.startswith("target") else "function"
    anchor = found.get(followed)
    if rule == "scene" or anchor is None or anchor.group is None:
        return Anchor(None)
    turns = rule.endswith("_frame")
    if turns and _group_at(groups, pixels[name], 0) == anchor.group:
        return Anchor(anchor.group)
    return Anchor(anchor.group, pivot=pixels[followed], turns=turns)


def _geometric_rule(found: Mapping[KeypointName, Anchor]) -> Follow:
    target, grasp = found.get("target"), found.get("grasp")
    if target is None or target.group is None:
        return "scene"
    return "target_frame" if grasp is None or grasp.group == target.group else "target"


def _group_at(groups: NDArray[np.uint8], pixel: NDArray[np.float64], snap_px: float) -> int | None:
    """Index of the object under a point, else of the nearest one within `snap_px`."""
    height, width = groups.shape
    x, y = round(float(pixel[0])), round(float(pixel[1]))
    reach = int(np.ceil(snap_px))
    y0, x0 = max(y - reach, 0), max(x - reach, 0)
    window = groups[y0 : min(y + reach + 1, height), x0 : min(x + reach + 1, width)]
    ys, xs = np.nonzero(window)
    if len(ys) == 0:
        return None
    distance = np.hypot(xs + x0 - pixel[0], ys + y0 - pixel[1])
    best = int(distance.argmin())
    return int(window[ys[best], xs[best]]) - 1 if distance[best] <= max(snap_px, 0.75) else None


def touching_groups(masks: NDArray[np.uint8], gap_px: int = 2) -> list[tuple[int, ...]]:
    """Instance ids that touch (gap of at most `gap_px`) grouped together, in order of the lowest id."""
    labels = [int(label) for label in np.unique(masks) if label]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * gap_px + 1, 2 * gap_px + 1))
    root = {label: label for label in labels}
    for label in labels:
        near = masks[cv2.dilate((masks == label).astype(np.uint8), kernel) > 0]
        for other in np.unique(near):
            if other and root[int(other)] != root[label]:
                old, new = sorted((root[int(other)], root[label]))[::-1]
                root = {key: new if value == old else value for key, value in root.items()}
    return [tuple(key for key in labels if root[key] == head) for head in labels if root[head] == head]
