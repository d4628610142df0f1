"""Motion primitives: a keypoint affordance and the frame it was seen in become Cartesian waypoints.

Every primitive is a short function over the same helpers. Notation of the tool transform: with the grasp
pose's TCP position g and rotation R_g, and a function point f seen at grasp time, bringing f to a point q
under the hand's rotation R_c puts the TCP at q + R_c R_g^T (g - f) (MOKA, Fang et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation

from ..affordance.schema import Affordance, KeypointName
from ..perception.frame import FloatArray, RgbdFrame
from .grasp import GraspSettings, refine_grasp
from .keypoints import LiftedKeypoints, horizontal, lift_keypoints, require_stroke, straightened, unit
from .plan import MotionPlan, PhaseName, PlanError, Primitive, Waypoint

UP = np.array([0.0, 0.0, 1.0])
# What lies along the way of a stroke, in order, and of a pull.
STROKE: tuple[KeypointName, ...] = ("pre_contact", "target", "post_contact")


@dataclass(frozen=True)
class PrimitiveSettings:
    """Heights, depths and speeds of the primitives; metres, seconds, radians.

    Attributes:
        support_height: of the table plane in the base frame.
        grasp_depth: how far the TCP goes below the surface seen at the grasp point.
        min_height: least height of the TCP above the support; the finger tips end 7 mm below it.
        approach_height: how far above a grasp or contact the hand comes in and leaves.
        lift_height: how far a grasped object is lifted before it is carried.
        gripper_width: opening when the affordance names none.
        squeeze_width: opening the jaws are told to close to; what lies between them stops them earlier.
        fast: m/s in free space.
        slow: m/s near contact.
        use: m/s of a stroke, a push or a placement.
        guarded: m/s of a push that contact is to stop.
        overtravel: m past post-contact that such a push may go on for.
        pull: m/s of a pull.
        hang_clearance: m above where a cloth is wanted that it is let go; pressed onto the rod, it opens the
            jaws.
        centring: m; how far from the middle of a container may be poured into it.
        least_rise: m; what rises less than this above the support is the support.
        pour: m/s of the TCP while tilting; also carrying a scoop.
        pour_steps: waypoints along the arc of a tilt.
        pour_hold: seconds of holding still after a tilt.
        default_tilt: of a pour when the affordance names none.
        ridge_radius: m; how far a rod may lie beside the keypoint that means it.
        across_rod: least cosine between the line across a rod as told and as seen for the latter to count.
        least_direction: m; two points nearer than this give no direction.
        along_fingers: least cosine between a pull and the fingers' plane for the pull to follow that plane.
        away: least cosine between a pull as told and the way away from what the held thing is stuck in.
        pull_look: m around a grasp in which the depth tells what the held thing is stuck in.
        grasp: refinement of the grasp from depth; None keeps the predicted one.
    """

    support_height: float = 0.0
    grasp_depth: float = 0.02
    min_height: float = 0.01
    approach_height: float = 0.12
    lift_height: float = 0.12
    gripper_width: float = 0.08
    squeeze_width: float = 0.0
    fast: float = 0.5
    slow: float = 0.15
    use: float = 0.25
    guarded: float = 0.1
    overtravel: float = 0.05
    pull: float = 0.08
    hang_clearance: float = 0.006
    centring: float = 0.01
    least_rise: float = 0.006
    pour: float = 0.2
    pour_steps: int = 6
    pour_hold: float = 1.0
    default_tilt: float = 0.5
    ridge_radius: float = 0.06
    across_rod: float = 0.5
    least_direction: float = 0.01
    along_fingers: float = 0.5
    away: float = 0.85
    pull_look: float = 0.06
    grasp: GraspSettings | None = field(default_factory=GraspSettings)


def plan(
    primitive: Primitive,
    affordance: Affordance,
    frame: RgbdFrame,
    settings: PrimitiveSettings | None = None,
    tool_yaw: float = 0.0,
) -> MotionPlan:
    """Instantiate a primitive.

    Args:
        primitive: which one.
        affordance: keypoints as fractions of the frame's image; heights and angles as its schema says.
        frame: what the keypoints were seen in; its depth lifts them.
        settings: heights, depths and speeds.
        tool_yaw: rad; turns a carried tool away from the direction that the keypoints give it.

    Returns:
        Waypoints of the TCP in the base frame.

    Raises:
        PlanError: naming the keypoints that are missing, cannot be lifted, coincide or contradict each other.
    """
    settings = settings or PrimitiveSettings()
    needed, build = _PRIMITIVES[primitive]
    points = lift_keypoints(primitive, needed, affordance, frame, settings.support_height)
    return MotionPlan(primitive, tuple(build(_Scene(affordance, frame, points, settings, tool_yaw))))


@dataclass(frozen=True)
class _Scene:
    """All that a primitive's function needs."""

    affordance: Affordance
    frame: RgbdFrame
    points: LiftedKeypoints
    settings: PrimitiveSettings
    tool_yaw: float

    def raised(self, name: KeypointName, height: float | None) -> FloatArray:
        """The surface point seen at a keypoint, raised by `height`, kept off the support."""
        point = self.points[name] + (height or 0.0) * UP
        floor = self.settings.support_height + self.settings.min_height
        return np.array([point[0], point[1], max(point[2], floor)])

    def direction(self, tail: KeypointName, head: KeypointName) -> FloatArray:
        """Horizontal unit vector (3,) from one keypoint to another."""
        return horizontal(self.points, tail, head, self.settings.least_direction)


