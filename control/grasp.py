"""Grasp refinement from depth: where a keypoint's neighbourhood is narrowest, and clear, for the jaws.

The jaws' projected opening as a function of their direction is the object's width function; its local minima
are antipodal pairs (Blake and Taylor 1993: critical points of the width are the closures without torque), so
looking for a clearly narrower direction near the predicted one finds an antipodal grasp near it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..perception.frame import FloatArray, RgbdFrame
from .keypoints import points_around


@dataclass(frozen=True)
class GraspSettings:
    """How grasps are refined; metres, radians.

    Attributes:
        jaw_limit: widest opening of the jaws.
        finger_width: of a finger across the closing axis.
        finger_thickness: of a finger along the closing axis.
        clearance: kept free on each side of the object while approaching.
        tip_depth: how far below the object's top the finger tips reach.
        least_rise: what rises less than this above the support is the support.
        search: how far from the keypoint the object may be, and how far the grasp may move.
        spacing: between the places that are tried.
        likely: what the keypoint is expected to err by.
        likely_turn: what the yaw is expected to err by.
        firm: narrower by this is worth as much as nearer to the keypoint by `likely`.
        gap: two points farther apart than this along the closing axis belong to different things.
        max_turn: largest change of the predicted yaw.
        turn_step: between candidate yaws.
        clearly: the predicted yaw is kept unless another closes on an object narrower by this.
    """

    jaw_limit: float = 0.08
    finger_width: float = 0.02
    finger_thickness: float = 0.012
    clearance: float = 0.004
    tip_depth: float = 0.025
    least_rise: float = 0.006
    search: float = 0.04
    spacing: float = 0.008
    likely: float = 0.015
    likely_turn: float = 1.0
    firm: float = 0.01
    gap: float = 0.009
    max_turn: float = 1.5
    turn_step: float = 0.1
    clearly: float = 0.008


@dataclass(frozen=True)
class RefinedGrasp:
    """A grasp from above.

    Attributes:
        point: (3,) m, on the object's top, midway between the jaws.
        closing_axis: (3,) unit, horizontal.
        opening: m between the jaws while approaching.
    """

    point: FloatArray
    closing_axis: FloatArray
    opening: float


@dataclass(frozen=True)
class _Closure:
    """What the jaws would close on along one direction: middle (2,), top, width, free room beside it."""

    middle: FloatArray
    top: float
    width: float
    room: float
    turn: float


def refine_grasp(
    frame: RgbdFrame, point: FloatArray, closing_axis: FloatArray, support: float, settings: GraspSettings
) -> RefinedGrasp | None:
    """The best grasp near a predicted one, or None where the depth shows nothing that the jaws could take.

    Args:
        frame: its depth shows the object.
        point: (3,) m, base frame, predicted.
        closing_axis: (3,) unit, horizontal, predicted.
        support: height of the plane that the object lies on, m.
        settings: of the gripper and the search.
    """
    cloud = _object_points(frame, point, support + settings.least_rise, settings)
    if not len(cloud):
        return None
    best, least = None, np.inf
    for centre in _centres(cloud, point, settings):
        closure = _narrowest(cloud, centre, closing_axis, settings)
        if closure is None:
            continue
        moved = float(np.hypot(*(closure.middle - point[:2])))
        cost = (moved / settings.likely) ** 2 + (closure.turn / settings.likely_turn) ** 2
        cost += closure.width / settings.firm
        if moved <= settings.search and cost < least:
            best, least = closure, cost
    if best is None:
        return None
    beside = min(best.room - settings.finger_thickness, (settings.jaw_limit - best.width) / 2)
    refined = np.array([*best.middle, best.top])
    return RefinedGrasp(refined, _turned(closing_axis, best.turn), best.width + 2 * beside)


def _object_points(frame: RgbdFrame, point: FloatArray, floor: float, settings: GraspSettings) -> FloatArray:
    """Points (N, 3) above the floor and within reach of the jaws around `point`."""
    reach = settings.search + settings.jaw_limit
    # Looking down, the square around the point holds whatever stands near it, its upper parts displaced.
    cloud = points_around(frame, frame.project(point)[0], 1.5 * reach, point)
    near = (np.abs(cloud[:, :2] - point[:2]) < reach).all(axis=1) & (cloud[:, 2] > floor)
    return cloud[near]


def _centres(cloud: FloatArray, point: FloatArray, settings: GraspSettings) -> FloatArray:
    """Where to try (N, 2): the object's point nearest to `point`, and its points around, thinned."""
    offsets = cloud[:, :2] - point[:2]
    order = np.argsort(np.hypot(*offsets.T), kind="stable")
    order = order[np.hypot(*offsets[order].T) <= settings.search]
    _, first = np.unique(np.floor(offsets[order] / settings.spacing), axis=0, return_index=True)
    return cloud[order[np.sort(first)], :2]


def _narrowest(
    cloud: FloatArray, centre: FloatArray, closing_axis: FloatArray, settings: GraspSettings
) -> _Closure | None:
    """What the jaws can close on at a centre: along the predicted yaw, or one that is clearly narrower."""
    count = int(settings.max_turn / settings.turn_step)
    turns = settings.turn_step * np.arange(-count, count + 1)
    closures = [_closure(cloud, centre, _turned(closing_axis, t), float(t), settings) for t in turns]
    fitting = [c for c in closures if c is not None and _fits(c, settings)]
    if not fitting:
        return None
    # Nearly equal widths are told apart by the turn.
    best = min(fitting, key=lambda closure: closure.width + 0.004 * abs(closure.turn))
    enough = best.width + settings.clearly
    return next((closure for closure in fitting if closure.turn == 0.0 and closure.width < enough), best)


def _turned(axis: FloatArray, angle: float) -> FloatArray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * axis[0] - s * axis[1], s * axis[0] + c * axis[1], 0.0])


def _closure(
    cloud: FloatArray, centre: FloatArray, axis: FloatArray, turn: float, settings: GraspSettings
) -> _Closure | None:
    """What lies between fingers that straddle `centre` (2,), judged on the slab that the fingers sweep."""
    offsets = cloud[:, :2] - centre
    along, across = offsets @ axis[:2], offsets @ np.array([-axis[1], axis[0]])
    slab = np.abs(across) <= settings.finger_width / 2
    core = slab & (np.abs(along) <= settings.gap)
    if not core.any():
        return None
    # The fingers only meet what is higher than their tips.
    top = float(np.percentile(cloud[core, 2], 90))
    slab &= cloud[:, 2] > top - settings.tip_depth
    order = np.sort(along[slab])
    breaks = np.flatnonzero(np.diff(order) > settings.gap)
    starts, ends = order[np.r_[0, breaks + 1]], order[np.r_[breaks, len(order) - 1]]
    run = int(np.argmin(np.maximum(np.maximum(starts, -ends), 0.0)))
    low, high = float(starts[run]), float(ends[run])
    left = low - float(ends[run - 1]) if run > 0 else np.inf
    right = float(starts[run + 1]) - high if run + 1 < len(starts) else np.inf
    middle = centre + (low + high) / 2 * axis[:2]
    return _Closure(middle, top, high - low, min(left, right), turn)


def _fits(closure: _Closure, settings: GraspSettings) -> bool:
    widest = settings.jaw_limit - 2 * settings.clearance
    return closure.width <= widest and closure.room >= settings.finger_thickness + settings.clearance
