"""An arm and its gate with what feedback and heartbeats need to know of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from kalie.control.arm import Arm, ArmState, Execution
from kalie.control.plan import JointTrajectory
from kalie.control.safety import GateResult, JointCommand, SafetyGate


class WatchedGate(SafetyGate):
    """A gate that remembers its last answer."""

    last: GateResult | None = None

    def check(self, command: JointCommand | None, state: ArmState, now: float) -> GateResult:
        """What may be sent in this control period; see `SafetyGate.check`."""
        self.last = super().check(command, state, now)
        return self.last


class WatchedArm:
    """An `Arm` that knows how far it has come through the trajectories of a motion. Thread-safe."""

    def __init__(self, arm: Arm, trajectories: Sequence[JointTrajectory]) -> None:
        """Watch `arm` carry out `trajectories` in order."""
        self._arm, self._trajectories = arm, trajectories
        self._index, self._began = -1, time.monotonic()
        self._lock = threading.Lock()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The actuated arm joints, base to tip."""
        return self._arm.joint_names

    def state(self) -> ArmState:
        """The newest measured state."""
        return self._arm.state()

    def execute(self, trajectory: JointTrajectory) -> Execution:
        """Run one trajectory, the next of the motion."""
        with self._lock:
            self._index, self._began = self._index + 1, time.monotonic()
        return self._arm.execute(trajectory)

    def stop(self) -> None:
        """Stop the arm."""
        self._arm.stop()

    def resume(self) -> None:
        """Allow motion again."""
        self._arm.resume()

    def progress(self) -> tuple[str, int, float]:
        """The phase under way, its index, and the share of the whole motion that is over, by time."""
        with self._lock:
            index, elapsed = max(self._index, 0), time.monotonic() - self._began
        durations = [trajectory.duration for trajectory in self._trajectories]
        over = sum(durations[:index]) + min(elapsed, durations[index])
        return self._trajectories[index].phase, index, over / max(sum(durations), 1e-9)
