"""Pull the named stick out of its host.

What holds a stick, exactly: two Bullet constraints between host and stick. A prismatic one stands for the
socket's walls: the stick can slide along the socket only, up to `WALLS` newtons. A fixed one with its force
limited to `HOLD` newtons stands for the spring contacts: it pulls the stick back to its seat, and a straight
pull overcomes it, because it is weaker than the friction of the 1.5 kg host on the table (about 13 N).
Drawn out by more than `TRAVEL`, the stick is free: both limits become zero. Nothing gives sideways, so an
oblique pull drags the host across the table before the stick is out. A hook before every physics step sets
the limits from the two poses alone, so that restoring a saved state restores the hold. The gripper holds the
stick by friction only. Stick and host do not collide with each other, because the plug fills the socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, hypot, pi, sin

import numpy as np
import pybullet as pb
from scipy.spatial.transform import Rotation

from ...affordance.schema import Affordance, KeypointName
from ...control.plan import Primitive
from ...perception.frame import FloatArray
from ..objects import Category, ObjectFamily, ObjectModel, PlacedObject
from ..task import SMALL_CLUTTER, GroundTruth, Judgement, Scene, TaskName
from ..world import TABLE, World, yaw_quaternion

# The hold: newtons and metres.
HOLD = 3.0
WALLS = 200.0
TRAVEL = 0.022
# Success, read from the simulator's state (metres).
STICK_MOVED = 0.03
HOST_MOVED = 0.02

# Metres from the grasp along the pull: just past the stick's tip, where to pull to, and a bit further.
PATH = (0.065, 0.1, 0.115)
# Heights of the pull above the table.
HEIGHTS = Affordance(pre_height=0.024, target_height=0.024, post_height=0.024, gripper_width=0.06)
# Yaw of the sockets away from facing the robot.
TURN = 0.55 * pi
REACH = (0.31, 0.68)
# Two sticks' names differ clearly: their distance across is this much longer than along, or the reverse.
CLEAR = 1.6
ATTEMPTS = 500
PHRASES = (
    "unplug the {} stick",
    "pull out the {} stick",
    "remove the {} USB stick",
    "take the {} stick out of its socket",
    "pull the {} plug",
)
SINGLE_PHRASES = ("unplug the stick", "pull out the stick", "remove the USB stick", "pull the plug")


@dataclass(frozen=True)
class UnplugTask:
    """The instruction names one of one or two sticks: left, right, upper or lower as the camera sees them."""

    name: TaskName = "unplug"
    primitive: Primitive = "pull"
    categories: tuple[Category, ...] = ("host", "stick")
    clutter_radius: tuple[float, float] = SMALL_CLUTTER

    def build(
        self, world: World, families: Mapping[Category, ObjectFamily], rng: np.random.Generator
    ) -> Scene:
        """Place a host with a stick in every socket so that the named one can be gripped and drawn out."""
        host_model = families["host"].sample(rng)
        count = round(host_model.scalars["sockets"])
        stick_model = families["stick"].sample(rng)
        goal = int(rng.integers(count))
        position, yaw = _place(host_model, stick_model, goal, rng)
        host = world.load(host_model, position, yaw_quaternion(yaw))
        objects = {"host": host}
        for index in range(count):
            socket_yaw = yaw + host_model.scalars[f"socket_{index}_yaw"]
            mouth = world.keypoint(host, f"socket_{index}")
            stick = world.load(stick_model, mouth, yaw_quaternion(socket_yaw))
            _plug_in(world, host, stick)
            objects["target" if index == goal else f"other_{index}"] = stick
        names = _names([world.keypoint(stick, "grasp") for stick in list(objects.values())[1:]])
        return Scene(objects, _instruction(names, goal, rng), {"socket": goal})

    def ground_truth(self, world: World, scene: Scene) -> GroundTruth:
        """Grip the stick across its axis and pull it straight out, at its height above the table."""
        stick = scene.objects["target"]
        grasp = world.keypoint(stick, "grasp")
        along = world.pose(stick)[:3, 0] * (1, 1, 0)
        along /= np.linalg.norm(along)
        on_table = grasp * (1, 1, 0)
        before, target, after = (on_table + distance * along for distance in PATH)
        points: dict[KeypointName, FloatArray] = {
            "grasp": grasp,
            "function": grasp,
            "target": target,
            "pre_contact": before,
            "post_contact": after,
        }
        return GroundTruth(points, HEIGHTS, np.array([-along[1], along[0], 0.0]))

    def judge(self, world: World, scene: Scene) -> Judgement:
        """The named stick is out of its socket and at least 3 cm away; the host moved less than 2 cm."""
        host, stick = scene.objects["host"], scene.objects["target"]
        socket = world.keypoint(host, f"socket_{scene.goal['socket']}")
        origin = world.pose(stick)[:3, 3]
        drawn = float(np.linalg.norm(origin - socket))
        stick_moved = float(np.linalg.norm(origin - stick.start_position))
        host_moved = max(
            float(np.linalg.norm(world.pose(host)[:3, 3] - host.start_position)),
            float(np.linalg.norm(socket - stick.start_position)),
        )
        success = drawn > TRAVEL and stick_moved >= STICK_MOVED and host_moved < HOST_MOVED
        return Judgement(success, {"drawn": drawn, "stick_moved": stick_moved, "host_moved": host_moved})


def _plug_in(world: World, host: PlacedObject, stick: PlacedObject) -> None:
    """Join a stick, placed in its socket, to the host by the hold described at the top of this file."""
    bullet = world.bullet
    bullet.setCollisionFilterPair(host.body, stick.body, -1, -1, 0)

    def relative() -> tuple[tuple[float, ...], tuple[float, ...]]:
        # Between centres of mass: what Bullet's constraints are made of, and much cheaper than link frames.
        inverse = bullet.invertTransform(*bullet.getBasePositionAndOrientation(host.body))
        return bullet.multiplyTransforms(*inverse, *bullet.getBasePositionAndOrientation(stick.body))

    seat, turn = relative()
    # Both frames' axes are Bullet's choice (principal axes), so the way out is turned into the host's.
    base_from_host = Rotation.from_quat(bullet.getBasePositionAndOrientation(host.body)[1])
    out = base_from_host.inv().apply(world.pose(stick)[:3, 0]).tolist()
    ends = (host.body, -1, stick.body, -1)
    walls = bullet.createConstraint(*ends, pb.JOINT_PRISMATIC, out, seat, (0, 0, 0), turn)
    friction = bullet.createConstraint(*ends, pb.JOINT_FIXED, (0, 0, 0), seat, (0, 0, 0), turn)
    was_held: bool | None = None

    def hold() -> None:
        nonlocal was_held
        position, _ = relative()
        held = sum((x - x0) * axis for x, x0, axis in zip(position, seat, out, strict=True)) < TRAVEL
        if held != was_held:
            was_held = held
            bullet.changeConstraint(walls, maxForce=WALLS if held else 0.0)
            bullet.changeConstraint(friction, maxForce=HOLD if held else 0.0)

    world.add_step_hook(hold)


def _place(
    host: ObjectModel, stick: ObjectModel, goal: int, rng: np.random.Generator
) -> tuple[tuple[float, float, float], float]:
    """A position and yaw with everything on the table, the pull in reach, and the sticks' names clear."""
    sockets = [
        (np.array(host.keypoints[f"socket_{index}"].xyz[:2]), host.scalars[f"socket_{index}_yaw"])
        for index in range(round(host.scalars["sockets"]))
    ]
    grasp = stick.keypoints["grasp"].xyz[0]
    mouth, out = sockets[goal]
    ray = np.array([cos(out), sin(out)])
    pull = [mouth + ray * grasp, mouth + ray * (grasp + PATH[-1])]
    for _ in range(ATTEMPTS):
        x, y = rng.uniform((TABLE.near, TABLE.right), (TABLE.far, TABLE.left))
        yaw = pi + float(rng.uniform(-TURN, TURN))
        turn = np.array([[cos(yaw), -sin(yaw)], [sin(yaw), cos(yaw)]])
        mouths = [turn @ socket + (x, y) for socket, _ in sockets]
        ends = [turn @ point + (x, y) for point in pull]
        inside = TABLE.contains(x, y, 0.11) and all(TABLE.contains(*end, margin=0.02) for end in ends)
        if inside and all(REACH[0] < hypot(*end) < REACH[1] for end in ends) and _clear(mouths):
            return (float(x), float(y), 0.0), yaw
    raise ValueError(f"host of family {host.family!r}: no place on the table lets its stick be drawn out")


def _clear(points: list[FloatArray]) -> bool:
    """Whether two points are told apart by either left and right or upper and lower."""
    if len(points) < 2:
        return True
    across, along = sorted(np.abs(points[0] - points[1])[:2], reverse=True)
    return bool(across > CLEAR * along)


def _names(points: list[FloatArray]) -> list[str]:
    """What the camera sees the points as; image right is -y, image up is +x of the base frame."""
    if len(points) == 1:
        return [""]
    dx, dy = (points[0] - points[1])[:2]
    if abs(dy) > abs(dx):
        return ["left", "right"] if dy > 0 else ["right", "left"]
    return ["upper", "lower"] if dx > 0 else ["lower", "upper"]


def _instruction(names: list[str], goal: int, rng: np.random.Generator) -> str:
    if len(names) == 1:
        return str(rng.choice(SINGLE_PHRASES))
    return str(rng.choice(PHRASES)).format(names[goal])
