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
from ..core.ranges import at_least
from .transform import Transform

Follow = Literal[
    "auto",
    "scene",
    "target",
    "target_frame",
    "target_side",
    "target_line",
    "target_edge",
    "function",
    "function_frame",
]
FloatArray = NDArray[np.float64]
Turn = Literal["shift", "frame", "side", "line", "edge"]
_TURNS: Mapping[Follow, Turn] = {
    "target": "shift",
    "function": "shift",
    "target_frame": "frame",
    "function_frame": "frame",
    "target_side": "side",
    "target_line": "line",
    "target_edge": "edge",
}
FREE_POINTS: tuple[KeypointName, ...] = ("pre_contact", "post_contact")


class SynthesisError(ValueError):
    """A labelled image cannot be multiplied; the message names the image and the field."""


@dataclass(frozen=True)
class KeypointBinding:
    """What keypoints in free space follow; points on an object always move with that object.

    * `scene` stays where it is.
    * `target`, `function` keep the offset from that keypoint: a rigid translation.
    * `target_frame`, `function_frame` turn with that keypoint's object as well; on the object itself they
      move like any other spot of it.
    * `target_side` turns with the target's object, and keeps to the grasp's side of the target, or the other.
    * `target_line` turns as the line from grasp to target turns.
    * `target_edge` is tied to something of the scene that the target is driven towards, such as the table's
      edge: it slides sideways with the target, and not along the way to it.
    * `auto` reads the geometry: `target_frame` when the target sits on the object that is grasped or nothing
      is grasped, else `target`; a target in free space must be bound by a rule.

    Attributes:
        pre_contact: rule for that point.
        post_contact: rule for that point.
        target: rule for a target off every object; with `auto` it is an error.
        snap_px: how far off its object a clicked point may lie.
    """

    pre_contact: Follow = "auto"
    post_contact: Follow = "auto"
    target: Follow = "auto"
    snap_px: float = 6.0

    def __post_init__(self) -> None:
        if self.target.startswith("target"):
            raise ValueError(f"target={self.target}: the target cannot follow itself")
        at_least(self, 0, "snap_px")


TASK_BINDINGS: Mapping[str, KeypointBinding] = {
    "sweep": KeypointBinding(pre_contact="target", post_contact="target_edge"),
    "drawer": KeypointBinding(pre_contact="target_frame", post_contact="target_frame"),
    "towel": KeypointBinding(pre_contact="target_side", post_contact="target_side"),
    "pour": KeypointBinding(pre_contact="target_line", post_contact="target"),
    "unplug": KeypointBinding("function_frame", "function_frame", "function_frame"),
}
"""The binding that each of the five tasks' keypoints obey, by the task's name."""


@dataclass(frozen=True)
class Anchor:
    """How one keypoint moves: with object `group` at its own place, or relative to another keypoint.

    Attributes:
        group: index of the moving object, None for the scene.
        pivot: (2,) px of the keypoint that is followed; None when the point itself lies on the object.
        turn: what becomes of the offset from the pivot.
        start: for `side` and `line`, the (2,) px of the grasp and the index of its object.
    """

    group: int | None
    pivot: FloatArray | None = None
    turn: Turn = "shift"
    start: tuple[FloatArray, int | None] | None = None

    def moved(self, point: FloatArray, transforms: Sequence[Transform]) -> FloatArray:
        """Where a (2,) px point goes."""
        if self.group is None:
            return point
        transform = transforms[self.group]
        if self.pivot is None:
            return transform.points(point)[0]
        pivot = transform.points(self.pivot)[0]
        return pivot + self._turned(point - self.pivot, pivot, transforms)

    def _turned(self, offset: FloatArray, pivot: FloatArray, transforms: Sequence[Transform]) -> FloatArray:
        """The offset (2,) from the pivot, which has moved to `pivot`."""
        assert self.pivot is not None  # noqa: S101 (asked only for points with a pivot)
        assert self.group is not None  # noqa: S101
        if self.turn == "frame":
            return transforms[self.group].turned(self.pivot, offset)
        if self.start is not None:
            start, group = self.start
            begin = start if group is None else transforms[group].points(start)[0]
            if self.turn == "line":
                return _rotated(offset, self.pivot - start, pivot - begin)
            turned = transforms[self.group].turned(self.pivot, offset)
            return turned * np.sign((offset @ (start - self.pivot)) * (turned @ (begin - pivot)) or 1.0)
        if self.turn == "edge":
            way = offset / max(float(np.linalg.norm(offset)), 1e-9)
            return offset - way * float(way @ (pivot - self.pivot))
        return offset


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
    pixels: dict[KeypointName, FloatArray] = {
        name: to_pixel(point, width, height) for name, point in image.affordance.keypoints()
    }
    found: dict[KeypointName, Anchor] = {}
    for name, _ in image.affordance.keypoints():
        group = None if name in FREE_POINTS else _group_at(groups, pixels[name], binding.snap_px)
        if group is not None:
            found[name] = Anchor(group)
        elif name not in FREE_POINTS and (name != "target" or binding.target == "auto"):
            raise SynthesisError(f"image {image.id!r}: {name} lies on no object of masks")
    rules: dict[KeypointName, Follow] = {
        "target": binding.target,
        "pre_contact": binding.pre_contact,
        "post_contact": binding.post_contact,
    }
    for name, rule in rules.items():
        if name in pixels and name not in found:
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
    pixels: Mapping[KeypointName, FloatArray],
    groups: NDArray[np.uint8],
) -> Anchor:
    if rule == "auto":
        rule = _geometric_rule(found)
    followed: KeypointName = "target" if rule.startswith("target") else "function"
    anchor = found.get(followed)
    if rule == "scene" or anchor is None or anchor.group is None:
        return Anchor(None)
    turn = _TURNS[rule]
    if turn == "frame" and _group_at(groups, pixels[name], 0) == anchor.group:
        return Anchor(anchor.group)
    grasped = turn in ("side", "line") and "grasp" in found
    start = (pixels["grasp"], found["grasp"].group) if grasped else None
    return Anchor(anchor.group, pixels[followed], turn, start)


def _geometric_rule(found: Mapping[KeypointName, Anchor]) -> Follow:
    target, grasp = found.get("target"), found.get("grasp")
    if target is None or target.group is None:
        return "scene"
    return "target_frame" if grasp is None or grasp.group == target.group else "target"


def _group_at(groups: NDArray[np.uint8], pixel: FloatArray, snap_px: float) -> int | None:
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


def _rotated(offset: FloatArray, before: FloatArray, after: FloatArray) -> FloatArray:
    """An offset (2,) turned by the angle between two directions (2,)."""
    angle = np.arctan2(after[1], after[0]) - np.arctan2(before[1], before[0])
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]]) @ offset


def tool_group(anchored: Mapping[KeypointName, Anchor]) -> int | None:
    """The object that is grasped, if it is a loose tool: neither target nor free points depend on its place.

    Such an object may lie anywhere and any way round without changing what the instruction means.
    """
    grasp = anchored.get("grasp")
    if grasp is None or grasp.group is None:
        return None
    bound = {anchored[name].group for name in ("target", *FREE_POINTS) if name in anchored}
    return None if "target" not in anchored or grasp.group in bound else grasp.group


def meant_group(anchored: Mapping[KeypointName, Anchor]) -> int | None:
    """The object that is meant: the target's, or the grasped one where the target is in free space."""
    found = [anchored[name].group for name in ("target", "grasp") if name in anchored]
    return next((group for group in found if group is not None), None)


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
