"""Instance masks: what a segmenter is, and the embedded one that needs depth but no model.

A segmenter answers prompts (text, box or point) with instance masks; without a prompt it returns every object
that it sees. `TabletopSegmenter` finds the table in the depth image and takes what stands on it for objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..core.ranges import above, at_least, rising, within
from .depth import DepthCleaning, clean_frame, point_cloud
from .frame import BoolArray, FloatArray, ImageArray, RgbdFrame
from .plane import Plane, PlaneError, fit_plane, in_box, robust_deviation

Box3 = tuple[tuple[float, float, float], tuple[float, float, float]]
LabelMap = NDArray[np.int32]


class SegmentationError(ValueError):
    """An image cannot be segmented, or a prompt cannot be answered; the message says which and why."""


@dataclass(frozen=True)
class TextPrompt:
    """An object's name, e.g. "brush"."""

    text: str


@dataclass(frozen=True)
class BoxPrompt:
    """A box around one object, pixels: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class PointPrompt:
    """A pixel (u, v) on one object."""

    u: float
    v: float


Prompt = TextPrompt | BoxPrompt | PointPrompt


@dataclass(frozen=True)
class InstanceMask:
    """One object: its mask bool (H, W), a confidence in [0, 1], and the prompt that it answers, if any."""

    mask: BoolArray
    score: float
    prompt: Prompt | None = None


@dataclass(frozen=True)
class Segmentation:
    """The objects found in one image.

    Attributes:
        instances: in order of the prompts; without prompts, the largest first.
        height: of the image, pixels.
        width: of the image, pixels.
        plane: the support plane in the base frame, where the segmenter finds one.
    """

    instances: tuple[InstanceMask, ...]
    height: int
    width: int
    plane: Plane | None = None

    def instance_map(self) -> ImageArray:
        """Instance ids, uint8 (H, W): 0 is background, i + 1 is `instances[i]`; smaller masks lie on top."""
        if len(self.instances) > 255:
            raise SegmentationError(f"an instance map holds 255 objects, got {len(self.instances)}")
        out = np.zeros((self.height, self.width), dtype=np.uint8)
        order = sorted(range(len(self.instances)), key=lambda i: -int(self.instances[i].mask.sum()))
        for index in order:
            out[self.instances[index].mask] = index + 1
        return out


class Segmenter(Protocol):
    """Finds objects in a frame."""

    def segment(self, frame: RgbdFrame, prompts: Sequence[Prompt] = ()) -> Segmentation:
        """Masks for the prompts, at most one per prompt; without prompts, every object.

        A prompt that nothing answers has no instance. Raises SegmentationError for a prompt of a kind that
        this segmenter cannot read.
        """
        ...


@dataclass(frozen=True)
class TabletopConfig:
    """Settings of the tabletop segmenter; lengths in metres, boxes in the base frame.

    Attributes:
        workspace: (low corner, high corner); what lies outside is no object.
        excluded: boxes whose contents are no objects, e.g. around the parked arm.
        support_range: heights z between which the support plane lies.
        max_tilt: radians between the support plane and the horizontal.
        least_height: an object stands this much above the plane at least.
        noise_factor: and at least this many standard deviations of the plane's noise.
        least_area: pixels; smaller components are noise.
        split_jump: neighbouring pixels whose heights differ by more belong to different objects.
        cleaning: of the depth image.
        seed: of the plane search.
    """

    workspace: Box3 = ((0.15, -0.6, -0.02), (1.0, 0.6, 0.6))
    excluded: tuple[Box3, ...] = ()
    support_range: tuple[float, float] = (-0.05, 0.05)
    max_tilt: float = 0.17
    least_height: float = 0.002
    noise_factor: float = 4.0
    least_area: int = 15
    split_jump: float = 0.2
    cleaning: DepthCleaning = field(default_factory=DepthCleaning)
    seed: int = 0

    def __post_init__(self) -> None:
        rising(self, "support_range")
        within(self, 0, math.pi / 2, "max_tilt")
        at_least(self, 0, "least_height", "noise_factor", "seed")
        at_least(self, 1, "least_area")
        above(self, 0, "split_jump")
        for low, high in (self.workspace, *self.excluded):
            if not all(a <= b for a, b in zip(low, high, strict=True)):
                raise ValueError(f"workspace and excluded need (low corner, high corner), got {(low, high)}")


class TabletopSegmenter:
    """Objects are what stands on the table: depth only, deterministic, a few milliseconds.

    Answers box prompts by the object that overlaps the box best and point prompts by the object there; it
    cannot read text.
    """

    def __init__(self, config: TabletopConfig | None = None) -> None:
        self.config = config or TabletopConfig()

    def segment(self, frame: RgbdFrame, prompts: Sequence[Prompt] = ()) -> Segmentation:
        """Masks of the objects on the support plane (see `Segmenter.segment`); a score is the measured share.

        Raises:
            SegmentationError: no support plane is in view, or a prompt is a text.
        """
        config = self.config
        cloud = point_cloud(clean_frame(frame, config.cleaning))
        plane, noise = self._support_plane(cloud)
        heights = plane.height(cloud)
        table = np.abs(heights) < max(config.noise_factor * noise, config.least_height)
        candidates = in_box(cloud, *config.workspace) & _standing(heights, table, config)
        for low, high in config.excluded:
            candidates &= ~in_box(cloud, low, high)
        labels = _label(candidates, heights, config.split_jump)
        labels = _keep(labels, _on_table(labels, cloud, cloud[table]), config.least_area)
        _fill_enclosed(labels, np.isnan(heights))
        measured = np.isfinite(frame.depth) & (frame.depth > 0)
        found = [_instance(labels == i, measured) for i in range(1, int(labels.max(initial=0)) + 1)]
        instances = [_answer(prompt, found) for prompt in prompts] if prompts else found
        present = tuple(instance for instance in instances if instance is not None)
        return Segmentation(present, *labels.shape, plane=plane)

    def _support_plane(self, cloud: FloatArray) -> tuple[Plane, float]:
        (x0, y0, _), (x1, y1, _) = self.config.workspace
        low, high = self.config.support_range
        points = cloud[in_box(cloud, (x0, y0, low), (x1, y1, high))]
        points = points[:: len(points) // 8000 + 1]  # Enough for a plane, and fast at any image size.
        try:
            return fit_plane(
                points, 0.005, max_tilt=self.config.max_tilt, rng=np.random.default_rng(self.config.seed)
            )
        except PlaneError as error:
            raise SegmentationError(f"{error} (searched {low:g} <= z <= {high:g} m)") from error


def _standing(heights: FloatArray, table: BoolArray, config: TabletopConfig) -> BoolArray:
    """Pixels above the noise, alone or (thin broad things such as cloth) as the mean of 5x5 pixels."""
    least = config.least_height
    alone = heights > max(least, config.noise_factor * robust_deviation(heights[table]))
    # Clipped, so that a tall neighbour counts for little in the mean.
    valid = np.isfinite(heights)
    clipped = np.where(valid, np.clip(heights, -2 * least, 2 * least), 0.0)
    weight = cv2.blur(valid.astype(np.float64), (5, 5))
    mean = np.asarray(cv2.blur(clipped, (5, 5))) / np.maximum(weight, 1e-9)
    together = mean > max(least, config.noise_factor * robust_deviation(mean[table]))
    return alone | (together & (heights > least / 2))


def _label(candidates: BoolArray, heights: FloatArray, split_jump: float) -> LabelMap:
    """Connected components (8 neighbours, heights alike) as int32 (H, W) ids, 0 = none."""
    rows, columns = candidates.shape
    ids = np.full(candidates.shape, -1, dtype=np.int32)
    count = int(candidates.sum())
    ids[candidates] = np.arange(count)
    starts, ends = [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, rows - dy), slice(max(-dx, 0), columns - max(dx, 0)))
        there = (slice(dy, rows), slice(max(dx, 0), columns - max(-dx, 0)))
        both = candidates[here] & candidates[there]
        both &= np.abs(np.where(both, heights[here] - heights[there], np.inf)) <= split_jump
        starts.append(ids[here][both])
        ends.append(ids[there][both])
    edges = (np.concatenate(starts), np.concatenate(ends))
    graph = coo_array((np.ones(len(edges[0]), dtype=np.uint8), edges), shape=(count, count))
    labels = np.zeros(candidates.shape, dtype=np.int32)
    if count:
        labels[candidates] = connected_components(graph, directed=False)[1] + 1
    return labels


def _on_table(labels: LabelMap, cloud: FloatArray, table: FloatArray) -> BoolArray:
    """Per label id, whether the middle of its points lies over the hull of the table's points (x, y)."""
    hull = cv2.convexHull(table[::4, :2].astype(np.float32))
    on_table = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.bool_)
    order = np.argsort(labels, axis=None, kind="stable")
    bounds = np.searchsorted(labels.ravel()[order], np.arange(len(on_table) + 1))
    points = cloud.reshape(-1, 3)[order, :2]
    for index in range(1, len(on_table)):
        x, y = np.median(points[bounds[index] : bounds[index + 1]], axis=0)
        on_table[index] = cv2.pointPolygonTest(hull, (float(x), float(y)), measureDist=False) >= 0
    return on_table