@dataclass(frozen=True)
class _Grasp:
    """The hand at the grasp, and how it will carry the function point."""

    base_from_tcp: FloatArray
    surface: FloatArray
    function: FloatArray
    width: float
    floor: float

    def carrying(self, function_goal: FloatArray, turn: FloatArray) -> FloatArray:
        """The TCP pose (4, 4) that brings the function point to a goal (3,), turned by R_c R_g^T (3, 3)."""
        tcp = function_goal + turn @ (self.base_from_tcp[:3, 3] - self.function)
        tcp[2] = max(tcp[2], self.floor)
        return pose(turn @ self.base_from_tcp[:3, :3], tcp)


def pose(rotation: FloatArray, position: FloatArray) -> FloatArray:
    """A transform (4, 4) from a rotation (3, 3) and a position (3,)."""
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, position
    return transform


def pointing_down(closing_axis: FloatArray) -> FloatArray:
    """The hand's rotation (3, 3) with z straight down and y along a horizontal unit vector (3,)."""
    return np.stack([np.cross(closing_axis, -UP), closing_axis, -UP], axis=1)


def raised_by(base_from_tcp: FloatArray, height: float) -> FloatArray:
    """A pose (4, 4) moved up by `height` metres."""
    return pose(base_from_tcp[:3, :3], base_from_tcp[:3, 3] + height * UP)


def _grasp(scene: _Scene, closing: FloatArray | None = None) -> _Grasp:
    """Where and how the hand closes: as predicted, or as the depth around there refines it.

    Args:
        scene: what is known.
        closing: (3,) instead of the predicted closing axis.
    """
    settings, opening = scene.settings, scene.affordance.gripper_width
    axis = scene.points.closing_axis(scene.affordance.grasp_yaw) if closing is None else closing
    surface = scene.points["grasp"]
    function = surface
    if "function" in scene.points:
        function = scene.points.standing("function", settings.support_height + settings.least_rise)
    if settings.grasp is not None:
        refined = refine_grasp(scene.frame, surface, axis, settings.support_height, settings.grasp)
        if refined is not None:
            surface, axis, opening = refined.point, refined.closing_axis, refined.opening
    floor = settings.support_height + settings.min_height
    tcp = np.array([surface[0], surface[1], max(surface[2] - settings.grasp_depth, floor)])
    width = settings.gripper_width if opening is None else opening
    return _Grasp(pose(pointing_down(axis), tcp), surface, function, width, floor)


def _pick(scene: _Scene, grasp: _Grasp) -> list[Waypoint]:
    """Come in from above, go down, close."""
    settings, goal = scene.settings, grasp.base_from_tcp
    above = raised_by(goal, settings.approach_height)
    return [
        Waypoint("approach_grasp", above, grasp.width, settings.fast, linear=False),
        Waypoint("grasp", goal, grasp.width, settings.slow),
        Waypoint("close", goal, settings.squeeze_width, grips=True),
    ]


def _holding(
    settings: PrimitiveSettings, phase: PhaseName, base_from_tcp: FloatArray, speed: float
) -> Waypoint:
    return Waypoint(phase, base_from_tcp, settings.squeeze_width, speed)


def _yaw_between(tail: FloatArray, head: FloatArray) -> FloatArray:
    """The rotation (3, 3) about the vertical that turns one horizontal direction (3,) into another."""
    return _yawed(np.arctan2(head[1], head[0]) - np.arctan2(tail[1], tail[0]))


def _yawed(angle: float) -> FloatArray:
    return Rotation.from_rotvec(angle * UP).as_matrix()


def _line_yaw_between(tail: FloatArray, head: FloatArray) -> FloatArray:
    """The same for lines, which have no sense: the smaller of the two turns."""
    return _yaw_between(tail, head if float(tail @ head) >= 0 else -head)


def _tool_turn(scene: _Scene, grasp: _Grasp, way: FloatArray) -> FloatArray:
    """The turn (3, 3) that lays the tool axis, grasp to function point, along a way (3,) over the table."""
    scene.direction("grasp", "function")
    least, reach = scene.settings.least_direction, grasp.function - grasp.base_from_tcp[:3, 3]
    there = unit(way, least, "the ends of the way")
    return _yawed(scene.tool_yaw) @ _yaw_between(unit(reach, least, "grasp and function"), there)


