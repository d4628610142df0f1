"""What the simulated arm's actions share: a newer goal ends the older one, canceling stops at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from rclpy.action.server import ActionServer, CancelResponse, GoalResponse, ServerGoalHandle
from std_msgs.msg import Header

from .managed import ManagedNode
from .sim_loop import ControlLoop
from .sim_robot import RobotState, SimulatedRobot

# Wall seconds between feedbacks.
FEEDBACK_PERIOD = 0.05
# A cancelled goal may be concluded only when the server has marked it, which is after its callback.
CANCEL_PATIENCE = 1.0
Ending = Literal["succeeded", "aborted", "canceled"]
Result = TypeVar("Result")


@dataclass
class Goal(Generic[Result]):
    """An accepted goal; `result` counts once `done` is set.

    Attributes:
        result: for the client.
        ending: how it ended.
        state: the newest one, for feedback.
        done: set when it ended.
    """

    result: Result
    ending: Ending = "aborted"
    state: RobotState | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def end(self, ending: Ending, result: Result) -> None:
        """End it."""
        self.ending, self.result = ending, result
        self.done.set()


@dataclass(frozen=True)
class Hardware:
    """What the controllers act on, and when they may.

    Attributes:
        robot: for jobs of `loop` only.
        loop: owns the robot.
        refusal: why no command is taken now; empty when one is.
        begin: when a header's stamp is, in simulated seconds.
    """

    robot: SimulatedRobot
    loop: ControlLoop
    refusal: Callable[[], str]
    begin: Callable[[Header], float]


class Controller(Generic[Result]):
    """One action whose newer goal ends the older one. What touches `_goal` is done by the control loop."""

    def __init__(self, node: ManagedNode, hardware: Hardware, action: Any, name: str) -> None:  # noqa: ANN401
        self._node, self._hardware, self._action = node, hardware, action
        self._goal: Goal[Result] | None = None
        self._goals: dict[bytes, Goal[Result]] = {}
        self._server = ActionServer(
            node,
            action,
            name,
            self._forgotten,
            callback_group=node.group,
            goal_callback=self._decide,
            handle_accepted_callback=self._accept,
            cancel_callback=self._cancel,  # pyright: ignore[reportArgumentType] - it gets a handle
        )

    def destroy(self) -> None:
        """Take the action off the graph."""
        self._server.destroy()

    def stop(self, reason: str) -> None:
        """Hold, and abort the goal in progress. For the control loop."""
        self._end("aborted", reason)
        self._hold()

    # ---- what each kind does ---------------------------------------------------------------------------

    def _check(self, request: Any) -> None:  # noqa: ANN401 - the action's
        """Raise a ValueError where a goal cannot be followed."""
        raise NotImplementedError

    def _start(self, request: Any) -> Goal[Result]:  # noqa: ANN401 - the action's
        """Begin a goal that was checked; for the control loop."""
        raise NotImplementedError

    def _hold(self) -> None:
        """Stop moving; for the control loop."""
        raise NotImplementedError

    def _failure(self, reason: str) -> Result:
        """The result of a goal that something outside it ended."""
        raise NotImplementedError

    def _feedback(self, state: RobotState) -> Any:  # noqa: ANN401 - the action's
        """What a client is told on the way."""
        raise NotImplementedError

    # ---- the life of a goal ----------------------------------------------------------------------------

    def _decide(self, request: Any) -> GoalResponse:  # noqa: ANN401 - the action's
        try:
            refusal = self._hardware.refusal()
            if refusal:
                raise ValueError(refusal)
            self._check(request)
        except ValueError as error:
            self._node.get_logger().warning(f"goal rejected: {error}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _accept(self, handle: ServerGoalHandle) -> None:
        started = self._hardware.loop.call(lambda: self._take_over(handle))
        handle.execute(lambda handle: self._follow(handle, started.result()))

    def _take_over(self, handle: ServerGoalHandle) -> Goal[Result]:
        """Replace the goal in progress."""
        self._end("aborted", "a newer goal has replaced this one")
        try:
            goal = self._start(handle.request)
        except ValueError as error:
            self._hold()
            goal = Goal(self._failure(str(error)))
            goal.done.set()
        else:
            self._goal = goal
        self._goals[bytes(handle.goal_id.uuid)] = goal
        return goal

    def _follow(self, handle: ServerGoalHandle, goal: Goal[Result]) -> Result:
        """Tell the client how it goes, and how it went."""
        while not goal.done.wait(FEEDBACK_PERIOD):
            if goal.state is not None:
                handle.publish_feedback(self._feedback(goal.state))
        if goal.ending == "canceled":
            deadline = time.monotonic() + CANCEL_PATIENCE
            while not handle.is_cancel_requested and time.monotonic() < deadline:
                time.sleep(0.001)
        conclude = {"succeeded": handle.succeed, "aborted": handle.abort, "canceled": handle.canceled}
        conclude[goal.ending]()
        self._goals.pop(bytes(handle.goal_id.uuid), None)
        return goal.result

    def _cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        def cancel() -> None:
            if self._goal is not None and self._goal is self._goals.get(bytes(handle.goal_id.uuid)):
                self._hold()
                self._end("canceled", "canceled by the client")

        self._hardware.loop.tell(cancel)
        return CancelResponse.ACCEPT

    def _end(self, ending: Ending, reason: str, result: Result | None = None) -> None:
        """End the goal in progress, if there is one; for the control loop."""
        goal, self._goal = self._goal, None
        if goal is not None:
            goal.end(ending, self._failure(reason) if result is None else result)
            if ending == "aborted":
                self._node.get_logger().warning(f"goal aborted: {reason}")

    def _forgotten(self, handle: ServerGoalHandle) -> Result:
        """The server wants a callback for goals that are started without one; none is."""
        return self._failure("not started")
