"""An arm that is driven by a stream of joint positions: one short JointTrajectory a control period."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from control_msgs.action import GripperCommand
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from kalie.control.arm import ArmState
from kalie.perception.frame import FloatArray

from .conversions import duration, seconds
from .fast_lane import FastLane
from .faults import ArmRefused, NoState
from .joint_states import JointStates, braking
from .managed import ManagedNode
from .qos import COMMAND, SENSOR

# Two widths nearer than this, m, are one command.
SAME_WIDTH = 1e-4
# An arm that follows lags less behind what it was sent, rad; one that stalls, more.
STUCK = 0.25
# So many joint states after a moment, the newest was measured after it; and how long one may take, s.
FRESH_STATES, REFRESH_TIMEOUT = 3, 2.0


@dataclass(frozen=True)
class ArmTopics:
    """What the arm's own nodes are called.

    Attributes:
        joint_states: topic of the measured joints.
        external_efforts: topic of the efforts beyond the arm's own weight and motion; empty = not measured.
        trajectory: topic of the controller.
        trajectory_action: its action; empty = not used.
        gripper_action: of the jaws; empty = the arm has none.
        gripper_max_effort: N.
    """

    joint_states: str
    external_efforts: str
    trajectory: str
    trajectory_action: str
    gripper_action: str
    gripper_max_effort: float


class Pace(Protocol):
    """How control periods pass."""

    def now(self) -> float:
        """Seconds, steadily."""
        ...

    def wait(self) -> None:
        """Let one control period pass."""
        ...

    def restart(self) -> None:
        """The next period begins now; what was missed is not made up for."""
        ...

    def received(self, stamp: float) -> float:
        """When a message that came just now, stamped `stamp`, counts as received, s on this clock."""
        ...


class WallPace:
    """Control periods of this machine's steady clock, evenly spaced if it keeps up."""

    def __init__(self, period: float) -> None:
        self._period, self._next = period, 0.0

    def now(self) -> float:
        """Seconds of the steady clock."""
        return time.monotonic()

    def wait(self) -> None:
        """Sleep until the next period; one that is missed by more than a period is not made up for."""
        now = time.monotonic()
        self._next = self._next + self._period if now < self._next + 2 * self._period else now + self._period
        time.sleep(max(0.0, self._next - time.monotonic()))

    def restart(self) -> None:
        """The next period begins now."""
        self._next = time.monotonic()

    def received(self, stamp: float) -> float:
        """Now: nobody else's clock can make an old state look new."""
        return time.monotonic()


class LockstepPace:
    """Control periods of a simulator that waits for commands: one passes when a newer joint state has come.

    Time is the states' stamps, plus however long none came: a simulator that stops must look stale.
    """

    def __init__(self, states: JointStates, patience: float) -> None:
        self._states, self._patience, self._seen, self._waited = states, patience, 0.0, 0.0

    def now(self) -> float:
        """Seconds of the simulator; what is told belongs to this period, so that no two are at one time."""
        self._seen = self._states.stamp
        return self._seen + self._waited

    def wait(self) -> None:
        """Wait for a newer joint state, but not for ever."""
        came = self._states.wait_beyond(self._seen, self._patience)
        self._waited = 0.0 if came else self._waited + self._patience
        self._seen = self._states.stamp

    def restart(self) -> None:
        """The next period begins with the state that is there."""
        self._seen, self._waited = self._states.stamp, 0.0

    def received(self, stamp: float) -> float:
        """Its stamp, which is the simulator's time."""
        return stamp


class Gripper:
    """The jaws, through a GripperCommand action."""

    def __init__(self, node: ManagedNode, topics: ArmTopics, position: Callable[[float], float]) -> None:
        self._position, self._effort, self._told = position, topics.gripper_max_effort, -1.0
        self._refusal = ""
        self._client = None
        if topics.gripper_action:
            self._client = ActionClient(
                node, GripperCommand, topics.gripper_action, callback_group=node.group
            )

    def move(self, width: float) -> None:
        """Send the jaws to an opening, m; a repeated one is not sent again.

        Raises:
            ArmRefused: the gripper is not there, or rejected the last command.
        """
        if self._refusal:
            refusal, self._refusal = self._refusal, ""
            raise ArmRefused(refusal)
        if self._client is None or abs(width - self._told) < SAME_WIDTH:
            return
        if not self._client.server_is_ready():
            raise ArmRefused("gripper: its action server is not there")
        goal = GripperCommand.Goal()
        goal.command.position, goal.command.max_effort = float(self._position(width)), self._effort
        self._told = width
        self._client.send_goal_async(goal).add_done_callback(self._answered)

    def forget(self) -> None:
        """Send the next command whatever it is."""
        self._told = -1.0

    def destroy(self) -> None:
        """Leave the graph."""
        if self._client is not None:
            self._client.destroy()

    def _answered(self, future: object) -> None:
        handle = future.result()  # pyright: ignore[reportAttributeAccessIssue]
        if handle is None or not handle.accepted:
            self._told, self._refusal = -1.0, "gripper: the command was rejected"


