"""Have the robot do a task: `kalie ros send "sweep the trash off the table"`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ._ros_client import FIND, NAMESPACE, Asker, NoAnswer, asker, where
from ._ros_env import enter_ros
from ._ros_graph import TaskName
from ._verb import Verb

# Seconds of silence after which the control node is gone; its heartbeat comes ten times a second.
HEARTBEAT = 2.0
# As long as a goal may wait for the end of the one that it takes over from.
FEEDBACK = 10.0
ACTION = f"{NAMESPACE}/execute_task"
SAFETY = f"{NAMESPACE}/control/safety"


@dataclass(frozen=True)
class RosSendConfig:
    """Keys of `kalie ros send`.

    Attributes:
        instruction: what to do, in words; may stand there without its key.
        task: which primitive carries it out; read from the instruction if null.
        dry_run: look, judge and plan, and do not move.
    """

    instruction: str
    task: TaskName | None = None
    dry_run: bool = False


class Pulse:
    """Whether the goal is still in good hands: an active control node speaks, and gives feedback at work."""

    def __init__(self, ask: Asker) -> None:
        from rclpy.qos import qos_profile_sensor_data

        from kalie_interfaces.msg import SafetyStatus

        self._node = self._goal = time.monotonic()
        ask.node.create_subscription(SafetyStatus, SAFETY, self._hear, qos_profile_sensor_data)

    def _hear(self, _: object) -> None:
        self._node = time.monotonic()

    def feedback(self) -> None:
        """Feedback has come."""
        self._goal = time.monotonic()

    def check(self) -> None:
        """Raise NoAnswer once there has been silence for too long."""
        now = time.monotonic()
        if now - self._node > HEARTBEAT:
            raise NoAnswer(f"the control node is gone: {SAFETY} has been silent for {HEARTBEAT:g} s")
        if now - self._goal > FEEDBACK:
            raise NoAnswer(f"the goal is gone: no feedback for {FEEDBACK:g} s; was the node started anew?")


class Display:
    """What feedback says, on the terminal: a bar, lines for phases and the gate, one a phase if it clamps."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        self.bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self.bars.add_task("sent", total=1.0)
        self._phase, self._safety, self._clamped = "", "", ""
        self.canceling = False

    def cancel(self) -> None:
        """The user wants it to end."""
        self.canceling = True
        self.bars.console.print("canceling")

    def show(self, feedback: Any) -> None:  # noqa: ANN401 - ExecuteTask.Feedback, known only with ROS
        """Take up a feedback message."""
        where_to = f", waypoint {feedback.waypoint + 1} of {feedback.waypoints}" if feedback.waypoints else ""
        line = f"{feedback.phase}{where_to}"
        if feedback.phase != self._phase:
            self.bars.console.print(escape(line))
        safety = safety_line(feedback.safety)
        clamps = feedback.safety.status == type(feedback.safety).CLAMPED
        if safety and safety != self._safety and not (clamps and self._clamped == feedback.phase):
            self.bars.console.print(f"[yellow]{escape(safety)}[/]", soft_wrap=True)
        self._phase, self._safety = feedback.phase, safety
        self._clamped = feedback.phase if clamps else self._clamped
        self.bars.update(self._task, completed=feedback.progress, description=escape(line))


def constant_name(message: type, value: int) -> str:
    """The name of an interface's constant in words, e.g. "emergency stop"."""
    # The generated classes have their constants as properties of their metaclass.
    for name in dir(type(message)):
        if name.isupper() and not name.startswith("_") and getattr(message, name) == value:
            return name.lower().replace("_", " ")
    return str(value)


def safety_line(status: Any) -> str:  # noqa: ANN401 - SafetyStatus, known only with ROS
    """What the safety gate did, e.g. "safety gate: clamped: panda_joint4 too fast"; empty for nothing."""
    kind = type(status)
    if status.status in (kind.PASSED, kind.IDLE):
        return ""
    return f"safety gate: {constant_name(kind, status.status)}: {'; '.join(status.reasons)}".rstrip(": ")


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM for the time of the block instead of acting on them."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def carry_out(ask: Asker, cfg: RosSendConfig, display: Display, came: list[int]) -> Any:  # noqa: ANN401 - ROS
    """Send the goal and follow it to its end; an interrupt cancels it and waits for that end.

    Raises:
        NoAnswer: there is no control node, it is gone, or it rejects the goal.
    """
    from rclpy.action.client import ActionClient

    from kalie_interfaces.action import ExecuteTask

    client = ActionClient(ask.node, ExecuteTask, ACTION)
    if not ask.wait(lambda: client.server_is_ready() or bool(came), FIND):
        raise NoAnswer(f"no control node: {ACTION} was not found within {FIND:g} s ({where()})")
    if came:
        raise KeyboardInterrupt
    pulse = Pulse(ask)

    def hear(message: Any) -> None:  # noqa: ANN401 - the feedback's wrapper, which has no name
        pulse.feedback()
        display.show(message.feedback)

    goal = ExecuteTask.Goal(instruction=cfg.instruction, task=cfg.task or "", dry_run=cfg.dry_run)
    handle = _follow(ask, client.send_goal_async(goal, feedback_callback=hear), pulse)
    if not handle.accepted:
        raise NoAnswer("the control node rejected the goal: another one is under way, or it is not active")

    def cancel() -> None:
        if came and not display.canceling:
            display.cancel()
            handle.cancel_goal_async()

    return _follow(ask, handle.get_result_async(), pulse, cancel).result


def _follow(ask: Asker, future: Any, pulse: Pulse, meanwhile: Callable[[], None] | None = None) -> Any:  # noqa: ANN401
    """Wait for a future while there is a pulse."""
    while not future.done():
        pulse.check()
        ask.spin(0.1)
        if meanwhile is not None:
            meanwhile()
    return future.result()


def main(cfg: RosSendConfig) -> int:
    """Send it, show how it goes, and say how it ended; 0 for success."""
    enter_ros()
    console = Console(highlight=False)
    display = Display(console)
    with interrupts() as came, asker("client") as ask, display.bars:
        result = carry_out(ask, cfg, display, came)
    outcome = constant_name(type(result), result.outcome)
    reason = f": {escape(result.message)}" if result.message else ""
    console.print(f"[bold]{outcome}[/]{reason}", soft_wrap=True)
    return int(result.outcome != type(result).SUCCEEDED)


VERB = Verb(
    RosSendConfig,
    main,
    examples=(
        'kalie ros send "sweep the trash off the table"',
        'kalie ros send "close the drawer" task=drawer dry_run=true',
    ),
    positional="instruction",
)
