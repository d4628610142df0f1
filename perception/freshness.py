"""Whether a frame may still be acted on: the guard between a camera and anything that moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from .frame import FrameError, RgbdFrame

FrameFault = Literal["no_frame", "wrong_size", "clock_jump", "frozen", "too_old"]


class FrameRefused(FrameError):
    """A frame must not be acted on; `fault` says why for programs, the message for people."""

    def __init__(self, fault: FrameFault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault: FrameFault = fault


@dataclass(frozen=True)
class FreshnessLimits:
    """What a fresh frame is.

    Attributes:
        width: expected image width, pixels.
        height: expected image height, pixels.
        max_age: seconds between the frame's stamp and now.
        max_lead: seconds that a stamp may lie in the future (clocks that are slightly apart).
        max_gap: seconds that the clock may advance between two checks; more is a jump.
    """

    width: int
    height: int
    max_age: float = 0.5
    max_lead: float = 0.005
    max_gap: float = 60.0

    def __post_init__(self) -> None:
        for name, value in (("max_age", self.max_age), ("max_gap", self.max_gap)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}: expected a positive number of seconds, got {value}")
        if not (math.isfinite(self.max_lead) and self.max_lead >= 0):
            raise ValueError(f"max_lead: expected seconds, not negative, got {self.max_lead}")


class FrameGuard:
    """Checks the newest frame of one camera in every control period.

    A frame may be seen many times (control runs faster than cameras) until it is too old. Times come from the
    caller, who reads the same steady clock that stamps the frames.
    """

    def __init__(self, limits: FreshnessLimits) -> None:
        self.limits = limits
        self._stamp = -math.inf
        self._now = -math.inf

    def check(self, frame: RgbdFrame | None, now: float) -> RgbdFrame:
        """The frame itself, if it may be acted on.

        Args:
            frame: the newest frame, None when none has come.
            now: seconds on the clock of `frame.stamp`.

        Raises:
            FrameRefused: no frame has come; its size is not the expected one; its stamp or the clock jumped;
                it has not changed for too long (frozen) or came too late (too_old).
        """
        self._check_clock(now)
        if frame is None:
            raise FrameRefused("no_frame", "the camera has sent no frame")
        self._check_size(frame)
        previous, self._stamp = self._stamp, self._check_stamp(frame.stamp, now)
        age = now - frame.stamp
        if age <= self.limits.max_age:
            return frame
        limit = f"{age:.3f} s old, the limit is {self.limits.max_age:g} s"
        if frame.stamp == previous:
            raise FrameRefused("frozen", f"no new frame since stamp {frame.stamp:.3f}; it is {limit}")
        raise FrameRefused("too_old", f"the frame of stamp {frame.stamp:.3f} is {limit}")

    def reset(self) -> None:
        """Forget the last stamp and time, for a new camera or a new clock."""
        self._stamp = self._now = -math.inf

    def _check_clock(self, now: float) -> None:
        before, self._now = self._now, now if math.isfinite(now) else self._now
        if not math.isfinite(now) or now < before:
            raise FrameRefused("clock_jump", f"the clock reads {now}, before it read {before}")
        if math.isfinite(before) and now - before > self.limits.max_gap:
            raise FrameRefused("clock_jump", f"the clock advanced {now - before:.1f} s since the last check")

    def _check_size(self, frame: RgbdFrame) -> None:
        size = (frame.intrinsics.width, frame.intrinsics.height)
        expected = (self.limits.width, self.limits.height)
        if size != expected:
            raise FrameRefused("wrong_size", f"intrinsics are of {size} pixels, expected {expected}")

    def _check_stamp(self, stamp: float, now: float) -> float:
        if not math.isfinite(stamp) or stamp > now + self.limits.max_lead:
            raise FrameRefused("clock_jump", f"stamp {stamp} lies in the future of {now}")
        if stamp < self._stamp:
            raise FrameRefused("clock_jump", f"stamp {stamp} is before the last one, {self._stamp}")
        return stamp
