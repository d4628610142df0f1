"""The control node: looks, asks for keypoints, plans, and moves the arm, behind the safety gate."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path as FilePath

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Path
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.timer import Timer
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger

from kalie.control.plan import JointTrajectory
from kalie.sim.registry import task as task_named
from kalie_interfaces.action import ExecuteTask
from kalie_interfaces.msg import Affordance, SafetyStatus

from .camera import CameraListener
from .control_parameters import ControlParameters
from .control_status import diagnostics, feedback, safety, tcp_path
from .conversions import affordance_from_msg, affordance_to_msg, checked_instruction, duration
from .frames import FrameTree
from .goals import GoalEnded, OutcomeName, choose_task
from .managed import ManagedNode, spin
from .parameters import read
from .qos import LATCHED
from .robot import Robot, build_robot
from .robot_description import write_urdf
from .senses import AffordanceClient, RosSenses
from .task_run import Report, TaskGoal, TaskRun

# Seconds.
FEEDBACK_PERIOD = 0.1
HEARTBEAT_PERIOD = 0.1
DIAGNOSTICS_PERIOD = 1.0
DESCRIPTION_TIMEOUT = 10.0
ENDING_TIMEOUT = 2.0
# The heartbeat must beat while goals, services and sensors are being served.
THREADS = 8


class ControlNode(ManagedNode):
    """Serves `/kalie/execute_task`; nothing moves without a goal, and never after one has ended."""

    PARAMETERS = ControlParameters

    def __init__(self) -> None:
        super().__init__("control")
        self._folder = tempfile.TemporaryDirectory(prefix="kalie_control_")
        self._robot: Robot | None = None
        self._timers_made: list[Timer] = []
        self._run: TaskRun | None = None
        self._handle: ServerGoalHandle | None = None
        # Goals that were accepted and have not ended.
        self._waiting = 0
        # The first guards these three; the second is held by the goal that is under way.
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def configure(self) -> None:
        """Read the robot's description; connect to arm, camera and affordance node."""
        parameters = read(self, ControlParameters)
        self._robot = build_robot(self, parameters, self._urdf(parameters))
        self._tree, self._camera = FrameTree(), CameraListener(self)
        self._tree_subscriptions = self._tree.listen(self)
        self._ask = AffordanceClient(self, parameters.affordance_service)
        self._safety = self.create_publisher(SafetyStatus, "~/safety", 10)
        self._executed = self.create_publisher(Affordance, "~/executed", LATCHED)
        self._plan = self.create_publisher(Path, "~/plan", LATCHED)
        # Where recordings look for the words that belong to an executed affordance.
        self._instruction = self.create_publisher(String, "instruction", LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._triggers = [
            self.create_service(Trigger, "~/emergency_stop", self._press, callback_group=self.group),
            self.create_service(Trigger, "~/reset_emergency_stop", self._reset, callback_group=self.group),
        ]
        self._server = ActionServer(
            self,
            ExecuteTask,
            "execute_task",
            execute_callback=self._execute,
            goal_callback=self._consider,
            cancel_callback=self._cancel,
            callback_group=self.group,
        )

    def activate(self) -> None:
        """Accept goals, and say so ten times a second."""
        self._timers_made = [
            self.create_timer(HEARTBEAT_PERIOD, self.guarded(self._beat), self.group),
            self.create_timer(DIAGNOSTICS_PERIOD, self.guarded(self._diagnose), self.group),
        ]

    def deactivate(self) -> None:
        """Stop whatever moves, and wait until it rests."""
        self._stop("HALTED", "the node was deactivated")
        if self._turn.acquire(timeout=ENDING_TIMEOUT):
            self._turn.release()
        for timer in self._timers_made:
            self.destroy_timer(timer)
        self._timers_made = []

    def cleanup(self) -> None:
        """Let go of arm, camera and action."""
        robot, self._robot = self._robot, None
        if robot is None:
            return
        robot.link.destroy()
        self._camera.close()
        self._ask.close()
        self._server.destroy()
        for subscription in self._tree_subscriptions:
            self.destroy_subscription(subscription)
        for service in self._triggers:
            self.destroy_service(service)
        for publisher in (self._safety, self._executed, self._plan, self._instruction, self._diagnostics):
            self.destroy_publisher(publisher)

    def fault(self, error: Exception) -> None:
        """A callback failed: the arm stops."""
        self._stop("INTERNAL_ERROR", f"{type(error).__name__}: {error}")

    def _urdf(self, parameters: ControlParameters) -> str:
        """The file of the robot's description. Raises TimeoutError where nobody publishes it."""
        if parameters.urdf:
            return parameters.urdf
        topic, came, texts = parameters.robot_description_topic, threading.Event(), []

        def heard(message: String) -> None:
            texts.append(message.data)
            came.set()

        subscription = self.create_subscription(String, topic, heard, LATCHED, callback_group=self.group)
        try:
            if not came.wait(DESCRIPTION_TIMEOUT):
                raise TimeoutError(f"{topic}: no robot description came in {DESCRIPTION_TIMEOUT:g} s")
        finally:
            self.destroy_subscription(subscription)
        return str(write_urdf(texts[-1], FilePath(self._folder.name)))

    def _consider(self, request: ExecuteTask.Goal) -> GoalResponse:
        """Accept a goal unless the node is inactive, or busy and told to reject."""
        preempts = read(self, ControlParameters).new_goal == "preempt"
        with self._lock:
            busy = self._waiting > 0
            if self.active and (preempts or not busy):
                self._waiting += 1
                return GoalResponse.ACCEPT
        reason = "another goal is under way" if busy else "the node is not active"
        self.get_logger().warning(f"goal rejected: {reason}")
        return GoalResponse.REJECT

    def _cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        """Stop the run of this goal, at once."""
        with self._lock:
            run = self._run if self._handle is handle else None
        if run is not None:
            run.stop("CANCELED", "canceled by the client")
        return CancelResponse.ACCEPT

    def _execute(self, handle: ServerGoalHandle) -> ExecuteTask.Result:
        """Carry out one goal; runs in a thread of the executor."""
        self._stop("PREEMPTED", "a newer goal took over")
        with self._turn:
            try:
                report = self._serve(handle)
            except GoalEnded as ended:
                report = Report(ended.outcome, str(ended), None, 0.0)
            except Exception as error:  # noqa: BLE001 - every goal must end with its reason
                report = Report("INTERNAL_ERROR", f"{type(error).__name__}: {error}", None, 0.0)
            finally:
                with self._lock:
                    self._run, self._handle = None, None
                    self._waiting -= 1
        if report.outcome == "SUCCEEDED":
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        self.get_logger().info(f"goal ended: {report.outcome} {report.message}".rstrip())
        return self._result(report)

    def _serve(self, handle: ServerGoalHandle) -> Report:
        """Run a goal in a thread of its own, giving feedback meanwhile. Raises GoalEnded."""
        parameters, robot, goal = read(self, ControlParameters), self._ready(), _checked(handle.request)
        self._instruction.publish(String(data=goal.instruction))
        senses = RosSenses(self._camera, self._tree, self._ask, parameters, self._planned)
        run = TaskRun(robot, goal, senses, parameters.home, parameters.velocity_scale)
        with self._lock:
            self._run, self._handle = run, handle
            newer = self._waiting > 1
        if newer:
            run.stop("PREEMPTED", "a newer goal took over")
        if handle.is_cancel_requested:
            run.stop("CANCELED", "canceled by the client")
        reports: list[Report] = []
        thread = threading.Thread(target=lambda: reports.append(run.run()), name="task", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(FEEDBACK_PERIOD)
            handle.publish_feedback(feedback(run, self._status(robot)))
        (report,) = reports
        if report.outcome == "SUCCEEDED" and not goal.dry_run and report.affordance is not None:
            self._executed.publish(affordance_to_msg(report.affordance, senses.header))
        return report

    def _planned(self, trajectories: Sequence[JointTrajectory]) -> None:
        """Show the tool centre point's way, before anything moves along it."""
        if self._robot is not None:
            frame, now = read(self, ControlParameters).base_frame, self.get_clock().now()
            self._plan.publish(tcp_path(trajectories, self._robot.kinematics, frame, now))

    def _ready(self) -> Robot:
        """The robot, if a goal may begin. Raises GoalEnded."""
        if self._robot is None or not self.active:
            raise GoalEnded("HALTED", "the node is not active")
        if self._robot.gate.stopped:
            raise GoalEnded("EMERGENCY_STOP", "the e-stop is latched: call ~/reset_emergency_stop first")
        return self._robot

    def _result(self, report: Report) -> ExecuteTask.Result:
        result = ExecuteTask.Result(message=report.message, duration=duration(report.seconds))
        result.outcome = getattr(ExecuteTask.Result, report.outcome)
        if report.affordance is not None:
            header = Header(stamp=self.get_clock().now().to_msg())
            result.affordance = affordance_to_msg(report.affordance, header)
        return result

    def _stop(self, outcome: OutcomeName, message: str) -> None:
        """End the goal that is under way, if there is one."""
        with self._lock:
            run = self._run
        if run is not None:
            run.stop(outcome, message)

    def _press(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """The e-stop: zero velocity from the next control period on, until it is reset."""
        assert self._robot is not None  # noqa: S101 - the service lives while the robot does
        self._robot.gate.emergency_stop()
        self._stop("EMERGENCY_STOP", "the e-stop was pressed")
        response.success, response.message = True, "stopped until ~/reset_emergency_stop"
        return response

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        assert self._robot is not None  # noqa: S101 - the service lives while the robot does
        if self._turn.locked():
            response.success, response.message = False, "a goal is still ending"
            return response
        self._robot.gate.reset()
        response.success, response.message = True, "released; nothing moves without a new goal"
        return response

    def _status(self, robot: Robot) -> SafetyStatus:
        age = robot.link.states.age(robot.link.now())
        return safety(robot.gate, age, self._turn.locked(), self.get_clock().now())

    def _beat(self) -> None:
        if self._robot is not None:
            self._safety.publish(self._status(self._robot))

    def _diagnose(self) -> None:
        if self._robot is None:
            return
        status, states = self._status(self._robot), self._robot.link.states
        limit, now = self._robot.gate.limits.max_age, self.get_clock().now()
        name = self.get_fully_qualified_name()
        self._diagnostics.publish(diagnostics(name, status, states, self._ask.there, limit, now))


def _checked(request: ExecuteTask.Goal) -> TaskGoal:
    """A goal that makes sense. Raises GoalEnded naming the field that does not."""
    affordance = None
    try:
        instruction = checked_instruction(request.instruction)
        if request.affordance.keypoints:
            affordance = affordance_from_msg(request.affordance).affordance
    except ValueError as error:
        raise GoalEnded("REJECTED", str(error)) from error
    name = choose_task(request.task, instruction)
    return TaskGoal(instruction, task_named(name).primitive, affordance, request.dry_run)


def main() -> None:
    """Run the node."""
    spin(ControlNode, THREADS)


if __name__ == "__main__":
    main()
