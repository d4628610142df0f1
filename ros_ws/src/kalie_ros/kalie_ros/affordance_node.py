"""The affordance node: answers where to grasp, with which part and toward what, for pictures of a camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_msgs.msg import String

from kalie_interfaces.msg import Affordance as AffordanceMsg
from kalie_interfaces.srv import PredictAffordance

from .annotate import annotated
from .camera import CameraFrame, CameraListener, CameraParameters
from .conversions import (
    affordance_to_msg,
    checked_instruction,
    image_to_depth,
    image_to_rgb,
    intrinsics_of,
    rgb_to_image,
)
from .frame_worker import FrameWorker
from .judge import DeviceName, Judge, Judgement, load_model
from .managed import ManagedNode, spin
from .parameters import parameter, read
from .qos import LATCHED


@dataclass(frozen=True)
class AffordanceParameters(CameraParameters):
    """Of the affordance node."""

    depth_topic: str = parameter(
        "", "Depth registered to colour; empty: none, the model reads colour only.", read_only=True
    )
    weights: str = parameter(
        "tasks",
        "Folder of a tuned model, or tasks or base: weights that come with kalie.",
        read_only=True,
    )
    device: DeviceName = parameter(  # noqa: RUF009 - a dataclass field
        "auto",
        "Where the model runs; auto: on the GPU if there is one.",
        choices=("auto", "cpu", "cuda"),
        read_only=True,
    )
    threads: int = parameter(1, "Threads of one prediction on the CPU.", low=1, high=64, read_only=True)
    max_rate: float = parameter(
        15.0, "Frames judged a second at most, while there is an instruction.", low=0.1, high=100.0
    )
    min_confidence: float = parameter(
        0.05, "An answer is refused when one of its keypoints is less certain.", low=0.0, high=1.0
    )


class _Order(NamedTuple):
    """A frame to be judged."""

    frame: CameraFrame
    instruction: str


class AffordanceNode(ManagedNode):
    """Judges pictures: on request, and every new frame while there is an instruction."""

    PARAMETERS = AffordanceParameters

    def __init__(self) -> None:
        super().__init__("affordance")
        self._judge: Judge | None = None
        self._camera: CameraListener | None = None
        self._worker: FrameWorker[_Order] | None = None
        self._affordances: Publisher[AffordanceMsg] | None = None
        self._pictures: Publisher[Image] | None = None
        self._listening: Subscription[String] | None = None
        self._instruction = ""
        # Served in every state, so that whoever asks learns why there is no answer; one request at a time.
        self.create_service(
            PredictAffordance,
            "~/predict",
            self.answered(self._predict),
            callback_group=MutuallyExclusiveCallbackGroup(),
        )

    def configure(self) -> None:
        """Load the model."""
        parameters = read(self, AffordanceParameters)
        torch.set_num_threads(parameters.threads)
        self._judge = Judge(load_model(parameters.weights, parameters.device))
        self._affordances = self.create_publisher(AffordanceMsg, "~/affordance", LATCHED)
        self._pictures = self.create_publisher(Image, "~/annotated", LATCHED)

    def activate(self) -> None:
        """Listen to the camera and to instructions."""
        self._worker = FrameWorker(self.guarded(self._judge_frame))
        self._camera = CameraListener(self, self._offer)
        self._listening = self.create_subscription(
            String, "~/instruction", self.guarded(self._instruct), LATCHED, callback_group=self.group
        )

    def deactivate(self) -> None:
        """Stop listening; a judgement under way is finished first."""
        self._instruction = ""
        if self._listening is not None:
            self.destroy_subscription(self._listening)
            self._listening = None
        if self._camera is not None:
            self._camera.close()
            self._camera = None
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def cleanup(self) -> None:
        """Let go of the model and of the latched answers."""
        self._judge = None
        for publisher in (self._affordances, self._pictures):
            if publisher is not None:
                self.destroy_publisher(publisher)
        self._affordances = self._pictures = None

    def _instruct(self, message: String) -> None:
        """A new instruction for every new frame; what is refused ends the old one, too."""
        self._instruction = ""
        if message.data.strip():
            try:
                self._instruction = checked_instruction(message.data)
            except ValueError as error:
                self.get_logger().error(f"{error}; no frame is judged")

    def _offer(self, frame: CameraFrame) -> None:
        worker = self._worker
        if self._instruction and worker is not None:
            max_rate = read(self, AffordanceParameters).max_rate
            worker.offer(_Order(frame, self._instruction), max_rate)

    def _judge_frame(self, order: _Order) -> None:
        try:
            judgement = self._look(order.frame.color, order.instruction)
        except ValueError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=5.0)
            return
        if order.instruction == self._instruction:
            self._publish(order.frame.color, judgement)

    def _predict(
        self, request: PredictAffordance.Request, response: PredictAffordance.Response
    ) -> PredictAffordance.Response:
        camera = self._camera
        if not self.active or camera is None:
            raise ValueError(f"the node is {self.state_name}, not active")
        instruction = checked_instruction(request.instruction)
        picture = checked_picture(request)
        if picture is None:
            picture = camera.newest().color
        judgement = self._look(picture, instruction)
        response.affordance, response.annotated = self._publish(picture, judgement)
        response.confidence = judgement.confidence
        response.success = True
        return response

    def _look(self, picture: Image, instruction: str) -> Judgement:
        """Raises ValueError: the picture cannot be read, or there is no usable answer."""
        if self._judge is None:
            raise ValueError(f"the node is {self.state_name}, not active")
        min_confidence = read(self, AffordanceParameters).min_confidence
        return self._judge.judge(image_to_rgb(picture), instruction, min_confidence)

    def _publish(self, picture: Image, judgement: Judgement) -> tuple[AffordanceMsg, Image]:
        """Publish an answer with the picture's stamp and frame: first the keypoints, which are waited for."""
        affordance, header = judgement.affordance, picture.header
        message = affordance_to_msg(affordance, header, judgement.prediction.confidence)
        if self._affordances is not None:
            self._affordances.publish(message)
        drawn = rgb_to_image(annotated(image_to_rgb(picture), affordance), header)
        if self._pictures is not None:
            self._pictures.publish(drawn)
        return message, drawn


def checked_picture(request: PredictAffordance.Request) -> Image | None:
    """The picture of a request; None when it has none.

    Raises:
        ValueError: depth or camera info came with it and cannot be read, or are of another size.
    """
    picture, depth, info = request.image, request.depth, request.camera_info
    if not (picture.width or picture.height or picture.data):
        return None
    size = (picture.height, picture.width)
    if (depth.width or depth.data) and image_to_depth(depth).shape != size:
        raise ValueError(f"depth: {depth.width}x{depth.height} pixels, the image has {size[1]}x{size[0]}")
    if info.width and (intrinsics_of(info).height, info.width) != size:
        raise ValueError(
            f"camera_info: of {info.width}x{info.height} pixels, the image has {size[1]}x{size[0]}"
        )
    return picture


def main() -> None:
    """Run the node."""
    spin(AffordanceNode)


if __name__ == "__main__":
    main()
