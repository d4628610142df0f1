"""The benchmark's episodes on the ROS 2 graph: the simulated arm and the control node, as users run them.

Scenes are staged twice from one seed, which gives the same bits: here, where keypoints are predicted, and in
the simulated arm's node. The goal carries the keypoints; looking, planning, moving, judging are the graph's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ..affordance.model import Prediction
from ..core.files import write_text
from ..sim.episode import Episode, scored
from ..sim.staging import StagedScene
from ..sim.task import Judgement
from ..sim.world import World
from ._ros_client import NAMESPACE, Asker, NoAnswer, asker
from .ros_send import constant_name

# The simulator waits for commands and commands for it, so that episodes take no longer than they must: few
# pictures, and control periods of the library's length. An old picture will do: the scene stands still until
# the arm moves.
RATE = 60.0
PATIENT = {"use_sim_time": True, "max_frame_age": 60.0, "max_clock_skew": 60.0}
LOCKSTEP: Mapping[str, Mapping[str, object]] = {
    "sim_arm": {"real_time": False, "clock": "sim", "joint_state_rate": RATE, "camera_rate": 2.0},
    "affordance": PATIENT,
    "control": {
        **PATIENT,
        "frame_timeout": 60.0,
        "pace": "lockstep",
        "rate": RATE,
        "command_horizon": 1 / RATE,
    },
}
# Seconds.
START, ANSWER, EPISODE = 180.0, 60.0, 300.0
# Domains that DDS allows beside those which people choose by hand.
FIRST_DOMAIN, DOMAINS = 100, 100


class GraphArm:
    """Carries out predictions on a graph that runs."""

    def __init__(self, ask: Asker) -> None:
        from rcl_interfaces.srv import SetParameters
        from rclpy.action.client import ActionClient
        from std_srvs.srv import Trigger

        from kalie_interfaces.action import ExecuteTask

        self._ask, node = ask, ask.node
        self._goals = ActionClient(node, ExecuteTask, f"{NAMESPACE}/execute_task")
        self._set = node.create_client(SetParameters, f"{NAMESPACE}/sim_arm/set_parameters")
        self._reset = node.create_client(Trigger, f"{NAMESPACE}/sim_arm/reset")
        self._judge = node.create_client(Trigger, f"{NAMESPACE}/sim_arm/judge")

    def act(self, world: World, staged: StagedScene, prediction: Prediction) -> Episode:
        """One episode; `world` is the one in which the prediction's scene was staged, and stays as it is.

        Raises:
            NoAnswer: a node of the graph does not answer.
        """
        if prediction.affordance is None:
            return scored(staged, None, Judgement(False, {}), f"invalid prediction: {prediction.error}")
        self._stage(staged)
        reason = self._execute(staged, prediction)
        judged = json.loads(self._call(self._judge).message)
        if judged["instruction"] != staged.scene.instruction:
            raise NoAnswer(f"sim_arm staged another scene: {judged['instruction']!r}")
        judgement = Judgement(bool(judged["success"]), judged["measures"])
        return scored(staged, prediction.affordance, judgement, reason)

    def _stage(self, staged: StagedScene) -> None:
        from rclpy.parameter import Parameter

        scene = {"task": staged.task.name, "split": staged.split, "seed": staged.seed}
        request = self._set.srv_type.Request()
        request.parameters = [Parameter(key, value=value).to_parameter_msg() for key, value in scene.items()]
        for answer in self._call(self._set, request).results:
            if not answer.successful:
                raise NoAnswer(f"sim_arm refused the scene: {answer.reason}")
        answer = self._call(self._reset)
        if not answer.success:
            raise NoAnswer(f"sim_arm could not stage the scene: {answer.message}")

    def _execute(self, staged: StagedScene, prediction: Prediction) -> str:
        """Send the goal and wait for its end; why it failed, empty when it did not."""
        from std_msgs.msg import Header

        from kalie_interfaces.action import ExecuteTask
        from kalie_ros.conversions import affordance_to_msg

        # The nodes' package sees this one as `kalie`, type checkers both ways.
        affordance: Any = prediction.affordance
        goal = ExecuteTask.Goal(instruction=staged.scene.instruction, task=staged.task.name)
        goal.affordance = affordance_to_msg(affordance, Header(), prediction.confidence)
        if not self._ask.wait(self._goals.server_is_ready, ANSWER):
            raise NoAnswer(f"{NAMESPACE}/execute_task is not there")
        handle = self._wait(self._goals.send_goal_async(goal), ANSWER, "the goal")
        if not handle.accepted:
            raise NoAnswer("the control node rejected the goal")
        result = self._wait(handle.get_result_async(), EPISODE, "the result").result
        if result.outcome == ExecuteTask.Result.SUCCEEDED:
            return ""
        return f"{constant_name(ExecuteTask.Result, result.outcome)}: {result.message}"

    def _call(self, client: Any, request: Any = None) -> Any:  # noqa: ANN401 - services of many types
        if not self._ask.wait(client.service_is_ready, ANSWER):
            raise NoAnswer(f"{client.srv_name} is not there")
        return self._wait(client.call_async(request or client.srv_type.Request()), ANSWER, client.srv_name)

    def _wait(self, future: Any, seconds: float, what: str) -> Any:  # noqa: ANN401 - of rclpy
        if not self._ask.wait(future.done, seconds):
            raise NoAnswer(f"{what} did not come within {seconds:g} s")
        return future.result()


@contextmanager
def graph_arm(folder: Path) -> Iterator[GraphArm]:
    """`kalie ros up` in a domain of its own, for the time of the block.

    Args:
        folder: gets the nodes' logs.

    Raises:
        NoAnswer: the graph does not come up.
    """
    os.environ["ROS_DOMAIN_ID"] = str(FIRST_DOMAIN + os.getpid() % DOMAINS)
    folder.mkdir(parents=True, exist_ok=True)
    parameters, log = folder / "lockstep.yaml", folder / "up.log"
    sections = {f"/**/{name}": {"ros__parameters": dict(values)} for name, values in LOCKSTEP.items()}
    write_text(parameters, yaml.safe_dump(sections))
    # Tethered: should this process be killed, the graph ends too.
    command = [sys.executable, "-m", f"{__package__}._tethered", str(os.getpid()), f"{__package__}.main"]
    command += ["ros", "up", "mode=sim", f"params={parameters}"]
    with log.open("wb") as stream, asker("bench") as ask:
        up = subprocess.Popen(  # noqa: S603 - our own command
            [*command, f"run.outputs={folder}"], stdout=stream, stderr=subprocess.STDOUT
        )
        try:
            _wait_until_up(ask, up, log)
            yield GraphArm(ask)
        finally:
            up.send_signal(signal.SIGINT)
            up.wait()


def _wait_until_up(ask: Asker, up: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the control node's heartbeat, which comes when it is active, the last one of the graph."""
    from kalie_interfaces.msg import SafetyStatus

    beats: list[object] = []
    ask.node.create_subscription(SafetyStatus, f"{NAMESPACE}/control/safety", beats.append, 10)
    ask.wait(lambda: bool(beats) or up.poll() is not None, START)
    if not beats:
        raise NoAnswer(f"the ROS graph did not come up; see {log}")
