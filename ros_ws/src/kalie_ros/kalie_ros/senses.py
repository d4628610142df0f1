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

# Seconds between looks at whether the affordance node is still there, and its answer still wanted.
POLL_PERIOD = 0.05


class AffordanceClient:
    """Asks the affordance node."""

    def __init__(self, node: ManagedNode, service: str) -> None:
        self._node = node
        self._client = node.create_client(PredictAffordance, service, callback_group=node.group)

    @property
    def there(self) -> bool:
        """Whether the affordance node is in the graph."""
        return self._client.service_is_ready()

    def ask(
        self, request: PredictAffordance.Request, timeout: float, given_up: Callable[[], bool]
    ) -> PredictAffordance.Response:
        """The answer.

        Args:
            request: what is asked.
            timeout: s.
            given_up: asked now and then whether nobody wants the answer any more.

        Raises:
            GoalEnded: none comes; the node is not there, died, or is slow, or the answer was given up.
        """
        name = self._client.srv_name
        if not self.there:
            raise GoalEnded("NO_AFFORDANCE", f"{name}: no such service; is the affordance node active?")
        future, answered = self._client.call_async(request), threading.Event()
        future.add_done_callback(lambda _: answered.set())
        deadline = time.monotonic() + timeout
        while not answered.wait(POLL_PERIOD):
            gone, late, unwanted = not self.there, time.monotonic() > deadline, given_up()
            if gone or late or unwanted:
                self._client.remove_pending_request(future)
                waited = "given up" if unwanted else f"no answer in {timeout:g} s"
                why = "the affordance node has gone" if gone else waited
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
        self._given_up = threading.Event()

    def see(self) -> RgbdFrame:
        """A frame that was taken after this call. Raises GoalEnded."""
        try:
            told = self._parameters
            frame = self._camera.next(time.monotonic(), told.frame_timeout, self._given_up.is_set)
            self._seen, self.header = frame, frame.header
            return frame.rgbd(self._tree, told.base_frame, told.max_transform_age)
        except (CameraRefused, ValueError) as error:
            raise GoalEnded("NO_IMAGE", str(error)) from error

    def give_up(self) -> None:
        """Wait no longer for a frame or an answer: what waits raises GoalEnded; from any thread."""
        self._given_up.set()

    def planned(self, trajectories: Sequence[JointTrajectory]) -> None:
        """Told of the plan before anything moves."""
        self._planned(trajectories)

    def judge(self, instruction: str) -> Prediction:
        """Keypoints for the frame that was seen. Raises GoalEnded."""
        assert self._seen is not None  # noqa: S101 - a run sees before it judges
        request = PredictAffordance.Request(instruction=instruction)
        request.image, request.camera_info = self._seen.color, self._seen.info
        timeout = self._parameters.affordance_timeout
        response = self._client.ask(request, timeout, self._given_up.is_set)
        if not response.success:
            raise GoalEnded("NO_AFFORDANCE", response.message)
        try:
            return affordance_from_msg(response.affordance)
        except ValueError as error:
            raise GoalEnded("NO_AFFORDANCE", str(error)) from error
