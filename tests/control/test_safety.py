from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalie.control.arm import ArmState
from kalie.control.kinematics import Kinematics
from kalie.control.limits import JointLimits
from kalie.control.safety import (
    GateResult,
    JointCommand,
    SafetyGate,
    SafetyLimits,
    braked_velocity,
    clamp_velocity,
)
from kalie.perception.frame import FloatArray

PERIOD = 1 / 60


class Stream:
    """A gate, a steady clock, and an arm that follows what the gate sends."""

    def __init__(self, gate: SafetyGate, start: FloatArray) -> None:
        self.gate, self.now, self.positions = gate, 0.0, start.copy()
        self.velocities = np.zeros_like(start)
        gate.start(start, 0.0)

    def tick(
        self, wanted: FloatArray | None, dt: float = PERIOD, age: float = 0.0, state_age: float = 0.0
    ) -> GateResult:
        self.now += dt
        command = None if wanted is None else JointCommand(wanted, self.now - age)
        state = ArmState(self.positions, self.velocities, 0.08, self.now - state_age)
        result = self.gate.check(command, state, self.now)
        self.velocities = (result.positions - self.positions) / dt
        self.positions = result.positions
        return result

    def move(self, velocity: FloatArray, ticks: int) -> None:
        for _ in range(ticks):
            self.tick(self.positions + velocity * PERIOD)


@pytest.fixture
def stream(gate: SafetyGate, home: FloatArray) -> Stream:
    return Stream(gate, home)


def violations(
    before: FloatArray, velocities: FloatArray, after: FloatArray, dt: float, limits: JointLimits
) -> int:
    """How many joint samples break a position, velocity or acceleration limit."""
    v = (after - before) / dt
    return int(
        ((after < limits.lower - 1e-9) | (after > limits.upper + 1e-9)).sum()
        + (np.abs(v) > limits.velocity + 1e-9).sum()
        + (np.abs(v - velocities) > limits.acceleration * dt + 1e-7).sum()
    )


def test_a_million_random_commands_give_no_violation(kinematics: Kinematics) -> None:
    """B1, B2: 1000 arms for 1000 periods of random length, each wanting anything at all."""
    limits, rng = kinematics.limits, np.random.default_rng(0)
    q = rng.uniform(limits.lower, limits.upper, (1000, 7))
    v = np.zeros_like(q)
    broken = 0
    for _ in range(1000):
        dt = float(rng.uniform(0.001, 0.1))
        wanted = rng.normal(size=q.shape) * 10 ** rng.uniform(-2, 3)
        given_v = clamp_velocity(wanted, q, v, dt, limits)
        broken += violations(q, v, q + given_v * dt, dt, limits)
        assert np.isfinite(given_v).all()
        q, v = q + given_v * dt, given_v
    assert broken == 0


def test_the_gate_never_lets_a_random_stream_out_of_its_limits(stream: Stream) -> None:
    """B1, B2 on the whole gate, NaN, infinities, jumps, late and missing commands among them."""
    rng, limits = np.random.default_rng(1), stream.gate.limits
    statuses = set()
    for _ in range(8000):
        before, velocities = stream.positions, stream.velocities
        wanted: FloatArray | None = before + rng.normal(size=7) * 10 ** rng.uniform(-4, -1)
        fault = rng.random()
        if fault < 0.02:
            wanted[rng.integers(7)] = rng.choice([np.nan, np.inf, -np.inf, 1e300])
        elif fault < 0.04:
            wanted = None
        dt = float(rng.choice([0.005, PERIOD, 0.05]))
        age = float(rng.choice([0.0, 0.0, 0.0, 0.05, 0.2]))
        result = stream.tick(wanted, dt, age=age * (fault > 0.9))
        statuses.add(result.status)
        assert violations(before, velocities, result.positions, dt, limits.joints) == 0
        tcp = stream.gate.forward(result.positions)[:3, 3]
        assert (tcp >= np.array(limits.workspace_low) - 1e-9).all()
        assert (tcp <= np.array(limits.workspace_high) + 1e-9).all()
        assert (result.status == "passed") == (not result.reasons)
    assert statuses == {"passed", "clamped", "refused"}


