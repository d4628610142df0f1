"""What `kalie ros send` and `kalie ros stop` see of a control node; the instruction says how a goal goes."""

from __future__ import annotations

import os
import signal
import time

import rclpy
from rclpy.action.server import ActionServer, CancelResponse, GoalResponse, ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger

from kalie_interfaces.action import ExecuteTask
from kalie_interfaces.msg import SafetyStatus

Result = ExecuteTask.Result


class TinyControl(Node):
    """Accepts any goal but "busy"; "die" kills it, "silence" its heartbeat; "wait" ends when canceled."""

    def __init__(self) -> None:
        super().__init__("control", namespace="/kalie")
        group = ReentrantCallbackGroup()
        self._safety = self.create_publisher(SafetyStatus, "~/safety", 10)
        self._silent = False
        self.create_timer(0.1, self._beat, callback_group=group)
        self.create_service(Trigger, "~/emergency_stop", self._press, callback_group=group)
        self.create_service(Trigger, "~/reset_emergency_stop", self._reset, callback_group=group)
        self._server = ActionServer(
            self,
            ExecuteTask,
            "execute_task",
            self._execute,
            callback_group=group,
            goal_callback=lambda goal: GoalResponse(1 if goal.instruction == "busy" else 2),
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def _beat(self) -> None:
        if not self._silent:
            self._safety.publish(SafetyStatus(status=SafetyStatus.IDLE))

    def _press(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = True, "stopped"
        return response

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = False, "a goal is still ending"
        return response

    def _execute(self, handle: ServerGoalHandle) -> Result:
        for waypoint in range(3):
            feedback = ExecuteTask.Feedback(
                phase="lift", waypoint=waypoint, waypoints=3, progress=waypoint / 3
            )
            if waypoint > 0:
                reason = f"panda_joint{3 + waypoint} too fast"
                feedback.safety = SafetyStatus(status=SafetyStatus.CLAMPED, reasons=[reason])
            handle.publish_feedback(feedback)
            time.sleep(0.1)
        word = handle.request.instruction
        if word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        self._silent = word == "silence"
        while word in ("silence", "wait") and not handle.is_cancel_requested:
            handle.publish_feedback(ExecuteTask.Feedback(phase="wait"))
            time.sleep(0.1)
        if handle.is_cancel_requested:
            handle.canceled()
            return Result(outcome=Result.CANCELED, message="canceled by the client")
        if word == "stall":
            handle.abort()
            return Result(outcome=Result.STALLED, message="lift: the arm stands still")
        handle.succeed()
        return Result(outcome=Result.SUCCEEDED)


if __name__ == "__main__":
    rclpy.init()
    executor = MultiThreadedExecutor(4)
    executor.add_node(TinyControl())
    executor.spin()
