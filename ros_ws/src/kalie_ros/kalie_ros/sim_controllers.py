"""The simulated arm's controllers: the topics and actions of ros2_control, in front of a simulated robot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from control_msgs.action import FollowJointTrajectory, GripperCommand
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from kalie.sim.arm import JOINT_NAMES
from kalie.sim.world import FINGER_FORCE

from .conversions import seconds
from .fast_lane import FastLane
from .managed import ManagedNode
from .qos import COMMAND
from .sim_goals import Controller, Goal, Hardware
from .sim_robot import ARM_SIZE, FINGER_LIMIT, RobotState
from .trajectory_follower import (
    GOAL_TIME_TOLERANCE,
    GOAL_TOLERANCE,
    PATH_TOLERANCE,
    InvalidTrajectory,
    Setpoint,
    Tolerances,
    Trajectory,
    check_begin,
    limits,
)

# A finger this near to its goal (m) has reached it: jaws that hold nothing by `control`'s measure have.
FINGER_TOLERANCE = 0.001
# A finger slower than this (m/s) for so long (s) has stalled.
STALL_SPEED = 0.001
STALL_TIME = 0.25


@dataclass
class _TrajectoryGoal(Goal[FollowJointTrajectory.Result]):
    """A goal with its tolerances, and when its last point is due."""

    tolerances: Tolerances | None = None
    due: float = math.inf


class ArmController(Controller[FollowJointTrajectory.Result]):
    """A joint_trajectory_controller: `<name>/joint_trajectory` and `<name>/follow_joint_trajectory`."""

    def __init__(self, node: ManagedNode, hardware: Hardware, name: str) -> None:
        super().__init__(node, hardware, FollowJointTrajectory, f"{name}/follow_joint_trajectory")
        self._lane = FastLane(node, "commands")
        self._lane.subscribe(JointTrajectory, f"{name}/joint_trajectory", self._command, COMMAND)
        self._lane.start()

    def destroy(self) -> None:
        """Take topic and action off the graph."""
        self._lane.close()
        super().destroy()

    @property
    def busy(self) -> bool:
        """Whether a goal is in progress."""
        return self._goal is not None

    def watch(self, state: RobotState) -> None:
        """Judge the goal in progress; for the control loop, after every period."""
        goal = self._goal
        if not isinstance(goal, _TrajectoryGoal) or goal.tolerances is None:
            return
        goal.state = state
        verdict = goal.tolerances.judge(JOINT_NAMES, state.desired, state.actual, state.time, goal.due)
        if verdict.kind == "running":
            return
        codes = FollowJointTrajectory.Result
        code = {
            "reached": codes.SUCCESSFUL,
            "off_path": codes.PATH_TOLERANCE_VIOLATED,
            "missed_goal": codes.GOAL_TOLERANCE_VIOLATED,
        }[verdict.kind]
        reached = verdict.kind == "reached"
        if not reached:
            self._hold()
        result = codes(error_code=code, error_string=verdict.message)
        self._end("succeeded" if reached else "aborted", verdict.message, result)

    def _command(self, message: JointTrajectory) -> None:
        """A trajectory from the topic: it replaces whatever is followed; one without points stops the arm."""
        try:
            refusal = self._hardware.refusal()
            if refusal:
                raise InvalidTrajectory(refusal)
            trajectory = _parse(message) if message.points else None
        except InvalidTrajectory as error:
            self._ignore(error)
            return
        self._hardware.loop.tell(lambda: self._replace(message.header, trajectory), asks=True)

    def _replace(self, header: Header, trajectory: Trajectory | None) -> None:
        robot = self._hardware.robot
        try:
            if trajectory is None:
                robot.hold()
            else:
                robot.follower.start(trajectory, robot.time, self._hardware.begin(header))
        except InvalidTrajectory as error:
            self._ignore(error)
        else:
            self._end("aborted", "a trajectory on the topic has replaced this one")

    def _ignore(self, error: InvalidTrajectory) -> None:
        self._node.get_logger().warning(f"joint_trajectory ignored: {error}", throttle_duration_sec=1.0)

    def _check(self, request: FollowJointTrajectory.Goal) -> None:
        if request.multi_dof_trajectory.points or request.component_path_tolerance:
            raise InvalidTrajectory("multi_dof_trajectory: the arm's joints have one degree of freedom each")
        _tolerances(request)
        robot = self._hardware.robot
        check_begin(_parse(request.trajectory), robot.time, self._hardware.begin(request.trajectory.header))

    def _start(self, request: FollowJointTrajectory.Goal) -> _TrajectoryGoal:
        robot = self._hardware.robot
        begin = self._hardware.begin(request.trajectory.header)
        robot.follower.start(_parse(request.trajectory), robot.time, begin)
        return _TrajectoryGoal(self._failure(""), tolerances=_tolerances(request), due=robot.follower.end)

    def _hold(self) -> None:
        self._hardware.robot.hold()

    def _failure(self, reason: str) -> FollowJointTrajectory.Result:
        code = FollowJointTrajectory.Result.INVALID_GOAL
        return FollowJointTrajectory.Result(error_code=code, error_string=reason)

    def _feedback(self, state: RobotState) -> FollowJointTrajectory.Feedback:
        desired, actual = state.desired, state.actual
        error = Setpoint(desired.positions - actual.positions, desired.velocities - actual.velocities)
        feedback = FollowJointTrajectory.Feedback(joint_names=JOINT_NAMES)
        feedback.header.stamp = self._node.get_clock().now().to_msg()
        feedback.desired, feedback.actual, feedback.error = map(_point, (desired, actual, error))
        return feedback


def _parse(message: JointTrajectory) -> Trajectory:
    points = message.points
    return Trajectory.parse(
        JOINT_NAMES,
        list(message.joint_names),
        [seconds(point.time_from_start) for point in points],
        [point.positions for point in points],
        [point.velocities for point in points],
    )


def _tolerances(request: FollowJointTrajectory.Goal) -> Tolerances:
    late = seconds(request.goal_time_tolerance)
    return Tolerances(
        limits("path_tolerance", JOINT_NAMES, request.path_tolerance, PATH_TOLERANCE),
        limits("goal_tolerance", JOINT_NAMES, request.goal_tolerance, GOAL_TOLERANCE),
        math.inf if late < 0 else late or GOAL_TIME_TOLERANCE,
    )


def _point(where: Setpoint) -> JointTrajectoryPoint:
    return JointTrajectoryPoint(positions=where.positions.tolist(), velocities=where.velocities.tolist())


@dataclass
class _GripGoal(Goal[GripperCommand.Result]):
    """A goal with where its fingers should be (m), and when they were last seen moving."""

    finger: float = FINGER_LIMIT
    moved: float = 0.0


class GripperController(Controller[GripperCommand.Result]):
    """A gripper_action_controller: `position` is one finger's, metres from the middle."""

    def __init__(self, node: ManagedNode, hardware: Hardware, name: str) -> None:
        super().__init__(node, hardware, GripperCommand, name)

    def stop(self, reason: str) -> None:
        """Abort the goal in progress; jaws at rest go on holding what they hold. For the control loop."""
        if self._goal is not None:
            self._hold()
        self._end("aborted", reason)

    def watch(self, state: RobotState) -> None:
        """Judge the goal in progress; for the control loop, after every period."""
        goal = self._goal
        if not isinstance(goal, _GripGoal):
            return
        goal.state = state
        if abs(state.finger_velocity) > STALL_SPEED:
            goal.moved = state.time
        reached = abs(state.finger - goal.finger) < FINGER_TOLERANCE
        stalled = state.time - goal.moved > STALL_TIME
        if reached or stalled:
            result = _jaws(GripperCommand.Result(reached_goal=reached, stalled=not reached), state)
            self._end("succeeded", "", result)

    def _check(self, request: GripperCommand.Goal) -> None:
        position, effort = request.command.position, request.command.max_effort
        if not 0 <= position <= FINGER_LIMIT:
            raise ValueError(f"position: one finger goes from 0 to {FINGER_LIMIT} m, not to {position}")
        if not effort >= 0:
            raise ValueError(f"max_effort: must not be negative, got {effort}")

    def _start(self, request: GripperCommand.Goal) -> _GripGoal:
        robot, finger = self._hardware.robot, request.command.position
        # No effort at all means: as much as there is.
        robot.grip(finger, request.command.max_effort or FINGER_FORCE)
        return _GripGoal(self._failure(""), finger=finger, moved=robot.time)

    def _hold(self) -> None:
        robot = self._hardware.robot
        robot.grip(robot.state().finger)

    def _failure(self, reason: str) -> GripperCommand.Result:
        return GripperCommand.Result()

    def _feedback(self, state: RobotState) -> GripperCommand.Feedback:
        return _jaws(GripperCommand.Feedback(), state)


Jaws = TypeVar("Jaws", GripperCommand.Result, GripperCommand.Feedback)


def _jaws(message: Jaws, state: RobotState) -> Jaws:
    message.position, message.effort = state.finger, float(np.abs(state.efforts[ARM_SIZE:]).mean())
    return message