def test_small_safe_commands_pass_unchanged(stream: Stream) -> None:
    wanted = stream.positions + 1e-4
    result = stream.tick(wanted)
    assert result.status == "passed"
    assert np.array_equal(result.positions, wanted)


@settings(max_examples=200, deadline=None)
@given(
    wanted=st.floats(-1e6, 1e6),
    start=st.floats(-1.0, 1.0),
    speed=st.floats(-2.0, 2.0),
    dt=st.floats(1e-4, 0.25),
)
def test_braking_from_anything_clamped_stops_before_the_limit(
    wanted: float, start: float, speed: float, dt: float
) -> None:
    limits = JointLimits(("j",), -np.ones(1), np.ones(1), np.array([2.0]), np.array([5.0]), np.array([50.0]))
    room = (1.0 - start) if speed > 0 else (start + 1.0)
    q, v = np.array([start]), np.array([np.sign(speed) * min(abs(speed), np.sqrt(2 * 5.0 * room))])
    v = clamp_velocity(np.array([wanted]), q, v, dt, limits)
    q = q + v * dt
    while v.any():
        v = braked_velocity(v, dt, limits)
        q = q + v * dt
        assert -1 - 1e-9 <= q[0] <= 1 + 1e-9


@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("joint", [0, 6])
def test_when_command_is_not_finite_expect_hold(stream: Stream, fault: float, joint: int) -> None:
    wanted = stream.positions.copy()
    wanted[joint] = fault
    before = stream.positions
    result = stream.tick(wanted)
    assert result.status == "refused"
    assert "not finite" in result.reasons[0]
    assert np.array_equal(result.positions, before)
    assert stream.tick(before).status == "passed"


def test_when_state_is_not_finite_expect_hold(stream: Stream, home: FloatArray) -> None:
    state = ArmState(np.full(7, np.nan), np.zeros(7), 0.08, PERIOD)
    result = stream.gate.check(JointCommand(home, PERIOD), state, PERIOD)
    assert result.status == "refused"
    assert "state" in result.reasons[0]
    assert np.array_equal(result.positions, home)


def test_when_command_has_the_wrong_number_of_joints_expect_refusal(stream: Stream) -> None:
    before = stream.positions
    result = stream.tick(np.zeros(6))
    assert np.array_equal(result.positions, before)
    assert result.status == "refused"
    assert "7 positions" in result.reasons[0]


@pytest.mark.parametrize("dt", [0.0, -0.01, np.nan, np.inf])
def test_when_dt_is_not_positive_expect_refusal(stream: Stream, home: FloatArray, dt: float) -> None:
    stream.tick(home)
    now = stream.now + dt
    result = stream.gate.check(JointCommand(home + 0.01, now), ArmState(home, home * 0, 0.08, now), now)
    assert result.status == "refused"
    assert "now" in result.reasons[0] or "dt" in result.reasons[0]
    assert np.array_equal(result.positions, home)


def test_when_dt_is_huge_expect_a_fresh_start_and_no_deadlock(stream: Stream) -> None:
    stream.move(np.full(7, 0.5), 20)
    result = stream.tick(stream.positions + 0.01, dt=3.0)
    assert result.status == "refused"
    assert "3.000 s" in result.reasons[0]
    assert stream.gate.at_rest
    assert stream.tick(stream.positions + 1e-4).status == "passed"


@pytest.mark.parametrize("back", [0.0, 0.01])
def test_when_stamp_repeats_or_goes_back_expect_refusal(stream: Stream, back: float) -> None:
    stream.tick(stream.positions)
    result = stream.tick(stream.positions + 1e-3, age=PERIOD + back)
    assert result.status == "refused"
    assert "repeats or precedes" in result.reasons[0]


def test_when_stamp_lies_in_the_future_expect_refusal(stream: Stream) -> None:
    assert stream.tick(stream.positions, age=-1.0).status == "refused"


@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", ["age", "state_age"])
def test_when_a_stamp_is_not_finite_expect_hold(stream: Stream, what: str, fault: float) -> None:
    """B1: no comparison with NaN may pass for "young enough"."""
    before = stream.positions
    result = stream.tick(before + 1e-3, **{what: fault})
    assert result.status == "refused"
    assert np.array_equal(result.positions, before)
    assert stream.tick(before + 1e-4).status == "passed"