def _grasp_and_use(scene: _Scene) -> list[Waypoint]:
    """Grasp a tool, lay its axis along the stroke, sweep the function point along it, lift the tool clear.

    The stroke is one straight line fitted to its three points.
    """
    s, a = scene.settings, scene.affordance
    grasp = _grasp(scene)
    scene.direction("pre_contact", "target")
    scene.direction("pre_contact", "post_contact")
    require_stroke(scene.points)
    stroke = straightened(np.array([scene.points[name] for name in STROKE]))
    turn = _tool_turn(scene, grasp, stroke[-1] - stroke[0])
    heights = [
        grasp.function[2] + (height or 0.0) for height in (a.pre_height, a.target_height, a.post_height)
    ]
    pre, target, post = (
        grasp.carrying(np.array([*point[:2], height]), turn)
        for point, height in zip(stroke, heights, strict=True)
    )
    return [
        *_pick(scene, grasp),
        _holding(s, "lift", raised_by(grasp.base_from_tcp, s.lift_height), s.fast),
        _holding(s, "approach_contact", raised_by(pre, s.lift_height), s.fast),
        _holding(s, "pre_contact", pre, s.slow),
        _holding(s, "target", target, s.use),
        _holding(s, "post_contact", post, s.use),
        _holding(s, "retreat", raised_by(post, s.lift_height), s.fast),
    ]


def _push(scene: _Scene) -> list[Waypoint]:
    """Push with the closed gripper straight and level from pre-contact past the target to post-contact.

    What is pushed stops the hand, a drawer at its end: the push is a guarded move that may overshoot
    post-contact and backs off. Without a post-contact point it ends at the target.
    """
    s, a = scene.settings, scene.affordance
    scene.direction("pre_contact", "target")
    ends = [scene.raised("pre_contact", a.pre_height), scene.raised("target", a.target_height)]
    guarded = "post_contact" in scene.points
    if guarded:
        scene.direction("pre_contact", "post_contact")
        require_stroke(scene.points)
        ends.append(scene.raised("post_contact", a.post_height))
    start, *_, end = straightened(np.array(ends))
    ahead = unit(end - start, s.least_direction, "the ends of the push")
    hand = pointing_down(np.cross(UP, ahead))
    pre, clear = pose(hand, start), raised_by(pose(hand, start), s.approach_height)
    way = [
        Waypoint("approach_contact", clear, 0.0, s.fast, linear=False),
        _holding(s, "pre_contact", pre, s.slow),
    ]
    if guarded:
        beyond = pose(hand, end + s.overtravel * ahead)
        push = Waypoint("post_contact", beyond, s.squeeze_width, s.guarded, until_contact=True)
        return [*way, push, _holding(s, "retreat", clear, s.fast)]
    over = raised_by(pose(hand, end), s.approach_height)
    return [*way, _holding(s, "target", pose(hand, end), s.use), _holding(s, "retreat", over, s.fast)]


def _hang(scene: _Scene) -> list[Waypoint]:
    """Pinch a cloth, carry it over a rod, lay it across where it is held, let go."""
    s, a = scene.settings, scene.affordance
    grasp = _grasp(scene)
    grasp = replace(grasp, function=grasp.surface)
    across = _across_rod(scene)
    turn = np.eye(3) if across is None else _line_yaw_between(grasp.base_from_tcp[:3, 1], across)
    height = (a.target_height or 0.0) + s.hang_clearance
    place = grasp.carrying(scene.points.ridge("target", s.ridge_radius) + height * UP, turn)
    carry = max(grasp.base_from_tcp[2, 3] + s.lift_height, place[2, 3] + s.approach_height)
    above = raised_by(place, carry - place[2, 3])
    return [
        *_pick(scene, grasp),
        _holding(s, "lift", raised_by(grasp.base_from_tcp, carry - grasp.base_from_tcp[2, 3]), s.use),
        _holding(s, "approach_contact", above, s.use),
        _holding(s, "target", place, s.slow),
        Waypoint("release", place, s.gripper_width),
        Waypoint("retreat", above, s.gripper_width, s.slow),
    ]


def _across_rod(scene: _Scene) -> FloatArray | None:
    """The line (3,) across the rod at the target, without a sense.

    It is the line between the free points on its sides, or, where the depth shows a rod that runs roughly
    across that line, the line square to the rod.
    """
    s, points = scene.settings, scene.points
    told = None
    if "pre_contact" in points and "post_contact" in points:
        told = points.way_across("target", ("pre_contact", "post_contact"), s.least_direction)
    rod = points.rod("target", s.ridge_radius)
    if rod is None:
        return told
    square = np.array([-rod[1], rod[0], 0.0])
    return square if told is None or abs(float(square @ told)) > s.across_rod else told


