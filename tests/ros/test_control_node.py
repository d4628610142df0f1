"""Goals and faults of the control node: real processes, real DDS, a simulated arm."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.action import ActionClient
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage
from trajectory_msgs.msg import JointTrajectory

from kalie.affordance.schema import Affordance, Keypoint
from kalie.sim.registry import task
from kalie.sim.staging import stage
from kalie.sim.world import World
from kalie_interfaces.action import ExecuteTask
from kalie_interfaces.msg import Affordance as AffordanceMsg
from kalie_interfaces.msg import SafetyStatus
from kalie_interfaces.srv import PredictAffordance
from kalie_ros.conversions import affordance_to_msg
from kalie_ros.qos import COMMAND, LATCHED, SENSOR

from .graph import PATIENCE, Graph, graph_in

pytestmark = pytest.mark.ros
Result = ExecuteTask.Result
OUTCOMES = {getattr(Result, name): name for name in dir(type(Result)) if name.isupper()}
SEED = 0
# An arm that holds moves less than this, rad; physics settles a little.
STILL = 0.01
TRAJECTORY = "/panda_arm_controller/joint_trajectory"
PHASES = ["look", "approach_grasp", "close", "lift", "target", "retreat"]


class Client:
    """Sends goals to the control node and watches what the arm does."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.phases: list[str] = []
        self.at_phase: Callable[[str], None] = lambda phase: None
        self._action = ActionClient(graph.node, ExecuteTask, "/kalie/execute_task")
        self.joints: list[JointState] = []
        graph.node.create_subscription(JointState, "/joint_states", self._heard, SENSOR)
        self.safety: list[SafetyStatus] = graph.hear(SafetyStatus, "/kalie/control/safety")

    def send(self, **fields: Any) -> Any:  # noqa: ANN401 - a goal handle of rclpy
        """Send a goal; its handle."""
        goal = ExecuteTask.Goal(instruction="sweep the trash off the left edge", task="sweep")
        for name, value in fields.items():
            setattr(goal, name, value)
        assert self._action.wait_for_server(PATIENCE), self.graph.log("control")
        sent = self._action.send_goal_async(goal, feedback_callback=self._feedback)
        self.graph.until(sent.done)
        return sent.result()

    def result(self, handle: Any, timeout: float = PATIENCE) -> tuple[str, Result, int]:  # noqa: ANN401
        """Wait for a goal's end: outcome, result, status."""
        assert handle.accepted, self.graph.log("control")
        ended = handle.get_result_async()
        self.graph.until(ended.done, timeout)
        answer = ended.result()
        return OUTCOMES[answer.result.outcome], answer.result, answer.status

    def run(self, **fields: Any) -> tuple[str, Result, int]:  # noqa: ANN401 - fields of the goal
        """Send a goal and wait for its end."""
        return self.result(self.send(**fields))

    def when(self, phase: str, act: Callable[[], None]) -> None:
        """Act once, the first time that feedback names a phase."""

        def at_phase(seen: str) -> None:
            if seen == phase:
                self.at_phase = lambda _: None
                act()

        self.at_phase = at_phase

    def wait_for_phase(self, phase: str) -> None:
        """Wait until feedback has named a phase."""
        self.graph.until(lambda: phase in self.phases)

    def trigger(self, name: str) -> Trigger.Response:
        """Call a Trigger service."""
        return self.graph.call(Trigger, name)

    def set(self, node: str, **values: object) -> Any:  # noqa: ANN401 - of rcl_interfaces
        """Set a node's parameters; the results."""
        request = SetParameters.Request()
        request.parameters = [Parameter(key, value=value).to_parameter_msg() for key, value in values.items()]
        return self.graph.call(SetParameters, f"/kalie/{node}/set_parameters", request).results

    def get(self, node: str, name: str) -> Any:  # noqa: ANN401 - of any type
        """A parameter's value."""
        request = GetParameters.Request(names=[name])
        (value,) = self.graph.call(GetParameters, f"/kalie/{node}/get_parameters", request).values
        return parameter_value_to_python(value)

    def reset(self) -> None:
        """The scene as it was, and no faults."""
        faults = ("fault_joint_states", "fault_camera", "fault_arm")
        assert all(item.successful for item in self.set("sim_arm", **dict.fromkeys(faults, "none")))
        self.trigger("/kalie/sim_arm/reset")
        self.trigger("/kalie/control/reset_emergency_stop")
        self.phases.clear()

    def position(self) -> np.ndarray:
        """The newest measured arm joints."""
        return np.array(self.joints[-1].position[:7])

    def assert_still(self, seconds: float = 0.5) -> None:
        """Nothing moves for a while."""
        time.sleep(0.2)
        before = self.position()
        time.sleep(seconds)
        assert np.abs(self.position() - before).max() < STILL

    def _heard(self, message: JointState) -> None:
        if np.isfinite(message.position).all():
            self.joints.append(message)

    def _feedback(self, message: Any) -> None:  # noqa: ANN401 - rclpy wraps it
        phase = message.feedback.phase
        if not self.phases or self.phases[-1] != phase:
            self.phases.append(phase)
        self.at_phase(phase)