@pytest.mark.parametrize("what", ["age", "state_age"])
def test_when_command_or_state_is_stale_expect_smooth_halt_in_time(stream: Stream, what: str) -> None:
    """B4: the braking starts in the first period in which the age exceeds 0.1 s."""
    velocity = np.full(7, 0.5)
    stream.move(velocity, 30)
    late = 0.1 + PERIOD / 2
    before, velocities = stream.positions, stream.velocities
    result = stream.tick(before + velocity * PERIOD, **{what: late})
    assert result.status == "refused"
    assert "stale" in result.reasons[0]
    assert violations(before, velocities, result.positions, PERIOD, stream.gate.limits.joints) == 0
    assert (np.abs(stream.velocities) < np.abs(velocities)).all()
    for _ in range(20):
        stream.tick(None)
    assert stream.gate.at_rest


def test_when_commands_stop_coming_expect_rest(stream: Stream) -> None:
    stream.move(np.full(7, 0.5), 30)
    for _ in range(20):
        assert stream.tick(None).reasons == ("command: none came in this period",)
    assert stream.gate.at_rest


def test_when_an_old_queue_arrives_after_a_cut_expect_none_of_it_executed(stream: Stream) -> None:
    """B5: five seconds of queued commands arrive at once after the producer came back."""
    held = stream.positions
    queue = [(held + 1e-3 * k, stream.now + PERIOD * k) for k in range(1, 300)]
    stream.tick(None, dt=5.2)
    for positions, stamp in queue:
        stream.now += 1e-4
        state = ArmState(stream.positions, stream.velocities, 0.08, stream.now)
        result = stream.gate.check(JointCommand(positions, stamp), state, stream.now)
        assert result.status == "refused"
        assert np.array_equal(result.positions, held)


def test_when_a_producer_dies_in_motion_expect_rest_and_no_old_command_in_a_hundred_trials(
    gate: SafetyGate, home: FloatArray
) -> None:
    """B5: it is cut off for up to 5 s, then its queue comes one by one, then it starts anew."""
    rng = np.random.default_rng(4)
    for _ in range(100):
        velocity = rng.uniform(-0.3, 0.3, 7)
        stream = Stream(gate, home)
        stream.move(velocity, 5)
        last, periods = stream.positions, int(rng.integers(20, 300))
        for _ in range(periods):
            stream.tick(None)
        assert stream.gate.at_rest
        held = stream.positions
        for k in range(1, 50):
            result = stream.tick(last + velocity * PERIOD * k, age=(periods + 1) * PERIOD)
            assert result.status == "refused"
            assert "stale" in result.reasons[0]
            assert np.array_equal(result.positions, held)
        assert stream.tick(held + 1e-4).status == "passed"


def test_when_emergency_stop_expect_zero_velocity_latched_until_reset(stream: Stream) -> None:
    """B6, a thousand times from random motion."""
    rng = np.random.default_rng(2)
    for _ in range(1000):
        stream.move(rng.uniform(-0.4, 0.4, 7), 3)
        before = stream.positions
        stream.gate.emergency_stop()
        for wanted in (before + 0.01, before, None):
            result = stream.tick(wanted)
            assert result.status == "stopped"
            assert np.array_equal(result.positions, before)
        stream.gate.start(before, stream.now)
        assert stream.tick(before + 1e-4).status == "stopped"
        stream.gate.reset()
        assert stream.tick(before + 1e-5).status == "passed"