def _pour(scene: _Scene) -> list[Waypoint]:
    """Carry a scoop level over the target and tilt it there about the closing axis, its lip staying put."""
    s, a = scene.settings, scene.affordance
    grasp = _grasp(scene)
    has_pre = "pre_contact" in scene.points
    turn = _yawed(scene.tool_yaw)
    container = scene.points.inside("target", s.centring, s.support_height + s.least_rise)
    if has_pre:
        scene.direction("pre_contact", "target")
        turn = _tool_turn(scene, grasp, container - scene.points["pre_contact"])
    lip = container + (a.target_height or 0.0) * UP
    over = grasp.carrying(lip, turn)
    carry = max(grasp.base_from_tcp[2, 3] + s.lift_height, float(over[2, 3]))
    path = [_holding(s, "lift", raised_by(grasp.base_from_tcp, carry - grasp.base_from_tcp[2, 3]), s.pour)]
    if has_pre:
        before = grasp.carrying(scene.raised("pre_contact", a.pre_height), turn)
        path.append(_holding(s, "pre_contact", raised_by(before, carry - before[2, 3]), s.pour))
    path.append(_holding(s, "target", over, s.pour))
    tilts = [grasp.carrying(lip, tilt @ turn) for tilt in _tilts(scene, grasp, turn)]
    hold = Waypoint("post_contact", tilts[-1], s.squeeze_width, hold=s.pour_hold)
    return [*_pick(scene, grasp), *path, *(_holding(s, "tilt", tilt, s.pour) for tilt in tilts), hold]


def _tilts(scene: _Scene, grasp: _Grasp, turn: FloatArray) -> list[FloatArray]:
    """Rotations (3, 3) about the closing axis, in steps; a positive tilt lowers the function point."""
    scene.direction("grasp", "function")
    reach = turn @ (grasp.function - grasp.base_from_tcp[:3, 3])
    axis = turn @ grasp.base_from_tcp[:3, 1]
    lever = axis[0] * reach[1] - axis[1] * reach[0]
    if abs(lever) < scene.settings.least_direction:
        raise PlanError("pour: function lies on the jaws' closing axis through grasp, a tilt cannot lower it")
    tilt = scene.affordance.tool_tilt
    angle = scene.settings.default_tilt if tilt is None else tilt
    # The velocity of the function point is axis x reach; its z must be negative for a positive tilt.
    signed = -np.sign(lever) * angle
    shares = np.linspace(0.0, 1.0, scene.settings.pour_steps + 1)[1:]
    return [Rotation.from_rotvec(share * signed * axis).as_matrix() for share in shares]


def _pull(scene: _Scene) -> list[Waypoint]:
    """Grasp and pull straight as far as the target, level and without turning; let go.

    The way out is the mean of those from the grasp to the points ahead of it, so that none of them bends it.
    Where the depth shows the held thing stuck in something else and the way out leads elsewhere than away
    from that, the depth is believed, for the jaws' closing as well. A way roughly along the fingers runs
    along them: what they close across lies along them.
    """
    s = scene.settings
    scene.direction("grasp", "target")
    start = scene.points["grasp"]
    ahead = [scene.points[name] - start for name in STROKE if name in scene.points]
    out = unit(np.sum(ahead, axis=0), s.least_direction, "grasp and the points ahead of it")
    away = scene.points.away("grasp", s.pull_look, s.support_height + s.least_rise)
    closing = None
    if away is not None and float(away @ out) < s.away:
        out, closing = away, np.cross(UP, away)
    grasp = _grasp(scene, closing)
    start, fingers = grasp.base_from_tcp[:3, 3], grasp.base_from_tcp[:3, 0]
    if abs(float(fingers @ out)) > s.along_fingers:
        out = fingers * np.sign(float(fingers @ out))
    length = float(np.linalg.norm((scene.points["target"] - start)[:2]))
    end = pose(grasp.base_from_tcp[:3, :3], start + length * out)
    return [
        *_pick(scene, grasp),
        _holding(s, "target", end, s.pull),
        Waypoint("release", end, s.gripper_width),
        Waypoint("retreat", raised_by(end, s.approach_height), s.gripper_width, s.slow),
    ]


_Builder = Callable[[_Scene], Sequence[Waypoint]]
# What each primitive cannot do without, and how it is built.
_PRIMITIVES: Mapping[Primitive, tuple[tuple[KeypointName, ...], _Builder]] = {
    "grasp_and_use": (("grasp", "function", "pre_contact", "target", "post_contact"), _grasp_and_use),
    "push": (("pre_contact", "target"), _push),
    "hang": (("grasp", "target"), _hang),
    "pour": (("grasp", "function", "target"), _pour),
    "pull": (("grasp", "target"), _pull),
}
