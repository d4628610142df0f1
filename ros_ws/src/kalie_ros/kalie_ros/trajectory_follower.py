"""How a trajectory controller follows joint trajectories: what ros2_control's does, without ROS."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from kalie.perception.frame import FloatArray

# Seconds: a start farther ahead comes from a clock that has nothing to do with this one.
MOST_AHEAD = 60.0
MOST_POINTS = 10_000
# Seconds: sums of time steps that should be equal differ by less, and no two points are nearer.
SAME_TIME = 1e-6
# Radians, and radians per second: beyond any joint, and far from where arithmetic overflows.
MOST_VALUE = 1e6
# What a goal gets that names no tolerances: radians, radians, seconds.
PATH_TOLERANCE = 0.3
GOAL_TOLERANCE = 0.05
GOAL_TIME_TOLERANCE = 1.0

VerdictKind = Literal["running", "reached", "off_path", "missed_goal"]


class InvalidTrajectory(ValueError):
    """A trajectory or tolerance that is not followed; the message names the field."""


class Setpoint(NamedTuple):
    """Where the joints should be: positions (J,) rad, velocities (J,) rad/s."""

    positions: FloatArray
    velocities: FloatArray


@dataclass(frozen=True)
class Trajectory:
    """A checked trajectory, its joints in the controller's order.

    Attributes:
        times: (N,) seconds from its start, strictly increasing, not negative.
        positions: (N, J) rad.
        velocities: (N, J) rad/s; None: straight lines in joint space between the points.
    """

    times: FloatArray
    positions: FloatArray
    velocities: FloatArray | None

    @classmethod
    def parse(
        cls,
        joint_names: Sequence[str],
        names: Sequence[str],
        times: Sequence[float],
        positions: Sequence[Sequence[float]],
        velocities: Sequence[Sequence[float]],
    ) -> Trajectory:
        """A trajectory from what a message says.

        Args:
            joint_names: the controller's J joints.
            names: the message's, in whatever order.
            times: N seconds from the start.
            positions: N rows in the message's order, rad.
            velocities: N rows in the message's order, rad/s; all empty when there are none.

        Raises:
            InvalidTrajectory: naming the field.
        """
        order = _order(joint_names, names)
        if not 0 < len(times) <= MOST_POINTS:
            raise InvalidTrajectory(f"points: expected 1 to {MOST_POINTS:,}, got {len(times)}")
        seconds = np.array(times, dtype=np.float64)
        if seconds[0] < 0 or bool((np.diff(seconds) < SAME_TIME).any()):
            raise InvalidTrajectory("time_from_start: must not be negative, and increase from point to point")
        where = _table("positions", positions, order)
        moving = any(len(row) for row in velocities)
        return cls(seconds, where, _table("velocities", velocities, order) if moving else None)


def _order(joint_names: Sequence[str], names: Sequence[str]) -> list[int]:
    """For each of the controller's joints, its place in the message."""
    missing = [name for name in joint_names if name not in names]
    if missing:
        raise InvalidTrajectory(f"joint_names: {missing[0]} is missing; all of {', '.join(joint_names)} move")
    if len(names) != len(joint_names):
        raise InvalidTrajectory(f"joint_names: expected {len(joint_names)} names, got {len(names)}")
    return [list(names).index(name) for name in joint_names]


def _table(field: str, rows: Sequence[Sequence[float]], order: Sequence[int]) -> FloatArray:
    """One row a point, its columns in the controller's order."""
    for index, row in enumerate(rows):
        if len(row) != len(order):
            raise InvalidTrajectory(f"{field} of point {index}: expected {len(order)} values, got {len(row)}")
    values = np.array([list(row) for row in rows], dtype=np.float64)
    if not bool((np.abs(values) <= MOST_VALUE).all()):
        raise InvalidTrajectory(f"{field}: must be finite, and at most {MOST_VALUE:g}")
    return values[:, order]


class TrajectoryFollower:
    """The set point at every time. A new trajectory replaces the old one from where that one is just then."""

    def __init__(self, positions: FloatArray, now: float) -> None:
        """Hold positions (J,) rad."""
        self.hold(positions, now)

    @property
    def end(self) -> float:
        """When the last point is reached; it is held from then on."""
        return self._times[-1]

    def hold(self, positions: FloatArray, now: float) -> None:
        """Drop the trajectory, and hold positions (J,) rad."""
        self._times = [now]
        self._positions = np.array([positions], dtype=np.float64)
        self._velocities: FloatArray | None = None

    def start(self, trajectory: Trajectory, now: float, begin: float) -> None:
        """Replace the trajectory.

        The first segment leads from the present set point to the first point that is still ahead. Without any
        ahead, which only a trajectory of time 0 can do, its last point is the set point at once.

        Args:
            trajectory: to follow.
            now: seconds.
            begin: when its time 0 is, on the clock of `now`.

        Raises:
            InvalidTrajectory: it is over already, or far from beginning; the old one goes on.
        """
        check_begin(trajectory, now, begin)
        here = self.at(now)
        times = (begin + trajectory.times).tolist()
        ahead = bisect_right(times, now + SAME_TIME)
        if ahead == len(times):
            self.hold(trajectory.positions[-1], now)
            return
        self._times = [now, *times[ahead:]]
        self._positions = np.vstack([here.positions, trajectory.positions[ahead:]])
        moving = trajectory.velocities
        self._velocities = None if moving is None else np.vstack([here.velocities, moving[ahead:]])

    def at(self, now: float) -> Setpoint:
        """The set point at a time; at a point itself the velocity is that of arriving."""
        times = self._times
        if times[-1] < now < times[-1] + SAME_TIME:
            now = times[-1]
        if now <= times[0] or now > times[-1]:
            held = self._positions[0 if now <= times[0] else -1]
            return Setpoint(held.copy(), np.zeros_like(held))
        after = bisect_left(times, now)
        before = after - 1
        span = times[after] - times[before]
        share = (now - times[before]) / span
        start, stop = self._positions[before], self._positions[after]
        if self._velocities is None:
            way = stop - start
            return Setpoint(start + way * share, way / span)
        return _hermite(start, stop, self._velocities[before], self._velocities[after], share, span)