def test_when_system_time_jumps_expect_only_the_given_clock_to_count(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B7: the gate asks no clock of its own."""

    def no_clock() -> float:
        raise AssertionError("the gate read a clock")

    for name in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, no_clock)
    assert stream.tick(stream.positions + 1e-4).status == "passed"
    assert stream.tick(stream.positions, age=0.2).status == "refused"


def test_when_simulated_time_is_paused_expect_hold(stream: Stream, home: FloatArray) -> None:
    stream.tick(home)
    for _ in range(5):
        state = ArmState(home, home * 0, 0.08, stream.now)
        result = stream.gate.check(JointCommand(home + 0.1, stream.now), state, stream.now)
        assert result.status == "refused"
        assert np.array_equal(result.positions, home)


def test_when_arm_starts_outside_its_limits_expect_only_the_way_back(stream: Stream) -> None:
    """B8: outward is held, inward moves, and in the end nothing is left to complain about."""
    limits = stream.gate.limits.joints
    start = stream.positions.copy()
    start[3] = limits.upper[3] + 0.05
    stream = Stream(SafetyGate(stream.gate.limits, stream.gate.forward), start)
    outward = stream.tick(start + np.eye(7)[3] * 0.01)
    assert outward.positions[3] <= start[3]
    assert "panda_joint4: position limit" in outward.reasons[0]
    for _ in range(200):
        stream.tick(stream.positions - np.eye(7)[3] * 0.002)
    assert limits.outside(stream.positions) is None
    assert stream.tick(stream.positions - np.eye(7)[3] * 1e-4).status == "passed"


def test_when_arm_starts_at_all_zeros_expect_no_deadlock(stream: Stream) -> None:
    stream = Stream(SafetyGate(stream.gate.limits, stream.gate.forward), np.zeros(7))
    for _ in range(100):
        stream.tick(stream.positions - np.eye(7)[3] * 0.002)
    assert stream.positions[3] < -0.1


def test_when_tcp_starts_outside_the_workspace_expect_only_the_way_back(
    kinematics: Kinematics, home: FloatArray
) -> None:
    limits = SafetyLimits(kinematics.limits, workspace_low=(-0.2, -0.8, 0.5))
    stream = Stream(SafetyGate(limits, kinematics.forward), home)
    lower = np.array([0.0, 0.004, 0.0, 0.0, 0.0, 0.0, 0.0])
    down = stream.tick(home + lower)
    assert down.status == "refused"
    assert "workspace" in down.reasons[-1]
    assert np.array_equal(down.positions, home)
    height = kinematics.forward(home)[2, 3]
    for _ in range(100):
        stream.tick(stream.positions - lower)
    assert kinematics.forward(stream.positions)[2, 3] > height + 0.05


def test_when_tcp_would_go_below_the_minimum_height_expect_stop_above_it(stream: Stream) -> None:
    lean = np.array([0.0, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0])
    *_, result = (stream.tick(stream.positions + lean) for _ in range(600))
    assert result.status == "refused"
    assert "workspace" in result.reasons[-1]
    assert 0.0 <= stream.gate.forward(stream.positions)[2, 3] < 0.05


def test_when_step_is_a_jump_expect_refusal_naming_the_joint(stream: Stream) -> None:
    result = stream.tick(stream.positions + np.eye(7)[2] * 0.3)
    assert result.status == "refused"
    assert result.reasons == ("step: panda_joint3 jumps by 0.300 rad",)


def test_when_configured_to_refuse_expect_no_clamping(stream: Stream) -> None:
    limits = replace(stream.gate.limits, violation="refuse")
    stream = Stream(SafetyGate(limits, stream.gate.forward), stream.positions)
    before = stream.positions
    result = stream.tick(before + np.eye(7)[1] * 0.15)
    assert result.status == "refused"
    assert "panda_joint2: velocity limit" in result.reasons[0]
    assert np.array_equal(result.positions, before)


def test_clamping_names_joint_and_limit(stream: Stream) -> None:
    result = stream.tick(stream.positions + np.eye(7)[0] * 0.02)
    assert result.status == "clamped"
    assert "panda_joint1: acceleration limit" in result.reasons[0]
    assert result.positions[0] < stream.gate.limits.joints.upper[0]


def test_when_gate_was_not_started_expect_error(gate: SafetyGate, home: FloatArray) -> None:
    with pytest.raises(RuntimeError, match="start"):
        gate.check(None, ArmState(home, home, 0.0, 0.0), 0.0)


@pytest.mark.parametrize("bad", [np.zeros(6), np.full(7, np.nan)])
def test_when_started_with_bad_positions_expect_error(gate: SafetyGate, bad: FloatArray) -> None:
    with pytest.raises(ValueError, match="7 finite"):
        gate.start(bad, 0.0)


def test_what_leaves_the_gate_is_not_the_gate_s_own_memory(stream: Stream, home: FloatArray) -> None:
    stream.tick(home).positions[:] = np.nan
    stream.positions = home
    assert np.isfinite(stream.tick(home).positions).all()
