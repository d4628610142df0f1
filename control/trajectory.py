"""Motion plans to timed joint trajectories: geometry first, then jerk-limited timing, then motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
from ruckig import InputParameter, Ruckig
from ruckig import Trajectory as RuckigTrajectory
from scipy.interpolate import CubicSpline

from ..perception.frame import FloatArray
from .kinematics import Kinematics
from .limits import JointLimits
from .path import JointPath, PathSettings, joint_path, posture_line
from .plan import JointTrajectory, MotionPlan, PlanError, Waypoint

# Two poses nearer than this (metres, and entries of the rotation matrix) are one pose: the arm rests.
SAME_POSE = 1e-6


@dataclass(frozen=True)
class TrajectorySettings:
    """How plans become trajectories.

    Attributes:
        period: seconds between samples; the control period.
        limit_share: share of the joint limits (velocity, acceleration, jerk) that is used; below 1, so that
            the safety gate has nothing to do.
        dwell: seconds the arm rests while the jaws move.
        path: sampling of the geometry.
    """

    period: float = 1 / 60
    limit_share: float = 0.5
    dwell: float = 0.5
    path: PathSettings = field(default_factory=PathSettings)


def plan_trajectories(
    plan: MotionPlan,
    kinematics: Kinematics,
    start: FloatArray,
    settings: TrajectorySettings | None = None,
) -> list[JointTrajectory]:
    """One trajectory per phase, each at rest at both ends; the next starts where the last one ends.

    After a guarded move (`Waypoint.until_contact`) that is where the move began.

    A parallel gripper looks the same turned by pi about its approach axis, so the whole plan may be turned
    so; the turn that stays farther from the joint limits is tried first, then the other.

    Args:
        plan: consecutive waypoints of one phase become one smooth trajectory.
        kinematics: of the arm.
        start: (J,) rad, where the arm is now.
        settings: sampling, speed and dwell.

    Raises:
        PlanError: naming the waypoint that cannot be reached safely. Nothing has moved.
    """
    settings = settings or TrajectorySettings()
    if not plan.waypoints:
        raise PlanError(f"{plan.primitive}: the plan has no waypoints")
    outside = kinematics.limits.outside(start)
    if outside is not None:
        raise PlanError(f"start: {outside}; move that joint back inside its limits first")
    failure: PlanError | None = None
    for turned in _reachable_turns(plan, kinematics, start):
        try:
            return _time_phases(turned, kinematics, start, settings)
        except PlanError as error:
            failure = failure or error
    raise failure or PlanError("no turn of the plan is reachable")


def plan_return(
    kinematics: Kinematics,
    start: FloatArray,
    posture: FloatArray,
    gripper_width: float,
    settings: TrajectorySettings | None = None,
) -> JointTrajectory:
    """From wherever the arm rests, `start` (J,), back to a posture (J,), rad; the jaws stay as they are.

    Raises:
        PlanError: the way is not free.
    """
    settings = settings or TrajectorySettings()
    limits = kinematics.limits.scaled(settings.limit_share)
    path = posture_line(kinematics, start, posture, settings.path)
    waypoint = Waypoint("home", kinematics.forward(posture), gripper_width)
    return _trajectory(_timed(path, [waypoint], limits, settings), limits.names, waypoint)


def _time_phases(
    plan: MotionPlan, kinematics: Kinematics, start: FloatArray, settings: TrajectorySettings
) -> list[JointTrajectory]:
    """All phases' paths first; only when every one exists are they timed."""
    limits = kinematics.limits.scaled(settings.limit_share)
    paths: list[tuple[JointPath | None, list[Waypoint]]] = []
    q = start
    for phase in _phases(plan, kinematics.forward(start)):
        path = None if phase[0] == "rest" else joint_path(kinematics, q, phase[1], settings.path)
        q = q if path is None or phase[1][-1].until_contact else path.positions[-1]
        paths.append((path, phase[1]))
    trajectories, q = [], start
    for path, waypoints in paths:
        timed = (
            _rest(q, waypoints[-1].hold or settings.dwell, settings.period)
            if path is None
            else _timed(path, waypoints, limits, settings)
        )
        q = timed[1][0] if waypoints[-1].until_contact else timed[1][-1]
        trajectories.append(_trajectory(timed, limits.names, waypoints[-1]))
    return trajectories


def _phases(plan: MotionPlan, base_from_start: FloatArray) -> list[tuple[str, list[Waypoint]]]:
    """Consecutive waypoints of one phase, as ("move" or "rest", waypoints)."""
    kinds, previous = [], base_from_start
    for waypoint in plan.waypoints:
        rests = bool(np.abs(waypoint.base_from_tcp - previous).max() < SAME_POSE)
        kinds.append(("rest" if rests else "move", waypoint))
        previous = previous if waypoint.until_contact else waypoint.base_from_tcp
    grouped = groupby(kinds, key=lambda item: (item[0], item[1].phase))
    return [(kind, [waypoint for _, waypoint in items]) for (kind, _), items in grouped]


