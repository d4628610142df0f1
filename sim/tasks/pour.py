"""Pour the balls of a scoop into the named container.

The jaws hold the scoop's handle by friction alone (finger pads 1.5, handle 1.0, flat on flat, so that the
pads also resist the pan's weight turning it about the closing axis). The balls (8 to 10 of 2 g, friction
0.25, rolling friction 0.002 m) lie loose in the pan, whose floor rises toward the lip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import atan2, hypot, pi, radians, remainder

import numpy as np

from ...affordance.schema import Affordance, KeypointName
from ...control.plan import Primitive
from ...perception.frame import FloatArray
from ..families_train.pour import BALL_RADIUS, ball
from ..objects import Category, ObjectFamily, ObjectModel, PlacedObject
from ..task import SMALL_CLUTTER, GroundTruth, Judgement, Scene, TaskName
from ..world import World
from .layout import Place, Wish, arrange

# Success, read from the simulator's state.
LEAST_SHARE = 0.6
RIM_MARGIN = 0.01  # metres above the rim that still count as inside: a heap

TWO_CONTAINERS = 0.8  # share of scenes
BALLS = (8, 10)
TILT = radians(60)
CLEARANCE = 0.03  # metres between rim and lip
LEAD = 0.015  # metres that the lip stops short of the container's middle: balls fly on
SHORT = 0.09  # metres from the container's middle back to the free point
# Distance from the robot's axis within which the hand works pointing down; how far beyond a container's
# middle its wrist comes when tilted, and how far out it may be then; how near the hand may be behind the free
# point.
REACH = (0.42, 0.64)
LEAN = 0.1
LEANING_REACH = 0.65
BEHIND_REACH = 0.31
LEAST_AHEAD = 0.35  # cosine between the way of pouring and straight ahead
MOST_TURN = radians(110)  # from how the scoop lies to how it pours: the last joint turns 330 degrees in all
HAND_ROOM = 0.03
ROWS = 2  # of balls in one layer
LIFT = BALL_RADIUS + 0.004  # metres, the first layer's centres above the pan's floor
SIDES = ("left", "right")
SIDE_PHRASES = (
    "pour it into the {side} {noun}",
    "pour the balls into the {noun} on the {side}",
    "empty the scoop into the {side} {noun}",
    "tip the contents into the {side}-hand {noun}",
    "pour everything into the {noun} on the {side}",
)
PHRASES = (
    "pour it into the {noun}",
    "pour the balls into the {noun}",
    "empty the scoop into the {noun}",
    "tip the contents into the {noun}",
)


@dataclass(frozen=True)
class PourTask:
    """A full scoop, one container or two alike; the instruction says which."""

    name: TaskName = "pour"
    primitive: Primitive = "pour"
    categories: tuple[Category, ...] = ("scoop", "bowl")
    clutter_radius: tuple[float, float] = SMALL_CLUTTER

    def build(
        self, world: World, families: Mapping[Category, ObjectFamily], rng: np.random.Generator
    ) -> Scene:
        """Containers stand in the far half of the table, the scoop in the near half; balls fall into it."""
        scoop_model = families["scoop"].sample(rng)
        wishes = [
            *_container_wishes(families["bowl"], rng),
            Wish(scoop_model, (0.28, 0.55), (-0.3, 0.3), (-pi, pi), HAND_ROOM),
        ]
        places = arrange(wishes, rng, lambda places: _within_reach(places, scoop_model))
        *containers, scoop = (
            world.load(wish.model, place.position, place.quaternion)
            for wish, place in zip(wishes, places, strict=True)
        )
        balls = _fill(world, scoop, rng)
        goal = int(rng.integers(len(containers)))
        objects = {"tool": scoop, "target": containers[goal]}
        others = [container for container in containers if container is not containers[goal]]
        objects |= {f"other_{index}": one for index, one in enumerate(others)}
        objects |= {f"ball_{index}": one for index, one in enumerate(balls)}
        noun = str(rng.choice(("bowl", "container")))
        side = SIDES[goal] if len(containers) > 1 else None
        return Scene(objects, _instruction(noun, side, rng), {"balls": len(balls)})

    def ground_truth(self, world: World, scene: Scene) -> GroundTruth:
        """Grasp the handle, bring the lip over the container's floor, a little short of its middle, tilt."""
        scoop, target = scene.objects["tool"], scene.objects["target"]
        handle, lip = world.keypoint(scoop, "handle"), world.keypoint(scoop, "lip")
        centre = world.keypoint(target, "centre")
        way = (centre - handle) * (1.0, 1.0, 0.0)
        way = way / np.linalg.norm(way)
        before = centre - SHORT * way
        points: dict[KeypointName, FloatArray] = {
            "grasp": handle,
            "function": lip,
            "target": centre - LEAD * way,
            "pre_contact": np.array([before[0], before[1], 0.0]),
        }
        height = target.model.scalars["height"] - float(centre[2]) + CLEARANCE
        scalars = Affordance(target_height=height, tool_tilt=TILT, gripper_width=0.08)
        return GroundTruth(points, scalars, world.pose(scoop)[:3, 1])

    def judge(self, world: World, scene: Scene) -> Judgement:
        """At least 60 % of the balls lie in the named container."""
        balls = [placed for role, placed in scene.objects.items() if role.startswith("ball_")]
        share = _share_inside(world, balls, scene.objects["target"])
        wrong = [
            _share_inside(world, balls, placed)
            for role, placed in scene.objects.items()
            if role.startswith("other_")
        ]
        return Judgement(share >= LEAST_SHARE, {"inside": share, "inside_other": max(wrong, default=0.0)})


