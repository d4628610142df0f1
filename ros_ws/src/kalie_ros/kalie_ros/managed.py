"""What every node of kalie shares: managed states, parameters, callbacks that cannot take the node down."""

from __future__ import annotations

import functools
import gc
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

import rclpy
from lifecycle_msgs.msg import State
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from .parameters import declare

Arguments = ParamSpec("Arguments")
Request = TypeVar("Request")
Response = TypeVar("Response")
NAMESPACE = "/kalie"


class ManagedNode(LifecycleNode):
    """A lifecycle node whose resources live from `configure` to `cleanup` and that works while active.

    Subclasses name their `PARAMETERS` and override `configure`, `activate`, `deactivate` and `cleanup`, which
    raise where something is wrong; the transition then fails with the reason in the log.
    """

    PARAMETERS: type

    def __init__(self, name: str) -> None:
        # A remapping of the namespace goes before this one.
        super().__init__(name, namespace=NAMESPACE)
        # Lifecycle services must answer while a long callback runs.
        self.group = ReentrantCallbackGroup()
        declare(self, self.PARAMETERS)

    @property
    def active(self) -> bool:
        """Whether the node is in the state `active`."""
        return self._state_machine.current_state[0] == State.PRIMARY_STATE_ACTIVE

    @property
    def state_name(self) -> str:
        """The lifecycle state, e.g. unconfigured."""
        return self._state_machine.current_state[1]

    def configure(self) -> None:
        """Load and create; may take seconds."""

    def activate(self) -> None:
        """Begin to work."""

    def deactivate(self) -> None:
        """Stop working; whatever moves stops."""

    def cleanup(self) -> None:
        """Let go of everything that `configure` made."""

    def fault(self, error: Exception) -> None:
        """A callback failed; whatever moves must stop here. The node lives on."""

    def guarded(self, callback: Callable[Arguments, None]) -> Callable[Arguments, None]:
        """A callback whose exceptions are logged and reported to `fault` instead of ending the process."""

        @functools.wraps(callback)
        def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
            try:
                callback(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - whatever it is, the node must stop moving and live on
                self.get_logger().error(f"{callback.__name__}: {type(error).__name__}: {error}")
                self.fault(error)

        return run

    def answered(
        self, callback: Callable[[Request, Response], Response]
    ) -> Callable[[Request, Response], Response]:
        """A service callback whose exceptions become its answer: `success` false, the reason in `message`.

        The service's response must have these two fields.
        A ValueError is a refusal; anything else is a fault of the node, logged and reported to `fault`.
        """

        @functools.wraps(callback)
        def run(request: Request, response: Response) -> Response:
            try:
                return callback(request, response)
            except ValueError as error:
                self.get_logger().warning(f"{callback.__name__}: {error}")
                return _refusal(response, str(error))
            except Exception as error:  # noqa: BLE001 - whoever asked gets an answer, whatever it is
                reason = f"{type(error).__name__}: {error}"
                self.get_logger().error(f"{callback.__name__}: {reason}")
                self.fault(error)
                return _refusal(response, f"internal error: {reason}")

        return run

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Transition of the lifecycle; calls `configure`."""
        return self._transition(self.configure, undo=self.cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Transition of the lifecycle; calls `activate`."""
        done = self._transition(self.activate, undo=self.deactivate)
        if done == TransitionCallbackReturn.SUCCESS:
            # What was made until now stays. A garbage collection that looked through all of it would stop all
            # threads for 0.1 s, and an arm's state may be no older than that.
            gc.collect()
            gc.freeze()
        return super().on_activate(state) if done == TransitionCallbackReturn.SUCCESS else done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Transition of the lifecycle; calls `deactivate`."""
        done = self._transition(self.deactivate)
        super().on_deactivate(state)
        return done

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Transition of the lifecycle; calls `cleanup`."""
        gc.unfreeze()
        return self._transition(self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Transition of the lifecycle; stops and cleans up from whatever state."""
        self._transition(self.deactivate)
        return self._transition(self.cleanup)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a failed transition: back to `unconfigured`, from where it can be tried again."""
        self._transition(self.deactivate)
        return self._transition(self.cleanup)

    def _transition(
        self, step: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - a failed transition is an answer, not the end of the process
            self.get_logger().error(f"{step.__name__}: {type(error).__name__}: {error}")
            if undo is not None:
                self._transition(undo)
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS


def _refusal(response: Response, reason: str) -> Response:
    """A new answer: the callback may have filled in the old one in part."""
    refused: Any = type(response)()
    refused.success, refused.message = False, reason
    return refused


def spin(make: Callable[[], ManagedNode], threads: int = 4) -> None:
    """Run one node until SIGINT, SIGTERM or the end of its context; then stop it and clean up."""
    rclpy.init()
    stop = threading.Event()
    node = make()
    executor = MultiThreadedExecutor(threads)
    executor.add_node(node)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        while rclpy.ok() and not stop.is_set():
            # A transition in another thread may destroy what this one is about to wait for; then look again.
            with suppress(InvalidHandle):
                executor.spin_once(timeout_sec=0.2)
    except ExternalShutdownException:
        node.get_logger().info("the context was shut down")
    finally:
        try:
            node.trigger_shutdown()
        except RuntimeError:  # it was shut down before, or is amid a transition
            node.get_logger().warning(f"ended in state {node.state_name}")
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()