@pytest.fixture(scope="module")
def truth() -> AffordanceMsg:
    """The true keypoints of the scene that the simulated arm stages."""
    staged = stage(World(), task("sweep"), "test", SEED)
    return affordance_to_msg(staged.affordance, Header())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A simulated arm and a control node, shared by the tests that kill neither."""
    with graph_in(tmp_path_factory.mktemp("graph")) as graph:
        start(graph)
        yield Client(graph)


@pytest.fixture
def client(shared: Client) -> Client:
    shared.reset()
    return shared


def start(graph: Graph, **control: object) -> None:
    """Start the simulated arm and the control node."""
    graph.start("sim_arm", task="sweep", split="test", seed=SEED)
    told = {"external_efforts_topic": "/panda/external_efforts", "command_horizon": 0.01}
    # A machine that does more than these tests may keep states and pictures waiting for longer.
    told |= {"max_state_age": 0.25, "max_clock_skew": 2.0}
    graph.start("control", **{**told, **control})


def test_a_goal_with_true_keypoints_sweeps(client: Client, truth: AffordanceMsg) -> None:
    outcome, result, status = client.run(affordance=truth)
    assert (outcome, result.message, status) == ("SUCCEEDED", "", GoalStatus.STATUS_SUCCEEDED)
    assert client.phases[0] in ("look", "plan")
    assert {"approach_grasp", "close", "lift", "target", "retreat"} <= set(client.phases)
    assert client.trigger("/kalie/sim_arm/judge").success


def test_a_dry_run_moves_nothing(client: Client, truth: AffordanceMsg) -> None:
    before = client.position()
    outcome, _, _ = client.run(affordance=truth, dry_run=True)
    assert outcome == "SUCCEEDED"
    assert np.abs(client.position() - before).max() < STILL


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"instruction": "x" * 10_000}, "10,000 characters"),
        ({"instruction": "sweep\x07it"}, "control character"),
        ({"instruction": ""}, "empty"),
        ({"task": "fly"}, "'fly' is not one of"),
        ({"task": "", "instruction": "do it"}, "fits no task"),
    ],
)
def test_when_a_goal_makes_no_sense_expect_the_field_named(
    client: Client, fields: dict[str, str], words: str
) -> None:
    outcome, result, status = client.run(**fields)
    assert (outcome, status) == ("REJECTED", GoalStatus.STATUS_ABORTED)
    assert words in result.message


def test_when_keypoints_are_outside_the_image_expect_refusal(client: Client, truth: AffordanceMsg) -> None:
    bad = AffordanceMsg(header=truth.header, keypoints=truth.keypoints[:1])
    x, bad.keypoints[0].x = bad.keypoints[0].x, 1.5
    outcome, result, _ = client.run(affordance=bad)
    bad.keypoints[0].x = x
    assert outcome == "REJECTED"
    assert "outside the image" in result.message


def test_when_the_target_is_out_of_reach_expect_the_waypoint_and_no_motion(client: Client) -> None:
    corner = Keypoint(0.99, 0.01)
    far = Affordance(Keypoint(0.5, 0.5), Keypoint(0.5, 0.45), corner, corner, corner, gripper_width=0.08)
    before = client.position()
    outcome, result, _ = client.run(affordance=affordance_to_msg(far, Header()))
    assert outcome == "UNREACHABLE"
    assert result.message
    assert np.abs(client.position() - before).max() < STILL


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("stop", "too_old"),
        ("no_color", "color"),
        ("frozen", "frozen"),
        ("skewed", "clock_skew"),
    ],
)
def test_when_the_camera_fails_expect_no_image_and_no_motion(
    client: Client, truth: AffordanceMsg, fault: str, words: str
) -> None:
    client.set("sim_arm", fault_camera=fault)
    time.sleep(1.0)
    before = client.position()
    outcome, result, _ = client.run(affordance=truth)
    assert outcome == "NO_IMAGE"
    assert words in result.message
    assert np.abs(client.position() - before).max() < STILL


def test_when_the_camera_moves_and_its_transform_stops_expect_the_seconds_and_no_motion(
    client: Client, truth: AffordanceMsg
) -> None:
    where = client.graph.hear(TFMessage, "/tf_static", LATCHED)
    client.graph.until(lambda: where)
    node, link = client.graph.node, where[-1].transforms[0]
    publisher = node.create_publisher(TFMessage, "/tf", 10)
    client.graph.until(lambda: publisher.get_subscription_count() > 0)

    def say(late: float) -> None:
        link.header.stamp = (node.get_clock().now() - Duration(seconds=late)).to_msg()
        publisher.publish(TFMessage(transforms=[link]))

    # Pictures of a loaded machine come late.
    client.set("control", max_transform_age=1.0)
    say(late=3.0)
    before = client.position()
    client.graph.until(lambda: "stale_transform" in client.run(affordance=truth, dry_run=True)[1].message)
    outcome, result, _ = client.run(affordance=truth)
    assert outcome == "NO_IMAGE"
    frames = "from 'camera_color_optical_frame' to 'panda_link0'"
    assert re.search(rf"the transform {frames} is \d+\.\d\d s older", result.message), result.message
    assert np.abs(client.position() - before).max() < STILL
    timer = node.create_timer(0.02, lambda: say(late=0.0))
    try:
        client.graph.until(lambda: client.run(affordance=truth, dry_run=True)[0] == "SUCCEEDED")
    finally:
        node.destroy_timer(timer)
        node.destroy_publisher(publisher)
        client.set("control", max_transform_age=0.2)


@pytest.mark.parametrize(("fault", "words"), [("stop", "stale"), ("nan", "not finite")])
@pytest.mark.parametrize("phase", ["approach_grasp", "target"])
def test_when_joint_states_are_lost_in_motion_expect_hold_and_the_reason(
    client: Client, truth: AffordanceMsg, fault: str, words: str, phase: str
) -> None:
    handle = client.send(affordance=truth)
    client.wait_for_phase(phase)
    client.set("sim_arm", fault_joint_states=fault)
    outcome, result, _ = client.result(handle)
    assert outcome == "HALTED"
    assert words in result.message
    client.set("sim_arm", fault_joint_states="none")
    client.assert_still()


@pytest.mark.parametrize("fault", ["stall", "reject"])
def test_when_the_arm_does_not_follow_expect_a_failure_never_a_finished_phase(
    client: Client, truth: AffordanceMsg, fault: str
) -> None:
    handle = client.send(affordance=truth)
    client.wait_for_phase("approach_grasp")
    client.set("sim_arm", fault_arm=fault)
    outcome, result, _ = client.result(handle)
    assert outcome in ("STALLED", "EMPTY_GRASP", "ARM_REFUSED")
    assert result.message
    before = client.position()
    client.set("sim_arm", fault_arm="none")
    client.assert_still()
    # Freed, the arm does not spring to where it was sent.
    assert np.abs(client.position() - before).max() < 0.05


def test_when_two_clients_send_at_once_expect_one_goal_and_one_rejection(
    client: Client, truth: AffordanceMsg
) -> None:
    goal = ExecuteTask.Goal(instruction="sweep it", task="sweep", affordance=truth)
    clients = [ActionClient(client.graph.node, ExecuteTask, "/kalie/execute_task") for _ in range(2)]
    assert all(item.wait_for_server(PATIENCE) for item in clients)
    sent = [item.send_goal_async(goal) for item in clients]
    client.graph.until(lambda: all(item.done() for item in sent))
    handles = [item.result() for item in sent]
    assert sorted(handle.accepted for handle in handles) == [False, True]
    (accepted,) = [handle for handle in handles if handle.accepted]
    client.graph.until(accepted.cancel_goal_async().done)
    assert client.result(accepted)[0] == "CANCELED"


def test_when_told_to_preempt_expect_the_newer_goal_to_run(client: Client, truth: AffordanceMsg) -> None:
    client.set("control", new_goal="preempt")
    try:
        first = client.send(affordance=truth)
        client.wait_for_phase("approach_grasp")
        second = client.send(affordance=truth, dry_run=True)
        assert client.result(first)[0] == "PREEMPTED"
        assert client.result(second)[0] == "SUCCEEDED"
    finally:
        client.set("control", new_goal="reject")


@pytest.mark.parametrize("phase", PHASES)
def test_when_canceled_in_any_phase_expect_rest_at_once_and_the_reason(
    client: Client, truth: AffordanceMsg, phase: str
) -> None:
    handle = client.send(affordance=truth)
    client.wait_for_phase(phase)
    client.graph.until(handle.cancel_goal_async().done)
    outcome, result, status = client.result(handle)
    assert (outcome, status) == ("CANCELED", GoalStatus.STATUS_CANCELED)
    assert "canceled by the client" in result.message
    client.assert_still()


def test_when_canceled_in_motion_expect_braking_inside_100_ms(client: Client, truth: AffordanceMsg) -> None:
    commands: list[tuple[float, np.ndarray]] = []

    def heard(message: JointTrajectory) -> None:
        commands.append((time.monotonic(), np.array(message.points[0].positions)))

    node = client.graph.node
    listening = node.create_subscription(JointTrajectory, TRAJECTORY, heard, COMMAND)
    lags: list[float] = []
    # A busy machine holds any of them up; the quickest says how long the node itself takes.
    while len(lags) < 8 and min(lags, default=1.0) > 0.1:
        client.reset()
        handle = client.send(affordance=truth)
        client.wait_for_phase("approach_grasp")
        client.graph.until(lambda: len(commands) > 20)
        canceled = time.monotonic()
        handle.cancel_goal_async()
        assert client.result(handle)[0] == "CANCELED"
        client.assert_still()
        lags.append(braking_since(commands) - canceled)
        commands.clear()
    node.destroy_subscription(listening)
    assert min(lags) < 0.1, lags


def braking_since(commands: list[tuple[float, np.ndarray]]) -> float:
    """When the last command came before the speeds fell to rest, s; commands come in even periods."""
    times, positions = zip(*commands, strict=True)
    speeds = np.abs(np.diff(positions, axis=0)).max(axis=1)
    assert speeds.max() > 0
    assert speeds[-1] < 1e-6
    last = len(speeds) - 1
    while last > 0 and speeds[last - 1] >= speeds[last]:
        last -= 1
    return times[last + 1]


@pytest.fixture
def slow_judge(client: Client) -> Iterator[None]:
    """An affordance node that does not answer before the test ends."""
    over, context = threading.Event(), client.graph.node.context
    node, executor = Node("slow_judge", context=context), SingleThreadedExecutor(context=context)

    def predict(_: Any, response: PredictAffordance.Response) -> PredictAffordance.Response:  # noqa: ANN401
        over.wait(PATIENCE)
        return response

    def spin() -> None:
        with suppress(ShutdownException, ExternalShutdownException):
            executor.spin()

    node.create_service(PredictAffordance, "/kalie/affordance/predict", predict)
    executor.add_node(node)
    thread = threading.Thread(target=spin)
    thread.start()
    yield
    over.set()
    executor.shutdown()
    thread.join()
    node.destroy_node()


@pytest.mark.usefixtures("slow_judge")
@pytest.mark.parametrize("how", ["cancel", "emergency"])
def test_when_stopped_while_the_affordance_node_judges_expect_the_end_at_once(
    client: Client, truth: AffordanceMsg, how: str
) -> None:
    # Where an earlier goal ended is not where a stop may bring the arm.
    handle = client.send(affordance=truth)
    client.wait_for_phase("approach_grasp")
    client.graph.until(handle.cancel_goal_async().done)
    client.result(handle)
    client.reset()
    handle = client.send()
    client.wait_for_phase("judge")
    before = client.position()
    asked = time.monotonic()
    if how == "cancel":
        handle.cancel_goal_async()
    else:
        assert client.trigger("/kalie/control/emergency_stop").success
    outcome, _, _ = client.result(handle)
    assert outcome == ("CANCELED" if how == "cancel" else "EMERGENCY_STOP")
    # Without waiting for the answer, which takes up to affordance_timeout, 10 s.
    assert time.monotonic() - asked < 5.0
    client.assert_still()
    assert np.abs(client.position() - before).max() < STILL


@pytest.mark.parametrize("how", ["cancel", "emergency"])
def test_when_stopped_on_the_way_home_expect_rest(client: Client, truth: AffordanceMsg, how: str) -> None:
    home = [0.5, -1.0, 0.0, -2.2, 0.0, 2.0, 0.785]
    before = client.get("control", "home")
    client.set("control", home=home)
    try:
        handle = client.send(affordance=truth)
        client.wait_for_phase("home")
        if how == "cancel":
            handle.cancel_goal_async()
        else:
            assert client.trigger("/kalie/control/emergency_stop").success
        assert client.result(handle)[0] == ("CANCELED" if how == "cancel" else "EMERGENCY_STOP")
        client.assert_still()
        assert np.abs(client.position() - home).max() > STILL
    finally:
        client.set("control", home=list(before))


@pytest.mark.parametrize("phase", PHASES)
def test_when_the_emergency_stop_is_pressed_expect_no_motion_until_reset_and_a_fresh_goal(
    client: Client, truth: AffordanceMsg, phase: str
) -> None:
    handle = client.send(affordance=truth)
    client.wait_for_phase(phase)
    assert client.trigger("/kalie/control/emergency_stop").success
    outcome, result, _ = client.result(handle)
    assert outcome == "EMERGENCY_STOP"
    assert result.message
    client.assert_still()
    assert client.run(affordance=truth)[0] == "EMERGENCY_STOP"
    client.graph.until(lambda: client.safety[-1].emergency_stop)
    assert client.trigger("/kalie/control/reset_emergency_stop").success
    client.assert_still()
    assert client.run(affordance=truth, dry_run=True)[0] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("name", "value"), [("velocity_scale", 2.0), ("max_frame_age", float("nan")), ("new_goal", "argue")]
)
def test_when_a_parameter_is_out_of_bounds_expect_refusal_and_the_old_value(
    client: Client, name: str, value: object
) -> None:
    before = client.get("control", name)
    (answer,) = client.set("control", **{name: value})
    assert not answer.successful
    assert name in answer.reason
    assert client.get("control", name) == before


def test_when_a_read_only_parameter_is_set_expect_refusal(client: Client) -> None:
    (answer,) = client.set("control", rate=50.0)
    assert not answer.successful


def test_when_deactivated_in_motion_expect_rest_and_no_goals_until_active_again(
    client: Client, truth: AffordanceMsg
) -> None:
    handle = client.send(affordance=truth)
    client.wait_for_phase("approach_grasp")
    client.graph.transition("control", "deactivate")
    outcome, result, _ = client.result(handle)
    assert (outcome, "deactivated" in result.message) == ("HALTED", True)
    client.assert_still()
    assert not client.send(affordance=truth).accepted
    client.graph.transition("control", "activate")
    assert client.run(affordance=truth, dry_run=True)[0] == "SUCCEEDED"


def test_when_somebody_sends_malformed_joint_states_expect_them_ignored_and_told(
    client: Client, truth: AffordanceMsg
) -> None:
    node = client.graph.node
    publisher = node.create_publisher(JointState, "/joint_states", SENSOR)
    timer = node.create_timer(0.02, lambda: publisher.publish(JointState(position=[1.0])))
    try:
        client.graph.until(lambda: "ignored: joint_states: 0 names" in client.graph.log("control"))
        assert client.run(affordance=truth, dry_run=True)[0] == "SUCCEEDED"
    finally:
        node.destroy_timer(timer)
        node.destroy_publisher(publisher)


def test_when_there_is_no_affordance_node_expect_its_absence_named(client: Client) -> None:
    outcome, result, _ = client.run()
    assert outcome == "NO_AFFORDANCE"
    assert "/kalie/affordance/predict" in result.message


def test_when_the_affordance_node_is_killed_mid_goal_expect_the_reason_and_no_motion(
    graph: Graph, truth: AffordanceMsg
) -> None:
    start(graph, affordance_timeout=3.0)
    graph.start("affordance")
    client = Client(graph)
    graph.until(lambda: client.joints)
    before = client.position()
    graph.send_signal("affordance", signal.SIGSTOP)  # It is asked, and dies with the question.
    handle = client.send()
    client.wait_for_phase("judge")
    graph.kill("affordance")
    outcome, result, _ = client.result(handle)
    assert outcome == "NO_AFFORDANCE"
    assert "/kalie/affordance/predict" in result.message
    assert np.abs(client.position() - before).max() < STILL
    assert client.run(affordance=truth, dry_run=True)[0] == "SUCCEEDED"


def test_when_the_control_node_is_killed_in_motion_expect_the_arm_to_stop_and_no_goal_taken_up_again(
    graph: Graph, truth: AffordanceMsg
) -> None:
    start(graph)
    client = Client(graph)
    client.send(affordance=truth)
    client.wait_for_phase("approach_grasp")
    graph.kill("control")
    client.assert_still()
    graph.start("control", external_efforts_topic="/panda/external_efforts")
    client.assert_still()
    assert client.run(affordance=truth, dry_run=True)[0] == "SUCCEEDED"


def test_when_the_whole_graph_is_restarted_under_a_running_client_expect_the_next_goal_to_run(
    graph: Graph, truth: AffordanceMsg
) -> None:
    start(graph)
    client = Client(graph)
    client.send(affordance=truth)
    client.wait_for_phase("approach_grasp")
    for name in ("control", "sim_arm"):
        graph.kill(name)
    start(graph)
    client.joints.clear()
    graph.until(lambda: client.joints)
    client.assert_still()
    assert client.run(affordance=truth, dry_run=True)[0] == "SUCCEEDED"


def test_when_driven_through_its_own_trajectory_action_expect_the_same_sweep_and_the_same_stop(
    graph: Graph, truth: AffordanceMsg
) -> None:
    start(graph, command_interface="action")
    client = Client(graph)
    assert client.run(affordance=truth)[0] == "SUCCEEDED"
    assert client.trigger("/kalie/sim_arm/judge").success
    client.reset()
    handle = client.send(affordance=truth)
    client.wait_for_phase("lift")
    client.graph.until(handle.cancel_goal_async().done)
    assert client.result(handle)[0] == "CANCELED"
    client.assert_still()
