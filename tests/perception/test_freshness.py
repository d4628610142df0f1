"""Old, frozen and inconsistent frames are refused within a control period (fault A6)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalie.perception.frame import FrameError, Intrinsics, RgbdFrame
from kalie.perception.freshness import FrameGuard, FrameRefused, FreshnessLimits

LIMITS = FreshnessLimits(width=8, height=6, max_age=0.5)
PERIOD = 0.01


def frame_at(stamp: float, width: int = 8) -> RgbdFrame:
    camera = Intrinsics(width, 6, 10.0, 10.0, 4.0, 3.0)
    return RgbdFrame(np.zeros((6, width, 3), np.uint8), np.ones((6, width), np.float32), camera, stamp=stamp)


def fault_of(guard: FrameGuard, frame: RgbdFrame | None, now: float) -> str | None:
    try:
        guard.check(frame, now)
    except FrameRefused as refused:
        return refused.fault
    return None


def test_fresh_frames_pass_and_may_be_seen_twice() -> None:
    guard = FrameGuard(LIMITS)
    frame = frame_at(10.0)
    assert guard.check(frame, 10.1) is frame
    assert guard.check(frame, 10.2) is frame
    assert guard.check(frame_at(10.25), 10.3).stamp == 10.25


def test_when_no_frame_came_expect_a_refusal() -> None:
    with pytest.raises(FrameRefused, match="no_frame: the camera has sent no frame"):
        FrameGuard(LIMITS).check(None, 1.0)


@pytest.mark.parametrize("stop", [0.0, 0.333, 2.0])
def test_when_the_camera_stops_expect_a_refusal_within_a_period_of_the_limit(stop: float) -> None:
    guard = FrameGuard(LIMITS)
    refused_at = None
    for tick in range(400):
        now = 100.0 + tick * PERIOD
        stamp = min(now, 100.0 + stop)
        fault = fault_of(guard, frame_at(stamp), now)
        if fault is not None:
            assert fault == "frozen"
            refused_at = now
            break
    assert refused_at is not None
    limit = 100.0 + stop + LIMITS.max_age
    assert limit - 1e-9 <= refused_at <= limit + PERIOD + 1e-9


def test_when_the_image_is_older_than_the_limit_expect_a_refusal() -> None:
    with pytest.raises(FrameRefused, match=r"too_old: .* 0.600 s old, the limit is 0.5 s"):
        FrameGuard(LIMITS).check(frame_at(10.0), 10.6)


def test_when_frames_keep_coming_late_expect_every_one_refused() -> None:
    guard = FrameGuard(LIMITS)
    assert {fault_of(guard, frame_at(t), t + 1.0) for t in np.arange(0.0, 2.0, 0.1)} == {"too_old"}


def test_when_the_intrinsics_are_of_another_size_expect_a_refusal() -> None:
    with pytest.raises(FrameRefused, match=r"wrong_size: .*\(16, 6\).*expected \(8, 6\)"):
        FrameGuard(LIMITS).check(frame_at(1.0, width=16), 1.0)


def test_when_intrinsics_and_image_differ_expect_the_frame_itself_refuses() -> None:
    camera = Intrinsics(16, 6, 10.0, 10.0, 4.0, 3.0)
    with pytest.raises(FrameError, match="rgb: expected"):
        RgbdFrame(np.zeros((6, 8, 3), np.uint8), np.ones((6, 8), np.float32), camera)


@pytest.mark.parametrize("stamp", [9.0, 11.0, 3600.0, np.nan, np.inf, -np.inf])
def test_when_a_stamp_jumps_expect_a_refusal(stamp: float) -> None:
    guard = FrameGuard(LIMITS)
    guard.check(frame_at(10.0), 10.0)
    assert fault_of(guard, frame_at(stamp), 10.02) == "clock_jump"


@pytest.mark.parametrize("now", [9.99, -3590.0, 3610.0, np.nan, np.inf])
def test_when_the_clock_jumps_expect_a_refusal(now: float) -> None:
    guard = FrameGuard(LIMITS)
    guard.check(frame_at(10.0), 10.0)
    assert fault_of(guard, frame_at(10.0), now) == "clock_jump"


def test_after_a_refusal_good_frames_pass_again() -> None:
    guard = FrameGuard(LIMITS)
    guard.check(frame_at(10.0), 10.0)
    assert fault_of(guard, frame_at(10.0), 12.0) == "frozen"
    assert fault_of(guard, frame_at(np.nan), 12.01) == "clock_jump"
    assert fault_of(guard, frame_at(12.0), 12.02) is None


def test_reset_accepts_a_new_clock() -> None:
    guard = FrameGuard(LIMITS)
    guard.check(frame_at(1000.0), 1000.0)
    guard.reset()
    assert fault_of(guard, frame_at(1.0), 1.0) is None


@pytest.mark.parametrize(
    "settings", [{"max_age": 0.0}, {"max_age": np.nan}, {"max_lead": -1.0}, {"max_gap": 0.0}]
)
def test_when_a_limit_is_senseless_expect_an_error_naming_it(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        FreshnessLimits(8, 6, **settings)


@given(steps=st.lists(st.tuples(st.floats(0, 2), st.floats(-2, 2)), max_size=30))
def test_no_frame_older_than_the_limit_ever_passes(steps: list[tuple[float, float]]) -> None:
    guard = FrameGuard(LIMITS)
    now = 0.0
    for advance, offset in steps:
        now += advance
        if fault_of(guard, frame_at(now + offset), now) is None:
            assert -LIMITS.max_lead <= -offset + 1e-9
            assert -offset <= LIMITS.max_age + 1e-9