def _reachable_turns(plan: MotionPlan, kinematics: Kinematics, start: FloatArray) -> list[MotionPlan]:
    """The plan and its turn by pi about the approach axis, the one with more room in the joints first.

    Raises:
        PlanError: naming the waypoint that neither reaches.
    """
    half_turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    turned = [replace(w, base_from_tcp=w.base_from_tcp @ half_turn) for w in plan.waypoints]
    scored: list[tuple[tuple[float, float], MotionPlan]] = []
    failure: PlanError | None = None
    for candidate in (plan, replace(plan, waypoints=tuple(turned))):
        try:
            scored.append((_cramped(candidate.waypoints, kinematics, start), candidate))
        except PlanError as error:
            failure = failure or error
    if failure is not None and not scored:
        raise failure
    return [candidate for _, candidate in sorted(scored, key=lambda item: item[0])]


def _cramped(waypoints: Sequence[Waypoint], kinematics: Kinematics, start: FloatArray) -> tuple[float, float]:
    """How near the joints come to their limits (up to 0.5 rad counts), then how far they must move at all."""
    q, room, moved, limits = start, 0.5, 0.0, kinematics.limits
    for waypoint in waypoints:
        goal = kinematics.inverse(waypoint.base_from_tcp, q, waypoint.phase)
        room = min(room, float(np.minimum(goal - limits.lower, limits.upper - goal).min()))
        moved += float(np.abs(goal - q).max())
        q = goal
    return (-room, moved)


def _trajectory(
    timed: tuple[FloatArray, FloatArray, FloatArray], names: tuple[str, ...], waypoint: Waypoint
) -> JointTrajectory:
    times, positions, velocities = timed
    widths = np.full(len(times), waypoint.gripper_width)
    ends = (waypoint.phase, waypoint.grips, waypoint.until_contact)
    return JointTrajectory(names, times, positions, velocities, widths, *ends)


def _rest(q: FloatArray, seconds: float, period: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    times = np.arange(np.ceil(seconds / period) + 1, dtype=np.float64) * period
    positions = np.tile(q, (len(times), 1))
    return times, positions, np.zeros_like(positions)


def _timed(
    path: JointPath, waypoints: Sequence[Waypoint], limits: JointLimits, settings: TrajectorySettings
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Times (N,), positions and velocities (N, J) of a path, within the joint limits and the TCP speed.

    A cubic spline through the samples makes the path twice differentiable in a parameter u; ruckig times u
    within constant limits that hold on the whole path; what curvature adds is then measured on the samples
    and taken out by stretching the time evenly, which divides velocity, acceleration and jerk by k, k^2, k^3.
    """
    u = _chord_length(path.positions)
    spline = CubicSpline(u, path.positions, bc_type="natural")
    speed = min(waypoint.speed for waypoint in waypoints)
    fastest = speed / max(float((np.diff(path.travel) / np.diff(u)).max()), 1e-9)
    u_limits = _parameter_limits(spline, fastest, limits)
    timed = _sample(spline, u[-1], u_limits, settings.period)
    for _ in range(3):
        stretch = _excess(timed[1], settings.period, limits)
        if stretch <= 1:
            break
        v, a, j = u_limits
        stretch *= 1.01
        u_limits = (v / stretch, a / stretch**2, j / stretch**3)
        timed = _sample(spline, u[-1], u_limits, settings.period)
    return timed


def _chord_length(positions: FloatArray) -> FloatArray:
    """A parameter that increases strictly along the path: the joints' travel, rad."""
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-6))])


def _parameter_limits(spline: CubicSpline, fastest: float, limits: JointLimits) -> tuple[float, float, float]:
    """Constant limits of u', u'' and u''' that keep q' u' etc. within the joint limits."""
    u = np.linspace(spline.x[0], spline.x[-1], 4 * len(spline.x))
    slope = np.abs(spline(u, 1)).max(axis=0) + 1e-9
    curvature = np.abs(spline(u, 2)).max(axis=0) + 1e-9
    velocity = min(fastest, float((limits.velocity / slope).min()))
    velocity = min(velocity, float(np.sqrt(0.5 * limits.acceleration / curvature).min()))
    return (
        velocity,
        float((0.5 * limits.acceleration / slope).min()),
        float((0.5 * limits.jerk / slope).min()),
    )


def _sample(
    spline: CubicSpline, length: float, limits: tuple[float, float, float], period: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Ruckig's rest-to-rest profile of u from 0 to `length`, stretched to a whole number of periods."""
    request = InputParameter(1)
    request.target_position = [length]
    request.max_velocity, request.max_acceleration, request.max_jerk = ([value] for value in limits)
    profile = RuckigTrajectory(1)
    Ruckig(1).calculate(request, profile)
    count = int(np.ceil(profile.duration / period))
    times = np.arange(count + 1, dtype=np.float64) * period
    slower = profile.duration / times[-1]
    states = [profile.at_time(min(t * slower, profile.duration)) for t in times]
    u = np.array([state[0][0] for state in states])
    rate = np.array([state[1][0] for state in states]) * slower
    rate[[0, -1]] = 0.0  # ruckig ends within rounding
    return times, spline(u), spline(u, 1) * rate[:, None]


def _excess(positions: FloatArray, period: float, limits: JointLimits) -> float:
    """The even stretch of time that brings the samples' finite differences within the limits; 1 = none."""
    still = np.repeat(positions[:1], 3, axis=0), np.repeat(positions[-1:], 3, axis=0)
    padded = np.concatenate([still[0], positions, still[1]])
    factor = 1.0
    for order, most in enumerate((limits.velocity, limits.acceleration, limits.jerk), start=1):
        peak = np.abs(np.diff(padded, n=order, axis=0)).max(axis=0) / period**order
        factor = max(factor, float((peak / most).max()) ** (1 / order))
    return factor
