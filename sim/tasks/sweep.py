"""Sweep the trash off the named edge of the table with a brush.

The brush is held by friction alone and the trash moves by contact alone. The instruction names one of three
edges, left, right and far as the camera sees them; the near one is the robot's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot, pi
from typing import Literal, cast

import numpy as np

from ...affordance.schema import Affordance, KeypointName
from ...control.plan import Primitive
from ...perception.frame import FloatArray
from ..objects import Category, ObjectFamily, ObjectModel
from ..task import GroundTruth, Judgement, Scene, TaskName
from ..world import TABLE, World, yaw_quaternion

Edge = Literal["left", "right", "far"]
EDGES: tuple[Edge, ...] = ("left", "right", "far")
OUTWARD: Mapping[Edge, tuple[float, float]] = {"left": (0.0, 1.0), "right": (0.0, -1.0), "far": (1.0, 0.0)}

# Success, read from the simulator's state (metres): how far the trash's middle is beyond the named edge, how
# high the brush's lowest point is above the table.
CLEARED = 0.0
LIFTED = 0.02

# The function point stops this far beyond the edge, and starts this far behind the trash's rim.
BEYOND = 0.05
BEHIND = 0.03
# The brush is led this high above where it lay: pressed onto the table, it would tilt in the jaws.
HOVER = 0.005
# The jaws open by this much more than the handle's width.
OPENING = 0.03
# Distance from the robot's axis within which the hand, pointing down, does its work.
REACH = (0.3, 0.725)
# Kept free around the trash and its way to the edge.
MARGIN = 0.03
ATTEMPTS = 2000
PHRASES = (
    "sweep the trash off the {} edge",
    "sweep the trash off the {} edge of the table",
    "use the brush to sweep the trash off the {} side of the table",
    "brush the trash over the {} edge",
    "push the trash off the {} side with the brush",
    "clean up: sweep the trash over the {} edge",
)


@dataclass(frozen=True)
class _Layout:
    """Where things go: trash (2,), brush origin (2,), yaws and the edge; metres and radians."""

    edge: Edge
    trash: FloatArray
    trash_yaw: float
    brush: FloatArray
    brush_yaw: float


@dataclass(frozen=True)
class SweepTask:
    """The instruction names the edge that the trash is to be swept over."""

    name: TaskName = "sweep"
    primitive: Primitive = "grasp_and_use"
    categories: tuple[Category, ...] = ("brush", "trash")
    # What lies about and is not trash is at least twice as large: one photo cannot tell trash by its shape.
    clutter_radius: tuple[float, float] = (0.045, 0.065)

    def build(
        self, world: World, families: Mapping[Category, ObjectFamily], rng: np.random.Generator
    ) -> Scene:
        """Place brush and trash so that the stroke to the named edge is free and within reach."""
        brush, trash = families["brush"].sample(rng), families["trash"].sample(rng)
        layout = _draw_layout(brush, trash, rng)
        tool = world.load(brush, (*layout.brush.tolist(), 0.001), yaw_quaternion(layout.brush_yaw))
        target = world.load(trash, (*layout.trash.tolist(), 0.001), yaw_quaternion(layout.trash_yaw))
        words = str(rng.choice(PHRASES)).format(layout.edge)
        return Scene({"tool": tool, "target": target}, words, {"edge": layout.edge})

    def ground_truth(self, world: World, scene: Scene) -> GroundTruth:
        """Grasp the handle's middle, push with the head's middle straight to the edge and past it."""
        tool, trash = scene.objects["tool"], scene.objects["target"]
        outward = np.array([*OUTWARD[_edge(scene)], 0.0])
        target = world.keypoint(trash, "target")
        behind = _behind(tool.model, trash.model)
        floor = np.array([target[0], target[1], 0.0])
        points: dict[KeypointName, FloatArray] = {
            "grasp": world.keypoint(tool, "grasp"),
            "function": world.keypoint(tool, "function"),
            "target": target,
            "pre_contact": floor - behind * outward,
            "post_contact": floor + (_to_edge(target, _edge(scene)) + BEYOND) * outward,
        }
        opening = tool.model.scalars["grasp_width"] + OPENING
        scalars = Affordance(pre_height=HOVER, target_height=HOVER, post_height=HOVER, gripper_width=opening)
        return GroundTruth(points, scalars, closing_axis=world.pose(tool)[:3, 1])

    def judge(self, world: World, scene: Scene) -> Judgement:
        """The trash's middle is beyond the named edge and the brush is held above the table."""
        tool, trash = scene.objects["tool"], scene.objects["target"]
        position = world.keypoint(trash, "target")
        beyond = -_to_edge(position, _edge(scene))
        lifted = float(world.bounds(tool)[0][2])
        held = world.touching(tool, world.robot)
        moved = float(np.hypot(*(position - trash.start_position)[:2]))
        success = beyond > CLEARED and lifted > LIFTED and held
        return Judgement(success, {"beyond": beyond, "lifted": lifted, "held": float(held), "moved": moved})