def _container_wishes(family: ObjectFamily, rng: np.random.Generator) -> list[Wish]:
    """One container, or two of them from left to right."""
    two = rng.random() < TWO_CONTAINERS
    spans = ((0.08, 0.26), (-0.26, -0.08)) if two else ((-0.24, 0.24),)
    return [Wish(family.sample(rng), (0.4, 0.62), span, (-pi, pi), 0.02) for span in spans]


def _within_reach(places: Sequence[Place], scoop: ObjectModel) -> bool:
    """Whether the arm can pour into every container from the scoop's side; the scoop's place is the last.

    Tilted, the hand leans over the container, away from the scoop; before, it is behind the free point.
    """
    *containers, tool = places
    handle = tool.point(scoop.keypoints["handle"])
    if not REACH[0] < hypot(*handle) < REACH[1]:
        return False
    lever = scoop.keypoints["lip"].xyz[0] - scoop.keypoints["handle"].xyz[0]
    for place in containers:
        centre = np.array([place.x, place.y])
        way = (centre - handle) / max(float(np.linalg.norm(centre - handle)), 1e-6)
        turn = remainder(atan2(way[1], way[0]) - tool.yaw, 2 * pi)
        if way[0] < LEAST_AHEAD or abs(turn) > MOST_TURN:
            return False
        leaning, level, behind = (centre + far * way for far in (LEAN, -lever, -lever - SHORT))
        if hypot(*leaning) > LEANING_REACH or hypot(*level) < REACH[0] or hypot(*behind) < BEHIND_REACH:
            return False
    return True


def _fill(world: World, scoop: PlacedObject, rng: np.random.Generator) -> tuple[PlacedObject, ...]:
    """Put balls into the pan, in layers of rows across it, each a little above the last."""
    count, pitch = int(rng.integers(BALLS[0], BALLS[1] + 1)), 2 * BALL_RADIUS + 0.001
    model = ball(_ball_colour(rng))
    across = max(1, int(scoop.model.scalars["fill_width"] // pitch))
    pose, fill = world.pose(scoop), np.array(scoop.model.keypoints["fill"].xyz)
    balls = []
    for index in range(count):
        layer, rest = divmod(index, across * ROWS)
        row, column = divmod(rest, across)
        offset = (row * pitch, (column - (across - 1) / 2) * pitch, LIFT + row * 0.004 + layer * pitch)
        local = fill + np.array(offset)
        balls.append(world.load(model, pose[:3, :3] @ local + pose[:3, 3]))
    return tuple(balls)


def _ball_colour(rng: np.random.Generator) -> tuple[float, float, float, float]:
    red, green, blue = rng.uniform(0.2, 1.0, 3)
    return float(red), float(green), float(blue), 1.0


def _share_inside(world: World, balls: list[PlacedObject], target: PlacedObject) -> float:
    """Share of the balls whose centres are inside a container, up to a little above its rim."""
    pose = world.pose(target)
    centres = np.array([world.pose(placed)[:3, 3] for placed in balls])
    local: FloatArray = (centres - pose[:3, 3]) @ pose[:3, :3]
    scalars = target.model.scalars
    x, y = local[:, 0] / scalars["half_x"], local[:, 1] / scalars["half_y"]
    within = np.hypot(x, y) <= 1 if scalars["round"] else np.maximum(np.abs(x), np.abs(y)) <= 1
    low_enough = (local[:, 2] > 0) & (local[:, 2] < scalars["height"] + RIM_MARGIN)
    return float(np.mean(within & low_enough))


def _instruction(noun: str, side: str | None, rng: np.random.Generator) -> str:
    phrases = PHRASES if side is None else SIDE_PHRASES
    return str(rng.choice(phrases)).format(noun=noun, side=side)
