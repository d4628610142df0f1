"""Keypoints of one affordance lifted from the image into the base frame, and the directions between them."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Sequence

import cv2
import numpy as np

from ..affordance.schema import Affordance, KeypointName
from ..affordance.units import to_pixel
from ..perception.depth import DepthError, camera_rays, lift, point_cloud, valid_depth
from ..perception.frame import FloatArray, RgbdFrame
from .plan import MissingKeypoints, PlanError

# Pixels between the two rays that turn an image direction into one on the table.
RAY_STEP = 4.0
# Metres below the support plane from which on a point is no longer on it.
BELOW_SUPPORT = 0.03
# Metres that a keypoint may lie beside what it means, and the largest extent of one thing.
BESIDE = 0.04
LARGEST = 0.25
# Times longer than broad, from which on a thing has a direction.
LONG = 2.5
# Share of a radius by which the middle of what stands within it lies aside, from which on the side is clear.
ASIDE = 0.2
# Per cent of the heights seen around a point that lie below its floor: noise.
FLOOR_SHARE = 10


class LiftedKeypoints(UserDict[KeypointName, FloatArray]):
    """Points (3,) in the base frame, metres, by keypoint name; only those that the affordance has."""

    def __init__(
        self,
        points: dict[KeypointName, FloatArray],
        pixels: dict[KeypointName, FloatArray],
        frame: RgbdFrame,
    ) -> None:
        """`pixels` (2,) are where the points were seen in `frame`."""
        super().__init__(points)
        self._pixels, self._frame = pixels, frame

    def closing_axis(self, yaw: float | None) -> FloatArray:
        """The jaws' closing axis, a horizontal unit vector (3,), from its direction in the image.

        The image direction is laid onto the horizontal plane through the grasp point by two rays. None means
        along the image's x axis.
        """
        angle = yaw or 0.0
        step = RAY_STEP / 2 * np.array([np.cos(angle), np.sin(angle)])
        height = float(self["grasp"][2])
        tail = _on_plane(self._frame, self._pixels["grasp"] - step, height)
        head = _on_plane(self._frame, self._pixels["grasp"] + step, height)
        return (head - tail) / np.linalg.norm(head - tail)

    def way_across(
        self, name: KeypointName, sides: tuple[KeypointName, KeypointName], least: float
    ) -> FloatArray:
        """The line across a thing, a horizontal unit vector (3,) without a sense, from points on its sides.

        Where one side is mistaken for the other, both points lie on one side of the thing's foot (where it is
        seen against their level); the line is then the one through the foot that fits both best.

        Args:
            name: the thing.
            sides: points of the table on either side of it.
            least: metres between points that make a line.

        Raises:
            PlanError: naming the sides, when they coincide at the foot.
        """
        first, second = (self[side] for side in sides)
        foot = _on_plane(self._frame, self._pixels[name], float(first[2] + second[2]) / 2)
        offsets = np.array([first[:2] - foot[:2], second[:2] - foot[:2]])
        if np.linalg.norm(offsets[1] - offsets[0]) >= max(least, *np.linalg.norm(offsets, axis=1)):
            return unit(second - first, least, " and ".join(sides))
        spreads, axes = np.linalg.eigh(offsets.T @ offsets)
        if spreads[-1] < least**2:
            raise PlanError(f"{' and '.join(sides)} coincide at {name}: no direction")
        return np.array([*axes[:, -1], 0.0])

    def ridge(self, name: KeypointName, radius: float) -> FloatArray:
        """The point (3,) at a keypoint, or on what stands out within `radius` metres of it in the image.

        A thin rod covers few pixels: a keypoint, and the window its depth is taken from, easily miss it and
        see what lies behind. Where nothing stands out by more than `radius`, the point itself.
        """
        ridge = self._standing_out(name, radius)
        return self[name] if ridge is None else np.array([*ridge[:, :2].mean(axis=0), ridge[:, 2].max()])

    def rod(self, name: KeypointName, radius: float) -> FloatArray | None:
        """The line along what `ridge` finds, a unit vector (3,) without a sense; None if it is not long."""
        ridge = self._standing_out(name, radius)
        if ridge is None or len(ridge) < 3:
            return None
        spreads, axes = np.linalg.eigh(np.cov(ridge[:, :2].T))
        return np.array([*axes[:, -1], 0.0]) if spreads[1] > LONG**2 * max(spreads[0], 0.0) else None

    def _standing_out(self, name: KeypointName, radius: float) -> FloatArray | None:
        """Points (N, 3) of what stands out around a keypoint; None where nothing does."""
        cloud = points_around(self._frame, self._pixels[name], radius, self[name])
        if not len(cloud) or np.ptp(cloud[:, 2]) < radius:
            return None
        return cloud[cloud[:, 2] > cloud[:, 2].max() - radius / 2]

    def away(self, name: KeypointName, radius: float, floor: float) -> FloatArray | None:
        """The horizontal unit vector (3,) at a point away from what it is stuck in; None where unclear.

        It comes from the middle of what stands within `radius` metres, seen from above; what stands rises by
        more than `floor` metres above z = 0 of the base frame.
        """
        point = self[name]
        cloud = points_around(self._frame, self._frame.project(point)[0], 1.5 * radius, point)
        offsets = cloud[cloud[:, 2] > floor][:, :2] - point[:2]
        offsets = offsets[np.hypot(*offsets.T) < radius]
        if not len(offsets):
            return None
        way = -offsets.mean(axis=0)
        length = float(np.hypot(*way))
        return np.array([*way / length, 0.0]) if length > ASIDE * radius else None

    def standing(self, name: KeypointName, rise: float) -> FloatArray:
        """The point (3,) at a keypoint that means a thing, or the nearest of one just beside it.

        A thing rises by more than `rise` metres above z = 0 of the base frame.
        """
        point = self[name]
        if point[2] > rise:
            return point
        cloud = point_cloud(self._frame)
        nearest = _nearest(cloud, point, rise)
        return point if nearest is None else cloud[nearest]

    def inside(self, name: KeypointName, radius: float, rise: float) -> FloatArray:
        """The point (3,) at a keypoint, brought within `radius` metres of the middle of what stands there.

        A keypoint that means a container may fall on its rim, or beside it. What stands there rises by more
        than `rise` metres above z = 0 of the base frame and is one region of the image; its floor is the
        lowest that is seen around the point. Where nothing of a container's size stands, the point itself.
        """
        point = self[name]
        cloud = point_cloud(self._frame)
        thing = _region(cloud, point, rise)
        if thing is None:
            return point
        middle = (thing[:, :2].min(axis=0) + thing[:, :2].max(axis=0)) / 2
        off = point[:2] - middle
        xy = middle + off * min(1.0, radius / max(float(np.hypot(*off)), 1e-9))
        near = np.hypot(cloud[..., 0] - xy[0], cloud[..., 1] - xy[1]) < radius
        return np.array([*xy, np.percentile(cloud[near, 2], FLOOR_SHARE)]) if near.any() else point


def lift_keypoints(
    primitive: str,
    needed: Sequence[KeypointName],
    affordance: Affordance,
    frame: RgbdFrame,
    support: float = 0.0,
) -> LiftedKeypoints:
    """Lift every keypoint of an affordance into the base frame.

    A keypoint beyond the edge of the table shows the floor, but means the free space over it: it is taken
    where its ray meets the support plane.

    Raises:
        MissingKeypoints: naming the needed keypoints that are missing.
        PlanError: naming the one without depth.
    """
    present = dict(affordance.keypoints())
    missing = [name for name in needed if name not in present]
    if missing:
        raise MissingKeypoints(
            f"{primitive}: missing keypoint {', '.join(missing)}; it needs {', '.join(needed)}"
        )
    height, width = frame.depth.shape
    pixels: dict[KeypointName, FloatArray] = {}
    points: dict[KeypointName, FloatArray] = {}
    for name, keypoint in present.items():
        pixels[name] = to_pixel(keypoint, width, height)
        try:
            points[name] = lift(frame, pixels[name])
        except DepthError as error:
            raise PlanError(f"{primitive}: {name} cannot be lifted to 3-D: {error}") from None
        if points[name][2] < support - BELOW_SUPPORT:
            points[name] = _on_plane(frame, pixels[name], support)
    return LiftedKeypoints(points, pixels, frame)


def points_around(frame: RgbdFrame, pixel: FloatArray, radius: float, point: FloatArray) -> FloatArray:
    """The points (N, 3) seen in a square of the image, base frame; invalid depths are left out.

    Args:
        frame: to look at.
        pixel: (2,) the square's centre.
        radius: half its side, in metres at the distance of `point`.
        point: (3,) m, base frame.
    """
    distance = float(np.linalg.norm(point - frame.base_from_camera[:3, 3]))
    half = int(np.ceil(radius * frame.intrinsics.fx / distance))
    u, v = (round(float(value)) for value in pixel)
    square = np.s_[max(v - half, 0) : max(v + half + 1, 0), max(u - half, 0) : max(u + half + 1, 0)]
    rays = camera_rays(frame.intrinsics).reshape(*frame.depth.shape, 3)[square]
    depth = frame.depth[square]
    valid = valid_depth(depth)
    return frame.to_base(rays[valid] * depth[valid][:, None])


def horizontal(points: LiftedKeypoints, tail: KeypointName, head: KeypointName, least: float) -> FloatArray:
    """The horizontal unit vector (3,) from one keypoint to another.

    Raises:
        PlanError: naming both, when they lie within `least` metres of each other seen from above.
    """
    return unit(points[head] - points[tail], least, f"{tail} and {head}")


def unit(way: FloatArray, least: float, between: str) -> FloatArray:
    """The horizontal unit vector (3,) along a way (3,).

    Raises:
        PlanError: naming what the way is `between`, when it is shorter than `least` metres seen from above.
    """
    length = float(np.hypot(way[0], way[1]))
    if length < least:
        raise PlanError(f"{between} coincide ({length * 1000:.1f} mm apart): no direction")
    return np.array([way[0] / length, way[1] / length, 0.0])


def require_stroke(points: LiftedKeypoints) -> None:
    """Refuse a stroke pre_contact -> target -> post_contact that turns back by more than 120 degrees.

    Raises:
        PlanError: naming the three.
    """
    there = (points["target"] - points["pre_contact"])[:2]
    onward = (points["post_contact"] - points["target"])[:2]
    if float(there @ onward) < -0.5 * float(np.linalg.norm(there) * np.linalg.norm(onward)):
        raise PlanError("pre_contact, target and post_contact contradict: the stroke would turn back")


def straightened(points: FloatArray) -> FloatArray:
    """Points (N, 3), in order along a stroke, moved onto one level straight line.

    Each point errs on its own, so that a line fitted to all of them (least squares, seen from above) errs
    less than a path from one to the next. Its height is the points' median.
    """
    centre = points[:, :2].mean(axis=0)
    _, _, axes = np.linalg.svd(points[:, :2] - centre)
    along = (points[:, :2] - centre) @ axes[:1].T
    heights = np.full((len(points), 1), np.median(points[:, 2]))
    return np.hstack([centre + along * axes[0], heights])


def _nearest(cloud: FloatArray, point: FloatArray, rise: float) -> tuple[np.intp, ...] | None:
    """Index into a cloud (H, W, 3) of what rises nearest to `point` (3,), if just beside it from above."""
    away = np.hypot(cloud[..., 0] - point[0], cloud[..., 1] - point[1])
    away = np.where(cloud[..., 2] > rise, away, np.inf)
    nearest = np.unravel_index(int(away.argmin()), away.shape)
    return None if away[nearest] > BESIDE else nearest


def _region(cloud: FloatArray, point: FloatArray, rise: float) -> FloatArray | None:
    """Points (N, 3) of the region of a cloud (H, W, 3) that rises at `point` (3,) or just beside it."""
    nearest = _nearest(cloud, point, rise)
    if nearest is None:
        return None
    _, labels = cv2.connectedComponents((cloud[..., 2] > rise).astype(np.uint8))
    labels = np.asarray(labels)
    thing = cloud[labels == labels[nearest]]
    return thing if np.ptp(thing[:, :2], axis=0).max() < LARGEST else None


def _on_plane(frame: RgbdFrame, pixel: FloatArray, height: float) -> FloatArray:
    """Where a pixel's ray meets the horizontal plane z = height of the base frame."""
    ray = frame.base_from_camera[:3, :3] @ frame.intrinsics.unproject(pixel[None], np.ones(1))[0]
    eye = frame.base_from_camera[:3, 3]
    if abs(ray[2]) < 1e-6:
        raise PlanError("grasp_yaw: the camera looks along the table, a direction in the image is undefined")
    return eye + ray * (height - eye[2]) / ray[2]
