"""Asks one managed node for its state and for transitions, through restarts of the node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rclpy.node import Node

Transition = Literal["configure", "activate", "deactivate"]
# Requests to a node that just started, or died, are lost without notice: seconds until they are repeated.
RESEND = 1.0
GOALS: dict[Transition, str] = {"configure": "inactive", "activate": "active", "deactivate": "inactive"}


class LifecycleClient:
    """The lifecycle services of one node, polled; nothing here waits. Times are seconds of a steady clock.

    Attributes:
        state: the node's lifecycle state as it last answered; empty until it has.
        refused: whether the transition that was last asked for has failed.
    """

    def __init__(self, node: Node, name: str) -> None:
        """Ask the node of this full name, e.g. /kalie/control."""
        from lifecycle_msgs.srv import ChangeState, GetState

        self._change = node.create_client(ChangeState, f"{name}/change_state")
        self._get = node.create_client(GetState, f"{name}/get_state")
        self.forget()

    def forget(self) -> None:
        """The node's process is another one now: nothing that was asked or answered holds any more."""
        self.state, self.refused = "", False
        self._questions: list[tuple[Any, float]] = []
        self._wanted: Transition | None = None
        self._before = ""
        self._change_future: Any = None
        self._change_sent = 0.0
        self._change_failed: float | None = None

    @property
    def found(self) -> bool:
        """Whether the graph knows the node's services; those of a node that was killed, too, for a while."""
        return self._get.service_is_ready()

    def ask(self, wanted: Transition, now: float) -> None:
        """Ask for a transition from the state in which the node is."""
        self.refused, self._wanted, self._before = False, wanted, self.state
        self._send(now)

    def poll(self, now: float) -> None:
        """Take up what was answered, and ask again what was not."""
        if self._change_failed is None and self._change_future is not None and self._change_future.done():
            self._change_failed = None if self._change_future.result().success else now
        for future, asked in self._questions:
            if future.done():
                self._learn(future.result().current_state.label, asked, now)
        self._questions = [item for item in self._questions if not item[0].done()]
        if self.found and (not self._questions or now - self._questions[-1][1] > RESEND):
            self._questions.append((self._get.call_async(self._get.srv_type.Request()), now))

    def _learn(self, state: str, asked: float, now: float) -> None:
        """Take up the answer to a question that was asked at some time."""
        self.state = state
        if self._wanted is None:
            return
        if state == GOALS[self._wanted]:
            self._wanted = None
        elif self._change_failed is not None and asked > self._change_failed:
            # Not before, as a request that was sent twice fails although the first one did it.
            self.refused, self._wanted = True, None
        elif state == self._before and asked > self._change_sent + RESEND:
            self._send(now)

    def _send(self, now: float) -> None:
        from lifecycle_msgs.msg import Transition as Message

        number = getattr(Message, f"TRANSITION_{str(self._wanted).upper()}")
        request = self._change.srv_type.Request(transition=Message(id=number))
        self._change_future, self._change_sent = self._change.call_async(request), now
        self._change_failed = None
