"""What the control node says about itself: heartbeat, feedback, plan, diagnostics."""

from __future__ import annotations

import math
from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.time import Time
from std_msgs.msg import Header

from kalie.control.kinematics import Kinematics
from kalie.control.plan import JointTrajectory
from kalie_interfaces.action import ExecuteTask
from kalie_interfaces.msg import SafetyStatus

from .conversions import transform_from_matrix
from .joint_states import JointStates
from .task_run import TaskRun
from .watched import WatchedGate

# Samples between two poses of a path that is shown.
PATH_EVERY = 5
_STATUS = {
    "passed": SafetyStatus.PASSED,
    "clamped": SafetyStatus.CLAMPED,
    "refused": SafetyStatus.REFUSED,
    "stopped": SafetyStatus.STOPPED,
}


def safety(gate: WatchedGate, age: float, moving: bool, now: Time) -> SafetyStatus:
    """The heartbeat.

    Args:
        gate: of the arm.
        age: s, of the newest joint state.
        moving: whether a goal is under way.
        now: the stamp.
    """
    message = SafetyStatus(header=Header(stamp=now.to_msg()), joint_state_age=float(age))
    message.emergency_stop = gate.stopped
    message.status = SafetyStatus.STOPPED if gate.stopped else SafetyStatus.IDLE
    if gate.last is not None and moving and not gate.stopped:
        message.status, message.reasons = _STATUS[gate.last.status], list(gate.last.reasons)
    return message


def feedback(run: TaskRun, status: SafetyStatus) -> ExecuteTask.Feedback:
    """Where a run stands."""
    at = run.progress()
    return ExecuteTask.Feedback(
        phase=at.phase, waypoint=at.waypoint, waypoints=at.waypoints, progress=at.share, safety=status
    )


def tcp_path(
    trajectories: Sequence[JointTrajectory], kinematics: Kinematics, base_frame: str, now: Time
) -> Path:
    """The tool centre point's way along a motion, in the base frame, for RViz."""
    path = Path(header=Header(stamp=now.to_msg(), frame_id=base_frame))
    for trajectory in trajectories:
        for positions in trajectory.positions[::PATH_EVERY]:
            at = transform_from_matrix(kinematics.forward(positions))
            pose = PoseStamped(header=path.header)
            pose.pose.position.x, pose.pose.position.y = at.translation.x, at.translation.y
            pose.pose.position.z, pose.pose.orientation = at.translation.z, at.rotation
            path.poses.append(pose)
    return path


def diagnostics(
    name: str, status: SafetyStatus, states: JointStates, affordance_there: bool, limit: float, now: Time
) -> DiagnosticArray:
    """The node's health for `/diagnostics`.

    Args:
        name: of the node.
        status: its heartbeat.
        states: of the arm.
        affordance_there: whether the affordance node is in the graph.
        limit: s, at which joint states are stale.
        now: the stamp.
    """
    age = status.joint_state_age
    stale = not age <= limit
    level, words = DiagnosticStatus.OK, "ready"
    if not affordance_there:
        level, words = DiagnosticStatus.WARN, "the affordance node is not there"
    if stale:
        missing = "were never heard" if math.isinf(age) else f"are {age:.2f} s old"
        level, words = DiagnosticStatus.ERROR, f"joint states {missing}"
    if status.emergency_stop:
        level, words = DiagnosticStatus.ERROR, "the e-stop is latched"
    values = {
        "joint_state_age": f"{age:.3f}",
        "joints": ", ".join(states.names),
        "emergency_stop": str(status.emergency_stop).lower(),
        "reasons": "; ".join(status.reasons),
    }
    item = DiagnosticStatus(level=level, name=name, message=words, hardware_id="arm")
    item.values = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticArray(header=Header(stamp=now.to_msg()), status=[item])
