"""The simulated arm: PyBullet behind the topics and actions of a Panda with ros2_control and a RealSense.

Its own are the services `~/reset` and `~/judge`, the scene's instruction, and faults on request: the
parameters `fault_*` let a test stop, freeze or spoil what the arm and the camera send.
"""

from __future__ import annotations

import json
import math
import time
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from kalie.perception.frame import DepthArray, ImageArray
from kalie.sim.arm import JOINT_NAMES
from kalie.sim.episode import REST_SECONDS

from .conversions import camera_info, depth_to_image, rgb_to_image, seconds, stamped
from .managed import ManagedNode, spin
from .parameters import read
from .qos import LATCHED, SENSOR
from .sim_arm_parameters import SimArmParameters
from .sim_camera import Photographer, SceneKey, Shot
from .sim_controllers import ArmController, GripperController
from .sim_goals import Hardware
from .sim_loop import ControlLoop
from .sim_robot import STATE_NAMES, RobotState, SimulatedRobot, robot_description

NANOSECONDS = 10**9
# How far a skewed camera's clock is behind.
SKEW = 10 * NANOSECONDS
# Wall seconds after which a service gives up on the control loop.
PATIENCE = 60.0


class SimArmNode(ManagedNode):
    """`/kalie/sim_arm`. The control loop's thread owns the robot; every other one asks it."""

    PARAMETERS = SimArmParameters

    def __init__(self) -> None:
        super().__init__("sim_arm")
        self._resources = ExitStack()
        self._working = False
        self._staged_at = 0
        self._judgements: list[tuple[float, Future[dict[str, object]]]] = []
        self._frame: tuple[Image, Image, CameraInfo] | None = None

    # ---- life ------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Make the world, offer what an arm and a camera offer, stage the scene."""
        with ExitStack() as stack:
            self._open(stack)
            self._resources = stack.pop_all()

    def activate(self) -> None:
        """Let time pass."""
        self._working = True
        self._loop.run(True)

    def deactivate(self) -> None:
        """Stop the arm, and time."""
        if self._working:
            self._working = False
            self._loop.run(False)
            self._loop.call(lambda: self._stop("the arm was deactivated")).result(PATIENCE)

    def cleanup(self) -> None:
        """Let go of the world and of the graph."""
        self._resources.close()

    def fault(self, error: Exception) -> None:
        """A callback failed: the arm holds."""
        self._loop.call(lambda: self._stop("a callback failed"))

    def _open(self, stack: ExitStack) -> None:
        """Make everything; the stack lets go of it in reverse order."""
        told = self._told = read(self, SimArmParameters)
        self._robot = SimulatedRobot(told.joint_state_rate)
        stack.callback(self._robot.close)
        self._loop = ControlLoop(
            self._period, 1 / told.joint_state_rate, told.real_time, self._hurries, self._period_failed
        )
        stack.callback(self._loop.close)
        hardware = Hardware(self._robot, self._loop, self._refusal, self._begin)
        self._arm = ArmController(self, hardware, told.arm_controller)
        stack.callback(self._arm.destroy)
        self._gripper = GripperController(self, hardware, told.gripper_action)
        stack.callback(self._gripper.destroy)
        self._publish_on(stack)
        for name, callback in (("~/reset", self._reset), ("~/judge", self._judge)):
            answer = self.answered(callback)  # pyright: ignore[reportArgumentType]
            service = self.create_service(Trigger, name, answer, callback_group=self.group)
            stack.callback(self.destroy_service, service)
        self._loop.call(self._stage).result()
        self._camera = Photographer(self.guarded(self._taken), self.get_logger().error)
        stack.callback(self._camera.close)

    def _publish_on(self, stack: ExitStack) -> None:
        told = self._told

        def publisher(kind: type, topic: str, quality: QoSProfile) -> Publisher[Any]:
            made = self.create_publisher(kind, topic, quality)
            stack.callback(self.destroy_publisher, made)
            return made

        self._time_publisher = publisher(Clock, "/clock", SENSOR)
        self._joint_states = publisher(JointState, told.joint_states_topic, SENSOR)
        self._external_efforts = publisher(JointState, told.external_efforts_topic, SENSOR)
        self._color = publisher(Image, told.color_topic, SENSOR)
        self._depth = publisher(Image, told.depth_topic, SENSOR)
        self._camera_info = publisher(CameraInfo, told.camera_info_topic, SENSOR)
        self._tf_static = publisher(TFMessage, "/tf_static", LATCHED)
        self._instruction = publisher(String, "/kalie/instruction", LATCHED)
        publisher(String, "/robot_description", LATCHED).publish(String(data=robot_description()))

    # ---- a control period, in the loop's thread --------------------------------------------------------

    def _period(self) -> None:
        self._robot.advance(stuck=self._fault("arm") == "stall")
        state = self._robot.state()
        self._publish(state)
        self._arm.watch(state)
        self._gripper.watch(state)
        self._photograph(state)
        self._judge_rested(state)

    def _hurries(self) -> bool:
        """Whether someone waits for simulated time to pass."""
        return self._arm.busy or bool(self._judgements)

    def _period_failed(self, error: Exception) -> None:
        text = f"simulation: {type(error).__name__}: {error}"
        self.get_logger().error(text, throttle_duration_sec=1.0)
        self._loop.call(lambda: self._stop(text))

    def _stop(self, reason: str) -> None:
        """Hold, and end what is in progress."""
        judgements, self._judgements = self._judgements, []
        for _, judged in judgements:
            judged.set_exception(ValueError(reason))
        self._arm.stop(reason)
        self._gripper.stop(reason)

    def _publish(self, state: RobotState) -> None:
        self._time_publisher.publish(Clock(clock=_time(round(state.time * NANOSECONDS))))
        fault = self._fault("joint_states")
        if fault == "stop":
            return
        header = Header(stamp=_time(self._stamp(state)))
        positions = state.positions * math.nan if fault == "nan" else state.positions
        joints = JointState(header=header, name=STATE_NAMES, position=positions.tolist())
        joints.velocity, joints.effort = state.velocities.tolist(), state.efforts.tolist()
        efforts = state.external_efforts.tolist()
        # First: whoever takes a step per joint state must have the efforts of the same instant.
        self._external_efforts.publish(JointState(header=header, name=JOINT_NAMES, effort=efforts))
        self._joint_states.publish(joints)

    def _stamp(self, state: RobotState) -> int:
        """Now, in nanoseconds on the clock that was asked for."""
        return time.time_ns() if self._told.clock == "wall" else round(state.time * NANOSECONDS)

    def _begin(self, header: Header) -> float:
        """When a command's stamp is, in simulated seconds; without a stamp that is now."""
        stamp = seconds(header.stamp)
        if stamp == 0:
            return self._robot.time
        return stamp if self._told.clock == "sim" else self._robot.time + stamp - time.time()

    def _fault(self, of: str) -> str:
        """The fault that was asked for, none without one."""
        return str(self.get_parameter(f"fault_{of}").value)

    def _refusal(self) -> str:
        if not self._working:
            return "the arm is not active"
        return "fault_arm is reject" if self._fault("arm") == "reject" else ""

    # ---- scenes ----------------------------------------------------------------------------------------

    def _stage(self) -> None:
        """Stage what the parameters say now; for the loop's thread."""
        told = read(self, SimArmParameters)
        self._stop("the scene was reset")
        self._scene = SceneKey(told.task, told.split, told.seed)  # pyright: ignore[reportArgumentType]
        self._robot.stage(self._scene)
        self._next_frame = self._robot.time
        self._instruction.publish(String(data=self._robot.staged.scene.instruction))
        # A picture that was still being drawn shows the scene before this one.
        self._staged_at = self._stamp(self._robot.state())
        header = Header(stamp=_time(self._staged_at))
        camera = self._robot.world.camera.base_from_camera
        self._tf_static.publish(
            TFMessage(transforms=[stamped(told.base_frame, told.optical_frame, camera, header)])
        )

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._loop.call(self._stage).result(PATIENCE)
        response.success, response.message = True, self._robot.staged.scene.instruction
        return response

    def _judge(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        judged: Future[dict[str, object]] = Future()
        self._loop.call(lambda: self._rest(judged)).result(PATIENCE)
        found = judged.result(PATIENCE)
        response.success, response.message = bool(found["success"]), json.dumps(found)
        return response

    def _rest(self, judged: Future[dict[str, object]]) -> None:
        """Judge when the world has rested; at once, after letting it, where time stands still."""
        if self._working:
            self._judgements.append((self._robot.time + REST_SECONDS, judged))
        else:
            self._robot.settle()
            judged.set_result(self._judgement())

    def _judge_rested(self, state: RobotState) -> None:
        due = [judged for when, judged in self._judgements if when <= state.time]
        self._judgements = [item for item in self._judgements if item[0] > state.time]
        for judged in due:
            judged.set_result(self._judgement())

    def _judgement(self) -> dict[str, object]:
        success, measures = self._robot.judge()
        staged = self._robot.staged
        return {
            "success": success,
            "measures": dict(measures),
            "instruction": staged.scene.instruction,
            "families": dict(staged.families),
        }

    # ---- the camera ------------------------------------------------------------------------------------

    def _photograph(self, state: RobotState) -> None:
        if state.time < self._next_frame:
            return
        gap = 1 / float(self.get_parameter("camera_rate").value)
        self._next_frame = max(self._next_frame + gap, state.time)
        self._camera.offer(Shot(self._scene, self._robot.snapshot(), self._stamp(state)))

    def _taken(self, shot: Shot, rgb: ImageArray, depth: DepthArray) -> None:
        """A picture is ready; in the camera's thread."""
        fault = self._fault("camera")
        if not self._working or fault == "stop" or shot.stamp < self._staged_at:
            return
        if fault != "frozen" or self._frame is None:
            self._frame = self._messages(shot.stamp - (SKEW if fault == "skewed" else 0), rgb, depth)
        color, image, info = self._frame
        if fault != "no_color":
            self._color.publish(color)
        self._depth.publish(image)
        self._camera_info.publish(info)

    def _messages(self, stamp: int, rgb: ImageArray, depth: DepthArray) -> tuple[Image, Image, CameraInfo]:
        header = Header(stamp=_time(stamp), frame_id=self._told.optical_frame)
        encoding = self._told.depth_encoding
        image = depth_to_image(depth, header, encoding)  # pyright: ignore[reportArgumentType]
        return rgb_to_image(rgb, header), image, camera_info(self._robot.intrinsics, header)


def _time(nanoseconds: int) -> Time:
    whole, rest = divmod(nanoseconds, NANOSECONDS)
    return Time(sec=whole, nanosec=rest)


def main() -> None:
    """Run the node."""
    spin(SimArmNode, threads=8)


if __name__ == "__main__":
    main()