def _edge(scene: Scene) -> Edge:
    return cast(Edge, scene.goal["edge"])


def _to_edge(point: FloatArray, edge: Edge) -> float:
    """Metres from a point to an edge, negative beyond it."""
    if edge == "far":
        return TABLE.far - float(point[0])
    return TABLE.left - float(point[1]) if edge == "left" else float(point[1]) - TABLE.right


def _behind(brush: ObjectModel, trash: ObjectModel) -> float:
    """How far behind the trash's middle the stroke starts."""
    return trash.scalars["radius"] + brush.scalars["head_depth"] / 2 + BEHIND


def _lever(brush: ObjectModel) -> float:
    """From the grasp to the function point."""
    return brush.keypoints["function"].xyz[0] - brush.keypoints["grasp"].xyz[0]


def _draw_layout(brush: ObjectModel, trash: ObjectModel, rng: np.random.Generator) -> _Layout:
    """The first of many random layouts that fits."""
    edge = EDGES[int(rng.integers(len(EDGES)))]
    for _ in range(ATTEMPTS):
        layout = _Layout(
            edge,
            rng.uniform((TABLE.near, TABLE.right), (TABLE.far, TABLE.left)),
            float(rng.uniform(-pi, pi)),
            rng.uniform((TABLE.near, TABLE.right), (TABLE.far, TABLE.left)),
            float(rng.uniform(-pi, pi)),
        )
        if _stroke_fits(layout, brush, trash) and _brush_fits(layout, brush, trash):
            return layout
    raise ValueError(
        f"no layout for brush {brush.family!r} and trash {trash.family!r} in {ATTEMPTS} attempts"
    )


def _stroke_fits(layout: _Layout, brush: ObjectModel, trash: ObjectModel) -> bool:
    """Whether the hand reaches both ends of the stroke and the trash lies well on the table."""
    outward = np.array(OUTWARD[layout.edge])
    lever, behind = _lever(brush), _behind(brush, trash)
    start = layout.trash - (behind + lever) * outward
    end = layout.trash + (_to_edge(layout.trash, layout.edge) + BEYOND - lever) * outward
    reached = all(REACH[0] < hypot(*hand) < REACH[1] for hand in (start, end))
    first = layout.trash - behind * outward
    return reached and TABLE.contains(*layout.trash, margin=0.06) and TABLE.contains(*first, margin=0.02)


def _brush_fits(layout: _Layout, brush: ObjectModel, trash: ObjectModel) -> bool:
    """Whether the brush lies on the table, within reach, and clear of the trash and its way to the edge."""
    axis = np.array([np.cos(layout.brush_yaw), np.sin(layout.brush_yaw)])
    side = np.array([-axis[1], axis[0]])
    tail = layout.brush - brush.scalars["handle_length"] / 2 * axis
    head = layout.brush + brush.keypoints["function"].xyz[0] * axis
    tips = (
        head
        + brush.scalars["head_depth"] * 0.6 * axis
        + np.outer((-0.5, 0.5), brush.scalars["head_width"] * side)
    )
    on_table = all(TABLE.contains(*point, margin=0.01) for point in (tail, *tips))
    grasp = layout.brush + brush.keypoints["grasp"].xyz[0] * axis
    if not on_table or not REACH[0] < hypot(*grasp) < REACH[1] - 0.045:
        return False
    corners = np.array([tail, layout.brush, *tips, head])
    return _clear_of_stroke(corners, layout, trash.scalars["radius"] + MARGIN)


def _clear_of_stroke(points: FloatArray, layout: _Layout, width: float) -> bool:
    """Whether points (N, 2) are off the strip, 2 `width` wide, from just behind the trash to the edge."""
    outward = np.array(OUTWARD[layout.edge])
    offsets = points - layout.trash
    along, across = offsets @ outward, np.abs(offsets @ np.array([-outward[1], outward[0]]))
    return bool(np.all((along < -width) | (across > width)))
