"""What a task run sees and is told: the camera's newest frame, and the affordance node's keypoints for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from std_msgs.msg import Header

from kalie.affordance.model import Prediction
from kalie.control.plan import JointTrajectory
from kalie.perception.frame import RgbdFrame
from kalie_interfaces.srv import PredictAffordance

from .camera import CameraFrame, CameraListener, CameraRefused
from .control_parameters import ControlParameters
from .conversions import affordance_from_msg
from .frames import FrameTree
from .goals import GoalEnded
from .managed import ManagedNode

# Seconds between looks at whether the affordance node is still there.
POLL_PERIOD = 0.1


class AffordanceClient:
    """Asks the affordance node."""

    def __init__(self, node: ManagedNode, service: str) -> None:
        self._node = node
        self._client = node.create_client(PredictAffordance, service, callback_group=node.group)

    @property
    def there(self) -> bool:
        """Whether the affordance node is in the graph."""
        return self._client.service_is_ready()

    def ask(self, request: PredictAffordance.Request, timeout: float) -> PredictAffordance.Response:
        """The answer. Raises GoalEnded where none comes: the node is not there, died, or is slow."""
        name = self._client.srv_name
        if not self.there:
            raise GoalEnded("NO_AFFORDANCE", f"{name}: no such service; is the affordance node active?")
        future, answered = self._client.call_async(request), threading.Event()
        future.add_done_callback(lambda _: answered.set())
        deadline = time.monotonic() + timeout
        while not answered.wait(POLL_PERIOD):
            gone, late = not self.there, time.monotonic() > deadline
            if gone or late:
                self._client.remove_pending_request(future)
                why = "the affordance node has gone" if gone else f"no answer in {timeout:g} s"
                raise GoalEnded("NO_AFFORDANCE", f"{name}: {why}")
        response = future.result()
        if response is None:
            raise GoalEnded("NO_AFFORDANCE", f"{name}: {future.exception()}")
        return response

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_client(self._client)


class RosSenses:
    """The `Senses` of one task run.

    Attributes:
        header: of the frame that was seen; empty before.
    """

    def __init__(
        self,
        camera: CameraListener,
        tree: FrameTree,
        client: AffordanceClient,
        parameters: ControlParameters,
        planned: Callable[[Sequence[JointTrajectory]], None],
    ) -> None:
        self.header, self._planned = Header(), planned
        self._camera, self._tree, self._client, self._parameters = camera, tree, client, parameters
        self._seen: CameraFrame | None = None

    def see(self) -> RgbdFrame:
        """A frame that was taken after this call. Raises GoalEnded."""
        try:
            frame = self._camera.next(time.monotonic(), self._parameters.frame_timeout)
            self._seen, self.header = frame, frame.header
            return frame.rgbd(self._tree, self._parameters.base_frame)
        except (CameraRefused, ValueError) as error:
            raise GoalEnded("NO_IMAGE", str(error)) from error

    def planned(self, trajectories: Sequence[JointTrajectory]) -> None:
        """Told of the plan before anything moves."""
        self._planned(trajectories)

    def judge(self, instruction: str) -> Prediction:
        """Keypoints for the frame that was seen. Raises GoalEnded."""
        assert self._seen is not None  # noqa: S101 - a run sees before it judges
        request = PredictAffordance.Request(instruction=instruction)
        request.image, request.camera_info = self._seen.color, self._seen.info
        response = self._client.ask(request, self._parameters.affordance_timeout)
        if not response.success:
            raise GoalEnded("NO_AFFORDANCE", response.message)
        try:
            return affordance_from_msg(response.affordance)
        except ValueError as error:
            raise GoalEnded("NO_AFFORDANCE", str(error)) from error
