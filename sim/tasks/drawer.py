"""Close the named drawer of a cabinet by pushing its front.

The cabinet (about 8 kg) stands free on the table and is held by friction alone; drawers run on prismatic
joints with limits and 2 N of Coulomb friction. The gripper touches them by contact only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, hypot, pi, radians, sin
from typing import cast

import numpy as np

from ...affordance.schema import Affordance, KeypointName
from ...control.plan import Primitive
from ...perception.frame import FloatArray
from ..objects import Category, LinkPoint, ObjectFamily, ObjectModel, PlacedObject
from ..task import SMALL_CLUTTER, GroundTruth, Judgement, Scene, TaskName
from ..world import TABLE, World, yaw_quaternion

# Success, read from the simulator's state (metres).
CLOSED = 0.01
CABINET_MOVED = 0.02
OTHERS_CLOSED = 0.01

# Smooth fronts: a hand that leaves upward, still pressing, must not lift the cabinet.
FRONT_FRICTION = 0.2
OPENINGS = (0.06, 0.12)
# Yaw of the fronts away from facing the robot.
TURN = radians(45)
# The closed fist's half width, and how far beyond closed it is sent: it comes to press on the closed front.
FIST = 0.01
OVERSHOOT = 0.008
CLEARANCE = 0.06
REACH = (0.33, 0.7)
# Heights above the surface seen at each keypoint: table, rim of the front, floor of the tray.
HEIGHTS = Affordance(pre_height=0.022, target_height=-0.02, post_height=-0.008)
ATTEMPTS = 500
PHRASES = (
    "close the {} drawer",
    "shut the {} drawer",
    "push the {} drawer in",
    "shut the {}-hand drawer",
    "close the drawer on the {}",
    "push in the {} drawer until it is closed",
)
SINGLE_PHRASES = ("close the drawer", "shut the drawer", "push the drawer in", "close the open drawer")
MIDDLE_PHRASES = (*(PHRASES[index] for index in (0, 1, 2, 5)), "close the drawer in the {}")


@dataclass(frozen=True)
class DrawerTask:
    """The instruction names one of one to three open drawers, left and right as the camera sees them."""

    name: TaskName = "drawer"
    primitive: Primitive = "push"
    categories: tuple[Category, ...] = ("cabinet",)
    clutter_radius: tuple[float, float] = SMALL_CLUTTER

    def build(
        self, world: World, families: Mapping[Category, ObjectFamily], rng: np.random.Generator
    ) -> Scene:
        """Place a cabinet with all drawers 6 to 12 cm open so that the push can be reached."""
        model = families["cabinet"].sample(rng)
        count = round(model.scalars["drawers"])
        goal = int(rng.integers(count))
        openings = rng.uniform(OPENINGS[0], min(OPENINGS[1], model.scalars["depth"] - 0.02), count)
        position, yaw = _place(model, openings, goal, rng)
        cabinet = world.load(model, position, yaw_quaternion(yaw))
        for index, opening in enumerate(openings):
            world.set_joint(cabinet, f"drawer_{index}", float(opening))
            link = cabinet.links[f"drawer_{index}"]
            world.bullet.changeDynamics(cabinet.body, link, lateralFriction=FRONT_FRICTION)
        words = _instruction(goal, count, rng)
        return Scene({"target": cabinet}, words, {"drawer": goal, "openings": tuple(openings.tolist())})

    def ground_truth(self, world: World, scene: Scene) -> GroundTruth:
        """Push the middle of the front's rim along the drawer's axis, from free space to where it closes."""
        cabinet, link = _goal_drawer(scene)
        scalars = cabinet.model.scalars
        target = world.keypoint(cabinet, link.replace("drawer", "front"))
        front = scalars["protrusion"]
        before = world.point(cabinet, LinkPoint((front + CLEARANCE, 0.0, 0.0), link))
        travelled = world.joint_position(cabinet, link)
        closed = (front + FIST - OVERSHOOT - travelled, 0.0, scalars["tray_height"])
        after = world.point(cabinet, LinkPoint(closed, link))
        points: dict[KeypointName, FloatArray] = {
            "grasp": target,
            "function": target,
            "target": target,
            "pre_contact": before,
            "post_contact": after,
        }
        return GroundTruth(points, HEIGHTS)

    def judge(self, world: World, scene: Scene) -> Judgement:
        """The named drawer is within 1 cm of closed, the cabinet within 2 cm, no other drawer was closed."""
        cabinet, goal = _goal_drawer(scene)
        opening = world.joint_position(cabinet, goal)
        moved = _moved(world, cabinet)
        others = [
            start - world.joint_position(cabinet, f"drawer_{index}")
            for index, start in enumerate(_openings(scene))
            if f"drawer_{index}" != goal
        ]
        pushed = max(others, default=0.0)
        success = opening < CLOSED and moved < CABINET_MOVED and pushed < OTHERS_CLOSED
        return Judgement(success, {"opening": opening, "cabinet_moved": moved, "others_closed": pushed})


def _goal_drawer(scene: Scene) -> tuple[PlacedObject, str]:
    return scene.objects["target"], f"drawer_{scene.goal['drawer']}"


def _openings(scene: Scene) -> tuple[float, ...]:
    return cast(tuple[float, ...], scene.goal["openings"])


def _moved(world: World, cabinet: PlacedObject) -> float:
    """Largest horizontal displacement of the carcass, over its front's and its back's middle, metres."""
    start = np.eye(4)
    yaw = 2 * np.arctan2(cabinet.start_quaternion[2], cabinet.start_quaternion[3])
    start[:2, :2] = [[cos(yaw), -sin(yaw)], [sin(yaw), cos(yaw)]]
    start[:3, 3] = cabinet.start_position
    ends = np.array([[0.0, 0.0, 0.0, 1.0], [-cabinet.model.scalars["depth"], 0.0, 0.0, 1.0]])
    shift = ends @ (world.pose(cabinet) - start).T
    return float(np.linalg.norm(shift[:, :2], axis=1).max())


def _place(
    model: ObjectModel, openings: FloatArray, goal: int, rng: np.random.Generator
) -> tuple[tuple[float, float, float], float]:
    """A position and yaw with the whole cabinet on the table and the push within reach."""
    front = model.scalars["protrusion"]
    side = model.scalars["width"] / 2
    pitch = 2 * side / len(openings)
    middle = (goal - (len(openings) - 1) / 2) * pitch
    pushes = [(front + opening + CLEARANCE, middle) for opening in (float(openings[goal]), 0.0)]
    corners = [(-model.scalars["depth"], -side), (-model.scalars["depth"], side)]
    corners += [(float(openings.max()) + front, -side), (float(openings.max()) + front, side), pushes[0]]
    for _ in range(ATTEMPTS):
        x, y = rng.uniform((TABLE.near, TABLE.right), (TABLE.far, TABLE.left))
        yaw = pi + float(rng.uniform(-TURN, TURN))
        turn = np.array([[cos(yaw), -sin(yaw)], [sin(yaw), cos(yaw)]])
        on_table = all(TABLE.contains(*(turn @ corner + (x, y)), margin=0.01) for corner in corners)
        if on_table and all(REACH[0] < hypot(*(turn @ push + (x, y))) < REACH[1] for push in pushes):
            return (float(x), float(y), 0.0), yaw
    raise ValueError(f"cabinet of family {model.family!r}: no place on the table lets its drawer be pushed")


def _instruction(goal: int, count: int, rng: np.random.Generator) -> str:
    """Words for drawer `goal`; they count along the cabinet's +y, for the camera from left to right."""
    if count == 1:
        return str(rng.choice(SINGLE_PHRASES))
    if count == 3 and goal == 1:
        return str(rng.choice(MIDDLE_PHRASES)).format(rng.choice(("middle", "centre")))
    side = "left" if goal == 0 else "right"
    return str(rng.choice(PHRASES)).format(side)
