"""Filters: a draw that breaks label, geometry or edges is rejected with a reason and drawn again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..affordance.labels import LabelledImage
from ..affordance.schema import Affordance, KeypointName
from ..affordance.units import to_pixel
from ..core.chat import ChatConfig, ask
from ..core.ranges import at_least, within
from .binding import Anchor
from .edges import EdgeArray, edge_agreement, soft_edges

Reason = Literal[
    "outside_view", "overlap", "off_surface", "side", "keypoint_off_part", "edges", "judge", "duplicate"
]
BoolArray = NDArray[np.bool_]
_JUDGE_PROMPT = (
    "Could this be a usable photo of a robot's table for the task {instruction!r}? Every object that it "
    "needs must be there exactly once, recognisable and whole. Answer with Yes or No only."
)


class Rejected(Exception):
    """A draw failed a filter."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason


@dataclass(frozen=True)
class NoJudge:
    """Every image that passes the geometric filters is kept."""


@dataclass(frozen=True)
class CheckConfig:
    """Thresholds of the filters.

    Attributes:
        edge_agreement: least tolerant IoU between wanted and painted edges of an object, 0 to 1.
        keypoint_margin: least distance of every keypoint from the image border, as a fraction of the image.
        gap_px: objects apart before must stay this far apart.
        surface_slack: share of an object that may come to lie on another surface than before.
        turn_deg: most that the direction from another object to the one that is meant may turn, where the
            instruction names a direction: "the left bowl" stays the left one.
        slack_px: how much farther from its object a keypoint may be than it was on the photo.
    """

    edge_agreement: float = 0.3
    keypoint_margin: float = 0.01
    gap_px: int = 2
    surface_slack: float = 0.05
    turn_deg: float = 25.0
    slack_px: float = 1.5

    def __post_init__(self) -> None:
        within(self, 0, 1, "edge_agreement", "surface_slack")
        within(self, 0, 0.5, "keypoint_margin")
        within(self, 0, 180, "turn_deg")
        at_least(self, 0, "gap_px", "slack_px")


def check_view(
    affordance: Affordance, masks: Sequence[BoolArray], fixed: Sequence[bool], margin: float
) -> None:
    """Reject when a keypoint is nearly outside or a moved object is cut by the border.

    Args:
        affordance: the moved label.
        masks: bool (H, W) per group, moved.
        fixed: groups that were cut on the photo already.
        margin: fraction of the image.
    """
    for name, point in affordance.keypoints():
        if not (margin <= point.x <= 1 - margin and margin <= point.y <= 1 - margin):
            raise Rejected("outside_view", f"{name} at ({point.x:.3f}, {point.y:.3f})")
    for index, (mask, stays) in enumerate(zip(masks, fixed, strict=True)):
        edge = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any() or not mask.any()
        if edge and not stays:
            raise Rejected("outside_view", f"object {index} leaves the image")


def check_apart(masks: Sequence[BoolArray], gap_px: int) -> None:
    """Reject when two groups (bool (H, W) each, apart on the photo) come closer than `gap_px`."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * gap_px + 1, 2 * gap_px + 1))
    taken = np.zeros(masks[0].shape, np.bool_)
    for index, mask in enumerate(masks):
        if taken[mask].any():
            raise Rejected("overlap", f"object {index} meets another one")
        taken |= cv2.dilate(mask.astype(np.uint8), kernel) > 0


def check_sides(
    before: Sequence[BoolArray], after: Sequence[BoolArray], pairs: Sequence[tuple[int, int]], turn_deg: float
) -> None:
    """Reject when an object comes to lie on another side of one that it must be told from.

    Args:
        before: bool (H, W) per group, on the photo.
        after: the same, moved.
        pairs: the object that is meant, and another one.
        turn_deg: most that the direction between them may turn.
    """
    for meant, other in pairs:
        old, new = (middle(groups[meant]) - middle(groups[other]) for groups in (before, after))
        if (turn := turn_between(old, new)) > turn_deg:
            raise Rejected("side", f"object {meant} seen from object {other} turns by {turn:.0f} degrees")


def middle(mask: BoolArray) -> NDArray[np.float64]:
    """The mean pixel (2,) of a mask (H, W)."""
    return np.argwhere(mask)[:, ::-1].mean(axis=0)


def turn_between(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The angle between two directions (2,), degrees in [0, 180]."""
    return abs(float(np.angle(complex(*second) * complex(*first).conjugate(), deg=True)))


def check_surface(
    surfaces: NDArray[np.intp], before: Sequence[BoolArray], after: Sequence[BoolArray], slack: float
) -> None:
    """Reject when an object slides off what it lies on, e.g. over the table's edge.

    Args:
        surfaces: (H, W) background surface of every pixel.
        before: bool (H, W) per group, on the photo.
        after: the same, moved.
        slack: share of the object that may lie elsewhere than before.
    """
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        shares = np.bincount(surfaces[old], minlength=surfaces.max() + 1) / old.sum()
        main = shares.argmax()
        share = float((surfaces[new] == main).mean())
        if share < shares[main] - slack:
            raise Rejected("off_surface", f"object {index}: {share:.2f} of it stays")


def check_on_part(
    before: Affordance,
    after: Affordance,
    anchors: Mapping[KeypointName, Anchor],
    masks: tuple[Sequence[BoolArray], Sequence[BoolArray]],
    slack_px: float,
) -> None:
    """Reject when a keypoint that sat on an object is farther from it than on the photo.

    Args:
        before: label of the photo.
        after: moved label.
        anchors: what each keypoint follows.
        masks: groups of the photo, and moved.
        slack_px: allowed growth of the distance.
    """
    moved_points = dict(after.keypoints())
    for name, point in before.keypoints():
        anchor = anchors[name]
        if anchor.group is None or anchor.pivot is not None:
            continue
        old, new = masks[0][anchor.group], masks[1][anchor.group]
        height, width = old.shape
        was = _distance(old, to_pixel(point, width, height))
        now = _distance(new, to_pixel(moved_points[name], width, height))
        if now > was * 1.5 + slack_px:
            raise Rejected("keypoint_off_part", f"{name} is {now:.1f} px off its object, was {was:.1f}")


def check_edges(
    painted: NDArray[np.uint8], wanted: EdgeArray, masks: Sequence[BoolArray], least: float
) -> None:
    """Reject when the painted objects' edges do not agree with the moved soft edges.

    Args:
        painted: uint8 (H, W, 3) scene before light and noise.
        wanted: float32 (H, W) moved soft edges.
        masks: bool (H, W) per object.
        least: lowest agreement allowed.
    """
    if least <= 0:
        return
    got = soft_edges(painted)
    for index, mask in enumerate(masks):
        band = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        agreement = edge_agreement(wanted, got, band)
        if agreement < least:
            raise Rejected("edges", f"object {index}: agreement {agreement:.2f} below {least:.2f}")


def check_judge(image: LabelledImage, config: ChatConfig | NoJudge) -> None:
    """Reject what the vision-language judge does not answer with yes."""
    if isinstance(config, NoJudge):
        return
    answer = ask(config, _JUDGE_PROMPT.format(instruction=image.instruction), image.rgb)
    if not answer.strip().lower().startswith("yes"):
        raise Rejected("judge", answer.strip()[:80])


def _distance(mask: BoolArray, pixel: NDArray[np.float64]) -> float:
    """Px from a point to the nearest pixel of a mask; infinite when it is empty."""
    ys, xs = np.nonzero(mask)
    return float(np.hypot(xs - pixel[0], ys - pixel[1]).min(initial=np.inf))