class ArmLink:
    """What both ways of driving an arm over ROS share: its state, its jaws, the pace of its periods."""

    def __init__(self, node: ManagedNode, topics: ArmTopics, states: JointStates, pace: Pace) -> None:
        self.node, self.states, self.pace = node, states, pace
        self.gripper = Gripper(node, topics, states.jaws.position)
        self.publisher = node.create_publisher(JointTrajectory, topics.trajectory, COMMAND)
        self._lane = FastLane(node, "states")
        self._lane.subscribe(JointState, topics.joint_states, self._heard, SENSOR)
        if topics.external_efforts:
            self._lane.subscribe(JointState, topics.external_efforts, self._heard_efforts, SENSOR)
        self._lane.start()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The actuated arm joints, base to tip."""
        return self.states.names

    def now(self) -> float:
        """Seconds on the pace's clock."""
        return self.pace.now()

    def state(self) -> ArmState:
        """The newest measured state. Raises NoState."""
        return self.states.newest()

    def prepare(self) -> None:
        """Before a motion: whatever was sent earlier does not count any more."""
        self.gripper.forget()
        self.pace.restart()

    def refresh(self) -> None:
        """Wait for states that were measured after this call, whatever was on its way. Raises NoState."""
        for _ in range(FRESH_STATES):
            if not self.states.wait_beyond(self.states.stamp, REFRESH_TIMEOUT):
                raise NoState(f"joint_states: none came for {REFRESH_TIMEOUT:g} s")

    def destroy(self) -> None:
        """Leave the graph."""
        self._lane.close()
        self.node.destroy_publisher(self.publisher)
        self.gripper.destroy()

    def _heard(self, message: JointState) -> None:
        stamp, now = seconds(message.header.stamp), self.node.get_clock().now().nanoseconds * 1e-9
        received = self.pace.received(stamp)
        with self._malformed_ignored():
            self.states.take(message.name, message.position, message.velocity, stamp, received, now)

    def _heard_efforts(self, message: JointState) -> None:
        with self._malformed_ignored():
            self.states.take_efforts(message.name, message.effort)

    @contextmanager
    def _malformed_ignored(self) -> Iterator[None]:
        """Tell of what does not fit together, once a second; where nothing else comes, the state is stale."""
        try:
            yield
        except ValueError as error:
            self.node.get_logger().warning(f"ignored: {error}", throttle_duration_sec=1.0)


class StreamDriver(ArmLink):
    """An `ArmDriver` that publishes one point a control period; for `control.gated.GatedArm`."""

    def __init__(
        self,
        node: ManagedNode,
        topics: ArmTopics,
        states: JointStates,
        pace: Pace,
        period: float,
        horizon: float,
        acceleration: FloatArray,
    ) -> None:
        """Drive the joints of `states`.

        Args:
            node: that publishes.
            topics: of the arm.
            states: of its joints.
            pace: of the control periods.
            period: s.
            horizon: s after its arrival at which a point is to be reached; at least `period`.
            acceleration: (J,) rad/s^2, with which `halt` brakes.
        """
        super().__init__(node, topics, states, pace)
        self._period, self._horizon, self._acceleration = period, horizon, acceleration
        self._last: FloatArray | None = None
        self._velocities = np.zeros(len(states.names))
        self._lock = threading.Lock()

    def send(self, positions: FloatArray, gripper_width: float) -> None:
        """Send joint positions (J,) and a jaw opening (m), and let one control period pass."""
        if not np.isfinite(positions).all():
            raise ValueError(f"positions are not finite: {positions}")
        with self._lock:
            last = positions if self._last is None else self._last
            self._velocities, self._last = (positions - last) / self._period, np.array(positions)
            self._publish(positions[None], self._horizon)
        self.gripper.move(gripper_width)
        self.pace.wait()

    def prepare(self) -> None:
        """Before a motion: whatever was sent earlier does not count any more."""
        with self._lock:
            self._last, self._velocities = None, np.zeros(len(self.joint_names))
        super().prepare()

    def halt(self) -> None:
        """Brake at once, from what was sent last; an arm that was sent nothing is held where it is.

        One that is stuck far from what it was sent is told to stay there: freed, it must not spring on.
        """
        with self._lock:
            if self._last is None:
                return
            where = self._stuck_at(self._last)
            if where is None:
                samples = braking(self._last, self._velocities, self._acceleration, self._period)
            else:
                samples = where[None]
            self._publish(samples, self._period)
            self._last, self._velocities = None, np.zeros(len(self.joint_names))

    def _stuck_at(self, sent: FloatArray) -> FloatArray | None:
        """Where an arm is that does not follow; None for one that does, or that nothing is known of."""
        try:
            measured = self.states.newest().positions
        except NoState:
            return None
        return measured if STUCK < np.abs(measured - sent).max() < np.inf else None

    def _publish(self, samples: FloatArray, first: float) -> None:
        message = JointTrajectory(joint_names=list(self.joint_names))
        # A zero stamp means "from now on".
        message.points = [
            JointTrajectoryPoint(
                positions=sample.tolist(), time_from_start=duration(first + index * self._period)
            )
            for index, sample in enumerate(samples)
        ]
        self.publisher.publish(message)
