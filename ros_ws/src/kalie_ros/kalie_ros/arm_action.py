"""An arm whose controller follows whole trajectories: FollowJointTrajectory, for `control.following`."""

from __future__ import annotations

import threading

from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionClient
from rclpy.task import Future
from trajectory_msgs.msg import JointTrajectoryPoint

from kalie.control.plan import JointTrajectory

from .arm_topics import ArmLink, ArmTopics, Pace
from .conversions import duration
from .faults import ArmRefused
from .joint_states import JointStates
from .managed import ManagedNode


class ActionServerLink(ArmLink):
    """A `TrajectoryServer` over a FollowJointTrajectory action."""

    def __init__(self, node: ManagedNode, topics: ArmTopics, states: JointStates, pace: Pace) -> None:
        super().__init__(node, topics, states, pace)
        self._client = ActionClient(
            node, FollowJointTrajectory, topics.trajectory_action, callback_group=node.group
        )
        self._lock = threading.Lock()
        self._number = 0
        self._handle: object | None = None
        self._result: str | None = ""
        self._canceled = False

    def move_jaws(self, width: float) -> None:
        """Send the jaws to an opening, m. Raises ArmRefused."""
        self.gripper.move(width)

    def begin(self, trajectory: JointTrajectory) -> None:
        """Hand a trajectory to the controller. Raises ArmRefused where it is not there."""
        if not self._client.server_is_ready():
            raise ArmRefused("trajectory action: its server is not there")
        with self._lock:
            self._number += 1
            number, self._handle, self._result, self._canceled = self._number, None, None, False
        self.pace.restart()
        goal = FollowJointTrajectory.Goal()
        goal.trajectory.joint_names = list(trajectory.joint_names)
        goal.trajectory.points = [
            JointTrajectoryPoint(
                positions=positions.tolist(), velocities=velocities.tolist(), time_from_start=duration(at)
            )
            for at, positions, velocities in zip(
                trajectory.times, trajectory.positions, trajectory.velocities, strict=True
            )
        ]
        sent = self._client.send_goal_async(goal)
        sent.add_done_callback(lambda future: self._answered(future, number))

    def wait(self) -> None:
        """Let one control period pass."""
        self.pace.wait()

    def result(self) -> str | None:
        """None while the controller is at work, "" when it is done, else why it rejected or aborted."""
        with self._lock:
            return self._result

    def cancel(self) -> None:
        """Have the controller stop and hold."""
        with self._lock:
            self._canceled = True
            if self._handle is not None and self._result is None:
                self._handle.cancel_goal_async()  # pyright: ignore[reportAttributeAccessIssue]

    def destroy(self) -> None:
        """Leave the graph."""
        super().destroy()
        self._client.destroy()

    def _answered(self, future: Future, number: int) -> None:
        handle = future.result()
        with self._lock:
            if number != self._number:
                return
            if handle is None or not handle.accepted:
                self._result = "rejected the trajectory"
                return
            self._handle = handle
            if self._canceled:
                handle.cancel_goal_async()
        handle.get_result_async().add_done_callback(lambda ended: self._ended(ended, number))

    def _ended(self, future: Future, number: int) -> None:
        answer = future.result()
        with self._lock:
            if number != self._number:
                return
            if answer is not None and answer.status == GoalStatus.STATUS_SUCCEEDED:
                self._result = ""
            elif answer is None:
                self._result = "did not answer"
            else:
                reason = answer.result.error_string or f"error code {answer.result.error_code}"
                self._result = f"aborted the trajectory: {reason}"