def check_begin(trajectory: Trajectory, now: float, begin: float) -> None:
    """Refuse a trajectory that is over already, or far from beginning.

    Raises:
        InvalidTrajectory: naming the stamp.
    """
    over = now - (begin + float(trajectory.times[-1]))
    if over > 0:
        raise InvalidTrajectory(f"header.stamp: the trajectory ended {over:.3f} s ago")
    if begin - now > MOST_AHEAD:
        ahead = begin - now
        raise InvalidTrajectory(f"header.stamp: {ahead:.1f} s ahead of this clock, at most {MOST_AHEAD:g}")


def _hermite(
    start: FloatArray, stop: FloatArray, out: FloatArray, into: FloatArray, share: float, span: float
) -> Setpoint:
    """The cubic between two points (J,) with velocities (J,), at a share in [0, 1] of a span in seconds."""
    s, way = share, stop - start
    rise, leave, arrive = s * s * (3 - 2 * s), s * (1 - s) ** 2, s * s * (s - 1)
    positions = start + rise * way + span * (leave * out + arrive * into)
    slope = 6 * s * (1 - s) / span
    velocities = slope * way + (1 - s) * (1 - 3 * s) * out + s * (3 * s - 2) * into
    return Setpoint(positions, velocities)


class JointTolerance(Protocol):
    """A tolerance as `control_msgs/JointTolerance` has it: 0 = the default, negative = any distance."""

    @property
    def name(self) -> str:
        """The joint."""
        ...

    @property
    def position(self) -> float:
        """Of the position, rad."""
        ...

    @property
    def velocity(self) -> float:
        """Of the velocity, rad/s."""
        ...

    @property
    def acceleration(self) -> float:
        """Of the acceleration, rad/s^2."""
        ...


class Limits(NamedTuple):
    """How far joints may stand off: positions (J,) rad, velocities (J,) rad/s; inf = any distance."""

    positions: FloatArray
    velocities: FloatArray


def limits(field: str, joint_names: Sequence[str], told: Iterable[JointTolerance], default: float) -> Limits:
    """Limits from a goal's tolerances.

    Args:
        field: of the goal, for errors.
        joint_names: the controller's J joints.
        told: by the goal.
        default: of positions, rad; velocities may stand off any distance.

    Raises:
        InvalidTrajectory: naming the joint.
    """
    found = Limits(np.full(len(joint_names), default), np.full(len(joint_names), math.inf))
    for item in told:
        if item.name not in joint_names:
            raise InvalidTrajectory(f"{field}: unknown joint {item.name[:40]!r}")
        if item.acceleration > 0:
            raise InvalidTrajectory(f"{field}: accelerations are not measured")
        index = list(joint_names).index(item.name)
        for values, value in ((found.positions, item.position), (found.velocities, item.velocity)):
            if math.isnan(value):
                raise InvalidTrajectory(f"{field}: the tolerance of {item.name} is not a number")
            if value != 0:
                values[index] = value if value > 0 else math.inf
    return found


class Verdict(NamedTuple):
    """How a goal stands, and what is wrong where it failed."""

    kind: VerdictKind
    message: str = ""


@dataclass(frozen=True)
class Tolerances:
    """How closely a goal must be followed.

    Attributes:
        path: on the way.
        goal: at its end.
        goal_time: seconds after the end within which the goal must be reached; inf = ever.
    """

    path: Limits
    goal: Limits
    goal_time: float = GOAL_TIME_TOLERANCE

    def judge(
        self,
        joint_names: Sequence[str],
        desired: Setpoint,
        actual: Setpoint,
        now: float,
        end: float,
    ) -> Verdict:
        """How a goal stands.

        Args:
            joint_names: for the message.
            desired: the set point now.
            actual: measured now.
            now: seconds.
            end: when the trajectory's last point is due.
        """
        allowed = self.path if now < end else self.goal
        off = _standing_off(joint_names, desired, actual, allowed)
        if now < end:
            return Verdict("off_path", off) if off else Verdict("running")
        if not off:
            return Verdict("reached")
        return Verdict("missed_goal", off) if now > end + self.goal_time else Verdict("running")


def _standing_off(joint_names: Sequence[str], desired: Setpoint, actual: Setpoint, allowed: Limits) -> str:
    """Which joint stands off by more than it may; empty when none does."""
    for quantity, unit, wanted, found, limit in zip(
        ("position", "velocity"), ("rad", "rad/s"), desired, actual, allowed, strict=True
    ):
        gap = np.abs(found - wanted)
        worst = int((gap - limit).argmax())
        if gap[worst] > limit[worst]:
            off = f"{joint_names[worst]} is {gap[worst]:.3f} {unit} off its {quantity}"
            return f"{off}, {limit[worst]:g} are allowed"
    return ""