def _keep(labels: LabelMap, wanted: BoolArray, least_area: int) -> LabelMap:
    """Drop unwanted and small components; number the others 1.. from the largest down."""
    areas = np.bincount(labels.ravel(), minlength=len(wanted))
    areas[(areas < least_area) | ~wanted] = 0
    areas[0] = 0
    order = np.argsort(-areas, kind="stable")[: int((areas > 0).sum())][:255]
    renumber = np.zeros(len(areas), dtype=np.int32)
    renumber[order] = np.arange(1, len(order) + 1)
    return renumber[labels]


def _fill_enclosed(labels: LabelMap, unknown: BoolArray) -> None:
    """Give holes without depth that lie wholly inside one object to that object, in place."""
    count, holes = cv2.connectedComponents(unknown.astype(np.uint8), connectivity=8)
    for index in range(1, count):
        hole = (np.asarray(holes) == index).astype(np.uint8)
        rim = (np.asarray(cv2.dilate(hole, np.ones((3, 3), np.uint8))) > 0) & (hole == 0)
        around = np.unique(labels[rim])
        if len(around) == 1 and around[0] > 0:
            labels[hole > 0] = around[0]


def _instance(mask: BoolArray, measured: BoolArray) -> InstanceMask:
    return InstanceMask(mask, float((mask & measured).sum() / mask.sum()))


def _answer(prompt: Prompt, found: Sequence[InstanceMask]) -> InstanceMask | None:
    """The object that a prompt means, or None."""
    if isinstance(prompt, TextPrompt):
        raise SegmentationError(
            f"text prompt {prompt.text!r}: the tabletop segmenter cannot read text; use a box, a point or no "
            "prompt, or the grounded_sam segmenter"
        )
    if not found:
        return None
    overlaps = [_overlap(prompt, instance.mask) for instance in found]
    best = int(np.argmax(overlaps))
    if overlaps[best] == 0:
        return None
    return InstanceMask(found[best].mask, found[best].score, prompt)


def _overlap(prompt: BoxPrompt | PointPrompt, mask: BoolArray) -> float:
    """Intersection over union of a mask with a box, or with a pixel (positive only where it is inside)."""
    height, width = mask.shape
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    if isinstance(prompt, BoxPrompt):
        inside = (columns >= prompt.left) & (columns <= prompt.right)
        inside = inside & (rows >= prompt.top) & (rows <= prompt.bottom)
    else:
        inside = (columns == round(prompt.u)) & (rows == round(prompt.v))
    return float((mask & inside).sum() / (mask | inside).sum())
