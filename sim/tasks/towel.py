"""Hang a towel over the named bar.

The jaws pinch the towel's stiff crease from both sides, carry it over the bar with the crease along it, and
let go; it hangs by friction on the bar (1.0) and its own (1.2), each tail on one side. Racks weigh some 3 kg
and stand free on the table. Nothing is attached to anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import pi

import numpy as np

from ...affordance.schema import Affordance, KeypointName
from ...control.plan import Primitive
from ...perception.frame import FloatArray
from ..objects import Category, ObjectFamily
from ..task import SMALL_CLUTTER, GroundTruth, Judgement, Scene, TaskName
from ..world import TABLE, World
from .layout import Place, Wish, arrange

# Success, read from the simulator's state (metres).
LOWEST = 0.03
NEAR_BAR = 0.06

TWO_RACKS = 0.75  # share of scenes, where a rack has one bar only
# The ridge comes to rest this far above the bar's top: the crease's sides then lean on the bar.
SCALARS = Affordance(target_height=0.016, gripper_width=0.08)
ACROSS = 0.09  # metres from the bar, as seen on the table, to the free points on both of its sides
# Of racks; a bar lies along its rack's x axis.
YAWS = (pi / 4 + 0.2, 5 * pi / 4 - 0.2)
JITTER = 0.012  # metres that the free points may move with the camera before the photograph
# Room for the hand around the towel: half its breadth more than the towel's own half length.
HAND_ROOM = 0.02
SIDES = ("left", "right")
SIDE_PHRASES = (
    "hang the towel on the {side} {noun}",
    "hang the cloth over the {side} {noun}",
    "put the towel on the {side} {noun}",
    "drape the cloth over the {noun} on the {side}",
    "lay the towel over the {side}-hand {noun}",
)
PHRASES = (
    "hang the towel on the {noun}",
    "hang the cloth over the {noun}",
    "put the towel on the {noun}",
    "drape the cloth over the {noun}",
)


@dataclass(frozen=True)
class TowelTask:
    """One towel; one rack, two racks, or one rack with two bars: the instruction says which side is meant."""

    name: TaskName = "towel"
    primitive: Primitive = "hang"
    categories: tuple[Category, ...] = ("towel", "rack")
    clutter_radius: tuple[float, float] = SMALL_CLUTTER

    def build(
        self, world: World, families: Mapping[Category, ObjectFamily], rng: np.random.Generator
    ) -> Scene:
        """Racks stand in the far half of the table, the towel lies in the near half."""
        wishes = [*_rack_wishes(families["rack"], rng), _towel_wish(families["towel"], rng)]
        eye: FloatArray = world.camera.base_from_camera[:3, 3]
        places = arrange(wishes, rng, lambda places: _free_points_on_table(wishes, places, eye))
        *racks, towel = (
            world.load(wish.model, place.position, place.quaternion)
            for wish, place in zip(wishes, places, strict=True)
        )
        bars = [(rack, f"bar_{i}") for rack in racks for i in range(int(rack.model.scalars["bars"]))]
        goal = int(rng.integers(len(bars)))
        rack, bar = bars[goal]
        others = [other for other in racks if other is not rack]
        objects = {"tool": towel, "target": rack} | {f"other_{i}": o for i, o in enumerate(others)}
        noun = str(rng.choice(("bar", "rod", "rack"))) if len(racks) == len(bars) else "bar"
        return Scene(objects, _instruction(noun, SIDES[goal] if len(bars) > 1 else None, rng), {"bar": bar})

    def ground_truth(self, world: World, scene: Scene) -> GroundTruth:
        """Pinch the ridge's middle; target the bar's middle; free points on both sides of the bar's image.

        The free points lie on the table, to either side of where the camera sees the bar against it, on a
        line square to the bar; the first is the one nearer the towel.
        """
        ridge = world.keypoint(scene.objects["tool"], "ridge")
        bar = _bar(world, scene)
        eye: FloatArray = world.camera.base_from_camera[:3, 3]
        sides = _free_points(eye, bar, world.pose(scene.objects["target"])[:3, 1])
        before, after = sorted(sides, key=lambda point: float(np.linalg.norm(point[:2] - ridge[:2])))
        points: dict[KeypointName, FloatArray] = {
            "grasp": ridge,
            "function": ridge,
            "target": bar,
            "pre_contact": before,
            "post_contact": after,
        }
        return GroundTruth(points, SCALARS, world.pose(scene.objects["tool"])[:3, 0])

    def judge(self, world: World, scene: Scene) -> Judgement:
        """The towel, let go, hangs on the named bar with its lowest point more than 3 cm above the table."""
        towel = scene.objects["tool"]
        lowest = float(world.bounds(towel)[0][2])
        ridge = world.keypoint(towel, "ridge")
        rack = scene.objects["target"]
        half = rack.model.scalars["front"]
        off_bar = _distance_to_bar(ridge, _bar(world, scene), world.pose(rack)[:3, 0] * half)
        held = world.touching(towel, world.robot)
        hangs = world.touching(towel, rack.body)
        success = hangs and not held and lowest > LOWEST and off_bar < NEAR_BAR
        measures = {"lowest": lowest, "off_bar": off_bar, "held": float(held), "hangs": float(hangs)}
        return Judgement(success, measures)


def _rack_wishes(family: ObjectFamily, rng: np.random.Generator) -> list[Wish]:
    """One rack, or two of them from left to right."""
    first = family.sample(rng)
    if first.scalars["bars"] > 1:
        return [Wish(first, (0.54, 0.58), (-0.1, 0.1), (-0.3, 0.3))]
    if rng.random() > TWO_RACKS:
        return [Wish(first, (0.5, 0.6), (-0.2, 0.2), YAWS)]
    left, right = (0.14, 0.24), (-0.24, -0.14)
    return [
        Wish(model, (0.5, 0.6), side, YAWS, 0.03)
        for model, side in ((first, left), (family.sample(rng), right))
    ]


def _towel_wish(family: ObjectFamily, rng: np.random.Generator) -> Wish:
    return Wish(family.sample(rng), (0.32, 0.44), (-0.22, 0.22), (-pi, pi), HAND_ROOM)


def _bar(world: World, scene: Scene) -> FloatArray:
    return world.keypoint(scene.objects["target"], str(scene.goal["bar"]))


def _free_points(eye: FloatArray, bar: FloatArray, across: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points on the table to either side of where an eye (3,) sees a bar's middle (3,)."""
    seen = eye + (bar - eye) * eye[2] / (eye[2] - bar[2])
    return seen - ACROSS * across, seen + ACROSS * across


def _free_points_on_table(wishes: Sequence[Wish], places: Sequence[Place], eye: FloatArray) -> bool:
    """Whether all bars of the racks at these places have both free points on the table."""
    for wish, place in zip(wishes, places, strict=True):
        across = np.array([-np.sin(place.yaw), np.cos(place.yaw), 0.0])
        for name, point in wish.model.keypoints.items():
            if name.startswith("bar_"):
                bar = np.array([*place.point(point), point.xyz[2]])
                free = _free_points(eye, bar, across)
                if not all(TABLE.contains(float(x), float(y), JITTER) for x, y, _ in free):
                    return False
    return True


def _distance_to_bar(point: FloatArray, middle: FloatArray, half: FloatArray) -> float:
    """Metres from a point (3,) to a bar that reaches from its middle (3,) by a vector (3,) to both ends."""
    share = np.clip((point - middle) @ half / (half @ half), -1.0, 1.0)
    return float(np.linalg.norm(point - middle - share * half))


def _instruction(noun: str, side: str | None, rng: np.random.Generator) -> str:
    phrases = PHRASES if side is None else SIDE_PHRASES
    return str(rng.choice(phrases)).format(noun=noun, side=side)
