"""The trajectory controller's semantics, without ROS: what is followed, what is refused, how goals end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalie.perception.frame import FloatArray
from kalie_ros.trajectory_follower import (
    GOAL_TIME_TOLERANCE,
    MOST_AHEAD,
    MOST_POINTS,
    InvalidTrajectory,
    Limits,
    Setpoint,
    Tolerances,
    Trajectory,
    TrajectoryFollower,
    limits,
)

NAMES = ("a", "b")
ZERO = np.zeros(2)


def trajectory(
    times: list[float], positions: list[list[float]], velocities: list[list[float]] | None = None
) -> Trajectory:
    return Trajectory.parse(NAMES, NAMES, times, positions, velocities or [[]] * len(times))


def follower(at: tuple[float, float] = (0.0, 0.0), now: float = 0.0) -> TrajectoryFollower:
    return TrajectoryFollower(np.array(at), now)


# ---- parsing -------------------------------------------------------------------------------------------


def test_permuted_joints_are_put_in_order() -> None:
    parsed = Trajectory.parse(NAMES, ["b", "a"], [1.0], [[2.0, 1.0]], [[20.0, 10.0]])
    assert parsed.positions.tolist() == [[1.0, 2.0]]
    assert parsed.velocities is not None
    assert parsed.velocities.tolist() == [[10.0, 20.0]]


REFUSED = {
    "partial": (["a"], [1.0], [[1.0]], [[]], "joint_names: b is missing"),
    "unknown": (["a", "b", "c"], [1.0], [[1.0] * 3], [[]], "joint_names: expected 2"),
    "twice": (["a", "a"], [1.0], [[1.0, 1.0]], [[]], "joint_names: b is missing"),
    "no points": (["a", "b"], [], [], [], "points: expected 1"),
    "sizes": (["a", "b"], [1.0], [[1.0]], [[]], "positions of point 0: expected 2 values, got 1"),
    "no positions": (["a", "b"], [1.0], [[]], [[1.0, 1.0]], "positions of point 0"),
    "velocity sizes": (["a", "b"], [1.0], [[1.0, 1.0]], [[1.0]], "velocities of point 0"),
    "some velocities": (["a", "b"], [1.0, 2.0], [[1.0, 1.0]] * 2, [[1.0, 1.0], []], "velocities of point 1"),
    "NaN": (["a", "b"], [1.0], [[math.nan, 1.0]], [[]], "positions: must be finite"),
    "infinite": (["a", "b"], [1.0], [[math.inf, 1.0]], [[]], "positions: must be finite"),
    "huge": (["a", "b"], [1.0], [[1e300, 1.0]], [[]], "positions: must be finite"),
    "NaN velocity": (["a", "b"], [1.0], [[1.0, 1.0]], [[math.nan, 1.0]], "velocities: must be finite"),
    "equal times": (["a", "b"], [1.0, 1.0], [[1.0, 1.0]] * 2, [[]] * 2, "time_from_start"),
    "backward": (["a", "b"], [2.0, 1.0], [[1.0, 1.0]] * 2, [[]] * 2, "time_from_start"),
    "negative": (["a", "b"], [-1.0, 1.0], [[1.0, 1.0]] * 2, [[]] * 2, "time_from_start"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_when_a_trajectory_is_malformed_expect_refusal_that_names_the_field(name: str) -> None:
    names, times, positions, velocities, message = REFUSED[name]
    with pytest.raises(InvalidTrajectory, match=message):
        Trajectory.parse(NAMES, names, times, positions, velocities)


def test_when_a_trajectory_is_endless_expect_refusal() -> None:
    count = MOST_POINTS + 1
    with pytest.raises(InvalidTrajectory, match="points"):
        trajectory([float(i) for i in range(count)], [[0.0, 0.0]] * count)


# ---- following -----------------------------------------------------------------------------------------


def test_without_a_trajectory_the_start_is_held_at_rest() -> None:
    for now in (0.0, 5.0):
        where = follower((1.0, 2.0)).at(now)
        assert where.positions.tolist() == [1.0, 2.0]
        assert where.velocities.tolist() == [0.0, 0.0]


def test_points_without_velocities_are_joined_by_straight_lines() -> None:
    moving = follower()
    moving.start(trajectory([1.0, 3.0], [[1.0, 2.0], [1.0, 6.0]]), 0.0, 0.0)
    assert moving.at(0.5).positions.tolist() == [0.5, 1.0]
    assert moving.at(0.5).velocities.tolist() == [1.0, 2.0]
    assert moving.at(2.0).positions.tolist() == [1.0, 4.0]
    assert moving.at(2.0).velocities.tolist() == [0.0, 2.0]


def test_the_last_point_is_reached_on_time_and_held() -> None:
    moving = follower()
    moving.start(trajectory([1.0], [[1.0, 2.0]]), 0.0, 0.0)
    assert moving.end == 1.0
    assert moving.at(1.0).positions.tolist() == [1.0, 2.0]
    assert moving.at(1.0).velocities.tolist() == [1.0, 2.0]
    assert moving.at(1.001).positions.tolist() == [1.0, 2.0]
    assert moving.at(1.001).velocities.tolist() == [0.0, 0.0]


def test_points_with_velocities_are_joined_by_cubics_through_both() -> None:
    moving = follower()
    moving.start(trajectory([1.0, 2.0], [[1.0, 0.0], [0.0, 0.0]], [[0.5, 1.0], [0.0, -1.0]]), 0.0, 0.0)
    for time, position, velocity in ((1.0, [1.0, 0.0], [0.5, 1.0]), (2.0, [0.0, 0.0], [0.0, -1.0])):
        where = moving.at(time)
        np.testing.assert_allclose(where.positions, position, atol=1e-12)
        np.testing.assert_allclose(where.velocities, velocity, atol=1e-12)
    # By hand: from 0 at rest to 1 with 0.5 in one second, half way is 1/2 - 1/8 * 0.5.
    assert moving.at(0.5).positions[0] == pytest.approx(0.4375)


def test_velocities_are_the_slope_of_positions() -> None:
    moving = follower((0.3, -0.2))
    moving.start(trajectory([0.7, 1.5], [[1.0, 0.0], [0.0, 0.4]], [[0.5, 1.0], [0.0, -1.0]]), 0.0, 0.0)
    for now in np.linspace(0.01, 1.49, 53):
        slope = (moving.at(now + 1e-6).positions - moving.at(now - 1e-6).positions) / 2e-6
        np.testing.assert_allclose(moving.at(now).velocities, slope, atol=1e-5)


def test_a_new_trajectory_begins_at_the_present_set_point_and_velocity() -> None:
    moving = follower()
    moving.start(trajectory([1.0], [[1.0, 1.0]]), 0.0, 0.0)
    moving.start(trajectory([1.0], [[0.0, 0.0]], [[0.0, 0.0]]), 0.5, 0.5)
    np.testing.assert_allclose(moving.at(0.5 + 1e-9).positions, [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(moving.at(0.5 + 1e-9).velocities, [1.0, 1.0], atol=1e-6)
    assert moving.at(0.6).positions[0] > 0.5  # it overshoots before it turns
    np.testing.assert_allclose(moving.at(1.5).positions, [0.0, 0.0], atol=1e-12)


def test_a_stream_of_single_points_passes_through_every_one() -> None:
    """What a simulated driver does with its commands: a straight line a period."""
    moving, period = follower(), 1 / 60
    points = np.cumsum(np.linspace(0.0, 0.01, 20))
    for index, point in enumerate(points):
        now = index * period
        moving.start(trajectory([period], [[point, -point]]), now, now)
        before = points[index - 1] if index else 0.0
        for quarter in range(1, 5):
            where = moving.at(now + quarter * period / 4)
            np.testing.assert_allclose(
                where.positions[0], before + (point - before) * quarter / 4, atol=1e-12
            )
            np.testing.assert_allclose(where.velocities[0], (point - before) / period, atol=1e-9)


@settings(deadline=None)
@given(
    st.lists(st.floats(0.01, 0.5), min_size=1, max_size=6),
    st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=6, max_size=6),
    st.floats(0.0, 2.0),
)
def test_the_set_point_never_jumps(
    spans: list[float], points: list[tuple[float, float]], switch: float
) -> None:
    """Whatever follows whatever, and wherever it is replaced."""
    moving = follower()
    times = np.cumsum(spans).tolist()
    moving.start(trajectory(times, [list(point) for point in points[: len(times)]]), 0.0, 0.0)
    steps = [moving.at(now).positions for now in np.linspace(0, switch, 200)]
    moving.start(trajectory(times, [[-x, -y] for x, y in points[: len(times)]]), switch, switch)
    steps += [moving.at(now).positions for now in np.linspace(switch, switch + 3, 600)]
    fastest = 4 / min(spans)
    for first, second in pairwise(steps):
        assert np.abs(second - first).max() <= fastest * 0.011


def test_points_that_are_past_are_skipped() -> None:
    moving = follower(now=10.0)
    moving.start(trajectory([1.0, 2.0], [[9.0, 9.0], [1.0, 1.0]]), 10.0, 8.5)
    np.testing.assert_allclose(moving.at(10.25).positions, [0.5, 0.5], atol=1e-12)
    assert moving.end == 10.5


def test_a_stamp_in_the_future_delays_the_first_point() -> None:
    moving = follower()
    moving.start(trajectory([1.0], [[2.0, 2.0]]), 0.0, 1.0)
    assert moving.at(1.0).positions.tolist() == [1.0, 1.0]
    assert moving.end == 2.0


def test_a_point_of_time_zero_is_the_set_point_at_once() -> None:
    moving = follower()
    moving.start(trajectory([0.0], [[1.0, 1.0]]), 3.0, 3.0)
    assert moving.at(3.0).positions.tolist() == [1.0, 1.0]


def test_a_first_point_of_time_zero_causes_no_jump() -> None:
    moving = follower()
    moving.start(trajectory([0.0, 1.0], [[5.0, 5.0], [1.0, 1.0]]), 0.0, 0.0)
    assert moving.at(1e-6).positions.max() < 1e-5


def test_when_a_trajectory_is_over_already_expect_the_old_one_to_go_on() -> None:
    moving = follower()
    moving.start(trajectory([10.0], [[1.0, 1.0]]), 0.0, 0.0)
    with pytest.raises(InvalidTrajectory, match=r"ended 4\.000 s ago"):
        moving.start(trajectory([1.0], [[7.0, 7.0]]), 5.0, 0.0)
    assert moving.at(5.0).positions.tolist() == [0.5, 0.5]


def test_when_a_stamp_is_of_another_clock_expect_refusal() -> None:
    with pytest.raises(InvalidTrajectory, match="ahead of this clock"):
        follower().start(trajectory([1.0], [[7.0, 7.0]]), 0.0, MOST_AHEAD + 1)


def test_holding_drops_the_trajectory() -> None:
    moving = follower()
    moving.start(trajectory([1.0], [[1.0, 1.0]]), 0.0, 0.0)
    moving.hold(np.array([0.4, 0.6]), 0.5)
    for now in (0.5, 0.75, 2.0):
        assert moving.at(now).positions.tolist() == [0.4, 0.6]
        assert moving.at(now).velocities.tolist() == [0.0, 0.0]


# ---- tolerances ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tolerance:
    """As the message."""

    name: str
    position: float = 0.0
    velocity: float = 0.0
    acceleration: float = 0.0


def test_tolerances_are_defaults_unless_told() -> None:
    found = limits("path_tolerance", NAMES, [Tolerance("b", 0.1, -1.0), Tolerance("a", -1.0, 2.0)], 0.3)
    assert found.positions.tolist() == [math.inf, 0.1]
    assert found.velocities.tolist() == [2.0, math.inf]
    assert limits("path_tolerance", NAMES, [], 0.3).positions.tolist() == [0.3, 0.3]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (Tolerance("c"), "goal_tolerance: unknown joint 'c'"),
        (Tolerance("a", math.nan), "goal_tolerance: the tolerance of a is not a number"),
        (Tolerance("a", acceleration=1.0), "goal_tolerance: accelerations are not measured"),
    ],
)
def test_when_a_tolerance_is_wrong_expect_refusal(told: Tolerance, message: str) -> None:
    with pytest.raises(InvalidTrajectory, match=message):
        limits("goal_tolerance", NAMES, [told], 0.1)


ANY = Limits(np.full(2, math.inf), np.full(2, math.inf))
TOLERANCES = Tolerances(
    path=Limits(np.array([0.1, 0.1]), ANY.velocities), goal=Limits(np.array([0.01, 0.01]), ANY.velocities)
)


@pytest.mark.parametrize(
    ("off", "now", "expected"),
    [
        (0.05, 0.5, "running"),
        (0.2, 0.5, "off_path"),
        (0.005, 0.5, "running"),
        (0.005, 1.0, "reached"),
        (0.05, 1.0, "running"),
        (0.2, 1.5, "running"),  # the path's tolerance ends with the path
        (0.05, 1.0 + GOAL_TIME_TOLERANCE + 0.01, "missed_goal"),
    ],
)
def test_a_goal_is_judged_by_path_and_goal_tolerance(off: float, now: float, expected: str) -> None:
    desired, actual = Setpoint(ZERO, ZERO), Setpoint(np.array([0.0, -off]), ZERO)
    verdict = TOLERANCES.judge(NAMES, desired, actual, now, 1.0)
    assert verdict.kind == expected
    if expected in ("off_path", "missed_goal"):
        assert verdict.message.startswith(f"b is {off:.3f} rad off its position")


def test_velocities_count_where_they_are_told() -> None:
    slow = Tolerances(ANY, Limits(ANY.positions, np.array([0.1, 0.1])))
    actual: tuple[FloatArray, FloatArray] = (ZERO, np.array([0.5, 0.0]))
    verdict = slow.judge(NAMES, Setpoint(ZERO, ZERO), Setpoint(*actual), 3.0, 1.0)
    assert verdict.kind == "missed_goal"
    assert "velocity" in verdict.message


def test_when_goal_time_is_endless_expect_waiting() -> None:
    patient = Tolerances(TOLERANCES.path, TOLERANCES.goal, math.inf)
    far = Setpoint(np.array([1.0, 1.0]), ZERO)
    assert patient.judge(NAMES, Setpoint(ZERO, ZERO), far, 1e6, 1.0).kind == "running"
