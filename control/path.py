"""Geometric joint paths: Cartesian lines followed by continuous inverse kinematics, or joint lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ..perception.frame import FloatArray
from .collision import TABLE
from .kinematics import Kinematics
from .plan import PlanError, Waypoint


@dataclass(frozen=True)
class PathSettings:
    """How finely paths are sampled and how continuous they must be.

    Attributes:
        step: metres of TCP travel between samples.
        turn: radians of TCP rotation between samples.
        joint_step: radians between collision checks on a joint line.
        flip: radians; a joint that moves more than this between two samples of a line has flipped.
    """

    step: float = 0.01
    turn: float = 0.05
    joint_step: float = 0.05
    flip: float = 0.2


@dataclass(frozen=True)
class JointPath:
    """A path without time: positions (N, J) rad, and the TCP's travel (N,) m from the start."""

    positions: FloatArray
    travel: FloatArray


def joint_path(
    kinematics: Kinematics, start: FloatArray, waypoints: Sequence[Waypoint], settings: PathSettings
) -> JointPath:
    """The path from joint positions `start` (J,) through the waypoints of one phase.

    Raises:
        PlanError: naming the waypoint that cannot be reached safely.
    """
    pieces = [start[None]]
    for waypoint in waypoints:
        line = straight_line if waypoint.linear else joint_line
        pieces.append(line(kinematics, pieces[-1][-1], waypoint, settings))
    positions = np.concatenate(pieces)
    return JointPath(positions, _travel(kinematics, positions))


def straight_line(
    kinematics: Kinematics, start: FloatArray, waypoint: Waypoint, settings: PathSettings
) -> FloatArray:
    """Joint positions (N, J) that move the TCP on a straight line, turning steadily; `start` left out.

    The TCP turns the short way; where that fails and the turn is large, the other way round.
    """
    base_from_start = kinematics.forward(start)
    way, *other_way = (
        _poses(base_from_start, waypoint, turn, settings)
        for turn in _turns(base_from_start, waypoint.base_from_tcp)
    )
    try:
        return _follow(kinematics, start, waypoint, way, settings)
    except PlanError as error:
        if not other_way:
            raise
        try:
            return _follow(kinematics, start, waypoint, other_way[0], settings)
        except PlanError:
            raise error from None


def joint_line(
    kinematics: Kinematics, start: FloatArray, waypoint: Waypoint, settings: PathSettings
) -> FloatArray:
    """Joint positions (N, J) on a straight line in joint space, or on a Cartesian one where that collides.

    An arm that starts out folded onto itself may unfold.
    """
    goal = kinematics.inverse(waypoint.base_from_tcp, start, waypoint.phase)
    line, hit = _between(kinematics, start, goal, settings)
    return line if hit is None else straight_line(kinematics, start, waypoint, settings)


def posture_line(
    kinematics: Kinematics, start: FloatArray, posture: FloatArray, settings: PathSettings
) -> JointPath:
    """The straight line in joint space from `start` (J,) to a posture (J,), rad.

    Raises:
        PlanError: something collides on the way.
    """
    line, hit = _between(kinematics, start, posture, settings)
    if hit is not None:
        raise PlanError(f"home: on the way there {hit}; move the arm clear by hand first")
    positions = np.concatenate([start[None], line])
    return JointPath(positions, _travel(kinematics, positions))


def _between(
    kinematics: Kinematics, start: FloatArray, goal: FloatArray, settings: PathSettings
) -> tuple[FloatArray, str | None]:
    """Samples (N, J) of a joint line, `start` left out, and what collides on it once the arm is unfolded."""
    count = max(2, int(np.ceil(np.abs(goal - start).max() / settings.joint_step)))
    line = start + np.linspace(0.0, 1.0, count + 1)[1:, None] * (goal - start)
    hits = [kinematics.collisions.find(q) for q in line]
    leaving = 0
    if kinematics.collisions.find(start) is not None:
        leaving = next((i for i, hit in enumerate(hits) if hit is None or TABLE in hit), 0)
    return line, next((hit for hit in hits[leaving:] if hit), None)


def _travel(kinematics: Kinematics, positions: FloatArray) -> FloatArray:
    """The TCP's way (N,) m along joint positions (N, J), from the first."""
    tips = np.array([kinematics.forward(q)[:3, 3] for q in positions])
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(tips, axis=0), axis=1))])


def _turns(base_from_start: FloatArray, base_from_goal: FloatArray) -> list[FloatArray]:
    """Rotation vectors (3,) in the base frame from start to goal: the short way, then a large one's other."""
    turn = Rotation.from_matrix(base_from_goal[:3, :3] @ base_from_start[:3, :3].T).as_rotvec()
    angle = float(np.linalg.norm(turn))
    if angle < np.pi / 2:
        return [turn]
    return [turn, turn * (angle - 2 * np.pi) / angle]


def _poses(
    base_from_start: FloatArray, waypoint: Waypoint, turn: FloatArray, settings: PathSettings
) -> list[FloatArray]:
    travel = waypoint.base_from_tcp[:3, 3] - base_from_start[:3, 3]
    count = max(
        np.linalg.norm(travel) / settings.step, np.linalg.norm(turn) / settings.turn, 2.0
    )  # two at least: a spline through them needs a middle
    poses = []
    for share in np.linspace(0.0, 1.0, int(np.ceil(count)) + 1)[1:]:
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(share * turn).as_matrix() @ base_from_start[:3, :3]
        pose[:3, 3] = base_from_start[:3, 3] + share * travel
        poses.append(pose)
    return poses


def _follow(
    kinematics: Kinematics,
    start: FloatArray,
    waypoint: Waypoint,
    poses: Sequence[FloatArray],
    settings: PathSettings,
) -> FloatArray:
    followed = [start]
    for pose in poses:
        q = kinematics.follow(pose, followed[-1])
        if q is None:
            raise _lost(kinematics, waypoint, followed[-1], "cannot be followed within the joint limits")
        jump = np.abs(q - followed[-1])
        if jump.max() > settings.flip:
            joint = kinematics.limits.names[int(jump.argmax())]
            raise _lost(kinematics, waypoint, followed[-1], f"would flip {joint} by {jump.max():.2f} rad")
        hit = kinematics.collisions.find(q)
        if hit is not None:
            raise _lost(kinematics, waypoint, followed[-1], f"collides: {hit}")
        followed.append(q)
    return np.array(followed[1:])


def _lost(kinematics: Kinematics, waypoint: Waypoint, last: FloatArray, reason: str) -> PlanError:
    goal, reached = waypoint.base_from_tcp[:3, 3], kinematics.forward(last)[:3, 3]
    return PlanError(
        f"{waypoint.phase} at {_words(goal)}: the straight line to it {reason}; the nearest reachable pose "
        f"on it is {_words(reached)}, {float(np.linalg.norm(goal - reached)):.3f} m away"
    )


def _words(point: FloatArray) -> str:
    return f"({point[0]:.3f}, {point[1]:.3f}, {point[2]:.3f}) m"
