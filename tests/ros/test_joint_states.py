from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalie_ros.arm_topics import LockstepPace
from kalie_ros.faults import NoState
from kalie_ros.joint_states import Jaws, JointStates, braking

NAMES = ("a", "b")
JAWS = Jaws(("finger",), closed=0.0, opened=0.04, widest=0.08)


def states(skew: float = 0.5) -> JointStates:
    return JointStates(NAMES, JAWS, skew)


def test_joints_come_in_any_order_and_in_pieces() -> None:
    known = states()
    known.take(("b", "other", "a"), (2.0, 9.0, 1.0), (0.2, 0.9, 0.1), 100.0, 5.0, 100.0)
    known.take(("finger",), (0.01,), (), 100.0, 5.1, 100.0)
    state = known.newest()
    np.testing.assert_array_equal(state.positions, [1.0, 2.0])
    np.testing.assert_array_equal(state.velocities, [0.1, 0.2])
    assert state.gripper_width == pytest.approx(0.02)
    assert state.external_efforts is None


def test_when_one_joint_goes_silent_expect_the_age_of_that_one() -> None:
    known = states()
    known.take((*NAMES, "finger"), (1.0, 2.0, 0.0), (), 0.0, 5.0, 0.0)
    known.take(("a",), (1.1,), (), 0.0, 9.0, 0.0)
    assert known.newest().stamp == 5.0
    assert known.age(9.5) == pytest.approx(4.5)


@pytest.mark.parametrize("missing", ["a", "b", "finger"])
def test_when_a_joint_was_never_heard_of_expect_it_named(missing: str) -> None:
    known = states()
    names = [name for name in (*NAMES, "finger") if name != missing]
    known.take(names, [0.0] * len(names), (), 0.0, 1.0, 0.0)
    with pytest.raises(NoState, match=missing):
        known.newest()


@pytest.mark.parametrize("stamp", [90.0, 110.0])
def test_when_clocks_disagree_expect_no_state(stamp: float) -> None:
    known = states()
    known.take((*NAMES, "finger"), (0.0, 0.0, 0.0), (), stamp, 1.0, 100.0)
    with pytest.raises(NoState, match="clocks disagree"):
        known.newest()


def test_when_the_jaws_are_nan_expect_no_state() -> None:
    """A gap that is not known must not pass for an object that is held."""
    known = states()
    known.take((*NAMES, "finger"), (0.0, 0.0, float("nan")), (), 0.0, 1.0, 0.0)
    with pytest.raises(NoState, match="finger"):
        known.newest()


@pytest.mark.parametrize(("positions", "velocities"), [((0.0,), ()), ((0.0, 0.0), (0.0,))])
def test_when_arrays_do_not_fit_expect_refusal_and_the_old_state_kept(
    positions: tuple[float, ...], velocities: tuple[float, ...]
) -> None:
    known = states()
    known.take((*NAMES, "finger"), (1.0, 2.0, 0.0), (), 0.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="joint_states"):
        known.take(NAMES, positions, velocities, 0.0, 2.0, 0.0)
    assert known.newest().stamp == 1.0


def test_efforts_count_only_when_every_joint_has_one() -> None:
    known = states()
    known.take((*NAMES, "finger"), (1.0, 2.0, 0.0), (), 0.0, 1.0, 0.0)
    known.take_efforts(("a",), (3.0,))
    assert known.newest().external_efforts is None
    known.take_efforts(("b", "a"), (4.0, 3.0))
    np.testing.assert_array_equal(known.newest().external_efforts, [3.0, 4.0])


@given(
    closed=st.floats(-1, 1),
    span=st.floats(0.01, 1).flatmap(lambda size: st.sampled_from((size, -size))),
    share=st.floats(0, 1),
)
def test_gap_and_position_are_each_others_inverse(closed: float, span: float, share: float) -> None:
    jaws = Jaws(("finger",), closed, closed + span, 0.08)
    assert jaws.gap(jaws.position(share * 0.08)) == pytest.approx(share * 0.08, abs=1e-9)


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_braking_keeps_the_deceleration_and_ends_at_rest(velocities: list[float]) -> None:
    v, a, period = np.array(velocities), np.array([5.0, 10.0, 20.0]), 0.01
    samples = np.concatenate([[np.zeros(3)], braking(np.zeros(3), v, a, period)])
    speeds = np.diff(samples, axis=0) / period
    assert np.all(np.abs(speeds) <= np.abs(v) + 1e-9)
    assert np.all(np.abs(np.diff(speeds, axis=0)) <= a * period + 1e-9)
    assert np.all(np.abs(speeds[-1]) <= a * period)


def test_in_lock_step_no_two_periods_are_at_one_time() -> None:
    known = states()

    def heard(stamp: float) -> None:
        known.take((*NAMES, "finger"), (0.0, 0.0, 0.0), (), stamp, stamp, stamp)

    heard(1.0)
    pace = LockstepPace(known, patience=0.01)
    pace.restart()
    heard(2.0)
    pace.wait()
    heard(3.0)  # Too early: this period has not read the time yet.
    first = pace.now()
    pace.wait()
    assert pace.now() > first == 3.0
