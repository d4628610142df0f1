"""From JointState messages, in whatever order and pieces they come, to the newest `ArmState`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kalie.control.arm import ArmState
from kalie.perception.frame import FloatArray

from .faults import NoState


@dataclass(frozen=True)
class Jaws:
    """How the position of the gripper's joint and the gap between the jaws belong together (linearly).

    Attributes:
        joints: whose mean absolute position counts; without any, the jaws count as open.
        closed: the position at gap 0.
        opened: the position at the widest gap.
        widest: m.
    """

    joints: tuple[str, ...]
    closed: float
    opened: float
    widest: float

    def __post_init__(self) -> None:
        if self.closed == self.opened:
            raise ValueError("gripper_closed_position and gripper_open_position must differ")

    def gap(self, position: float) -> float:
        """Metres between the jaws at a joint position."""
        return self.widest * (position - self.closed) / (self.opened - self.closed)

    def position(self, gap: float) -> float:
        """The joint position that gives a gap of so many metres."""
        return self.closed + (self.opened - self.closed) * min(max(gap, 0.0), self.widest) / self.widest


@dataclass(frozen=True)
class _Sample:
    """A joint's newest position and velocity, and when they came, s on the steady clock."""

    position: float
    velocity: float
    received: float


class JointStates:
    """The newest state of every joint of interest. Thread-safe.

    Ages are told on the receiver's steady clock, so that nobody's clock can make an old state look new; the
    stamps must agree with this machine's clock all the same, because frames are matched by them.
    """

    def __init__(self, names: tuple[str, ...], jaws: Jaws, max_clock_skew: float) -> None:
        """Follow the J joints `names`, base to tip, and the jaws'."""
        self.names, self.jaws, self._max_skew = names, jaws, max_clock_skew
        self._samples: dict[str, _Sample] = {}
        self._efforts: dict[str, float] = {}
        self._skew = 0.0
        self._stamp = 0.0
        self._changed = threading.Condition()

    def take(
        self,
        names: Sequence[str],
        positions: Sequence[float],
        velocities: Sequence[float],
        stamp: float,
        received: float,
        now: float,
    ) -> None:
        """Take up one message.

        Args:
            names: of its joints.
            positions: one per joint.
            velocities: one per joint, or none at all.
            stamp: of its header, s.
            received: s, on this machine's steady clock.
            now: s, on the clock that stamps should be of.

        Raises:
            ValueError: its arrays do not fit together.
        """
        if len(positions) != len(names) or len(velocities) not in (0, len(names)):
            raise ValueError(
                f"joint_states: {len(names)} names, {len(positions)} positions, {len(velocities)} velocities"
            )
        rates = velocities if len(velocities) else [0.0] * len(names)
        with self._changed:
            for name, position, rate in zip(names, positions, rates, strict=True):
                self._samples[name] = _Sample(float(position), float(rate), received)
            if any(name in self.names for name in names):
                self._skew, self._stamp = now - stamp, stamp
            self._changed.notify_all()

    def take_efforts(self, names: Sequence[str], efforts: Sequence[float]) -> None:
        """Take up external efforts, N m. Raises ValueError where the arrays do not fit together."""
        if len(names) != len(efforts):
            raise ValueError(f"external_efforts: {len(names)} names, {len(efforts)} efforts")
        with self._changed:
            self._efforts.update(zip(names, map(float, efforts), strict=True))

    def newest(self) -> ArmState:
        """The state; its stamp is when its oldest joint was heard of, on the steady clock.

        Raises:
            NoState: a joint was never heard of, the jaws are NaN, or the clocks disagree.
        """
        with self._changed:
            missing = [name for name in (*self.names, *self.jaws.joints) if name not in self._samples]
            if missing:
                raise NoState(f"joint_states: nothing heard of {', '.join(missing)}")
            if abs(self._skew) > self._max_skew:
                raise NoState(
                    f"joint_states: stamped {self._skew:.3f} s before this machine's clock "
                    f"(at most {self._max_skew:g}): the clocks disagree"
                )
            arm = [self._samples[name] for name in self.names]
            jaws = [abs(self._samples[name].position) for name in self.jaws.joints]
            efforts = [self._efforts[name] for name in self.names if name in self._efforts]
        width = self.jaws.gap(float(np.mean(jaws))) if jaws else self.jaws.widest
        if not np.isfinite(width):
            raise NoState(f"joint_states: {', '.join(self.jaws.joints)}: not finite")
        return ArmState(
            np.array([sample.position for sample in arm]),
            np.array([sample.velocity for sample in arm]),
            width,
            min(sample.received for sample in arm),
            np.array(efforts) if len(efforts) == len(self.names) else None,
        )

    @property
    def stamp(self) -> float:
        """The newest header stamp of the arm's joints, s."""
        with self._changed:
            return self._stamp

    def age(self, now: float) -> float:
        """Seconds since the arm's joints were last heard of, all of them; infinite before."""
        with self._changed:
            known = [self._samples[name].received for name in self.names if name in self._samples]
        return now - min(known) if len(known) == len(self.names) else float("inf")

    def wait_beyond(self, stamp: float, timeout: float) -> bool:
        """Wait until a state stamped later than `stamp` has come; whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._stamp > stamp, timeout)


def braking(
    positions: FloatArray, velocities: FloatArray, acceleration: FloatArray, period: float
) -> FloatArray:
    """Joint positions (N, J), one per control period, that bring every joint to rest at full deceleration.

    Args:
        positions: (J,) rad, where it begins.
        velocities: (J,) rad/s there.
        acceleration: (J,) rad/s^2.
        period: s.
    """
    stop = np.abs(velocities) / acceleration
    count = max(1, int(np.ceil(stop.max() / period)))
    times = np.arange(1, count + 1)[:, None] * period
    inside = np.minimum(times, stop)
    return positions + velocities * inside - np.sign(velocities) * acceleration * inside**2 / 2
