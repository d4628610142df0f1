"""Distractors: things that lie about without lying in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

import numpy as np

from ..affordance.schema import KeypointName
from ..perception.frame import FloatArray
from .objects import ObjectFamily, ObjectModel, PlacedObject
from .task import GroundTruth
from .world import TABLE, World, yaw_quaternion

# Kept between clutter and other objects, and between clutter and the lines along which things move (metres).
GAP = 0.02
CLEARANCE = 0.09
ATTEMPTS = 60


def scatter(
    world: World,
    truth: GroundTruth,
    families: Sequence[ObjectFamily],
    radii: tuple[float, float],
    count: int,
    rng: np.random.Generator,
) -> tuple[PlacedObject, ...]:
    """Place up to `count` distractors, fewer where there is no room.

    Args:
        world: with the task's objects in place.
        truth: the motion that must stay possible.
        families: of clutter.
        radii: least and greatest reach of a distractor from its middle, metres.
        count: how many are wanted.
        rng: source of all draws.
    """
    lines = _lines(truth.points)
    placed: list[PlacedObject] = []
    for _ in range(count):
        model = _of_size(families, radii, rng)
        if model is None:
            break
        radius = model.scalars["radius"]
        boxes = [world.bounds(other) for other in world.objects()]
        spot = _free_spot(lines, boxes, radius, rng)
        if spot is not None:
            position = (float(spot[0]), float(spot[1]), 0.002)
            placed.append(world.load(model, position, yaw_quaternion(float(rng.uniform(-np.pi, np.pi)))))
    return tuple(placed)


def _of_size(
    families: Sequence[ObjectFamily], radii: tuple[float, float], rng: np.random.Generator
) -> ObjectModel | None:
    for _ in range(ATTEMPTS):
        model = families[int(rng.integers(len(families)))].sample(rng)
        if radii[0] <= model.scalars["radius"] <= radii[1]:
            return model
    return None


def _lines(points: Mapping[KeypointName, FloatArray]) -> list[tuple[FloatArray, FloatArray]]:
    """Segments (2,)-(2,) that the hand or what it holds passes over at working height."""
    flat = {name: point[:2] for name, point in points.items()}
    order = cast(tuple[KeypointName, ...], ("pre_contact", "target", "post_contact"))
    stroke = [flat[name] for name in order if name in flat]
    lines = list(pairwise(stroke))
    if "grasp" in flat:
        lines.append((flat["grasp"], flat.get("function", flat["grasp"])))
    if "grasp" in flat and "function" in flat and len(stroke) >= 2:
        # The hand trails behind the function point, so the stroke's line goes on behind its start.
        way = stroke[-1] - stroke[0]
        reach = float(np.linalg.norm(flat["function"] - flat["grasp"]))
        lines.append((stroke[0], stroke[0] - reach * way / max(float(np.linalg.norm(way)), 1e-6)))
    return lines


def _free_spot(
    lines: Sequence[tuple[FloatArray, FloatArray]],
    boxes: Sequence[tuple[FloatArray, FloatArray]],
    radius: float,
    rng: np.random.Generator,
) -> FloatArray | None:
    for _ in range(ATTEMPTS):
        spot = rng.uniform((TABLE.near, TABLE.right), (TABLE.far, TABLE.left))
        if not TABLE.contains(float(spot[0]), float(spot[1]), radius + 0.01):
            continue
        clear = all(_distance(spot, *line) > CLEARANCE + radius for line in lines)
        if clear and all(_outside(spot, low, high) > GAP + radius for low, high in boxes):
            return spot
    return None


def _distance(point: FloatArray, start: FloatArray, end: FloatArray) -> float:
    """From a point (2,) to a segment."""
    way = end - start
    share = np.clip((point - start) @ way / max(float(way @ way), 1e-12), 0, 1)
    return float(np.linalg.norm(point - start - share * way))


def _outside(point: FloatArray, low: FloatArray, high: FloatArray) -> float:
    """From a point (2,) to an axis-aligned box, 0 inside."""
    gap = np.maximum(np.maximum(low[:2] - point, point - high[:2]), 0)
    return float(np.linalg.norm(gap))
