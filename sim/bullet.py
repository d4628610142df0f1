"""PyBullet bound to a physics server of its own, with what Bullet lacks for exact resets.

Bullet's `restoreState` gives positions and velocities back exactly, but what Bullet remembers beside them
makes the next run differ in its last bits, and later in every bit. `Bullet` deals with four such memories:

* The default broadphase is a tree whose boxes and pairs depend on the past; the simple one's depend on the
  present only, and for a table's worth of objects it is no slower.
* Contacts outlive `restoreState` in all but one part of a link of several parts: see `forget_contacts`.
* Ids and broadphase slots, whose order is the solver's order, are given out anew last freed first, and a body
  frees those of its links in the wrong order: see `remove_last`.
* A collision filter outlives its bodies, whose ids are used again: see `clear_filters`.
"""

from __future__ import annotations

import inspect
import weakref
from functools import partial
from typing import Any

import pybullet as pb

NO_LINK = -2
NO_BODY = -1


class Bullet:
    """A physics server in this process; every function of `pybullet` is a method, bound to it.

    `pybullet_utils.bullet_client` does the same, but binds anew at every call, and passes options, at which
    PyBullet prints to standard output.
    """

    def __init__(self) -> None:
        client = pb.connect(pb.DIRECT)
        self._client = client
        self._filters: set[tuple[int, int, int, int]] = set()
        self._end = weakref.finalize(self, pb.disconnect, physicsClientId=client)
        self.empty()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - PyBullet has no types
        attribute = getattr(pb, name)
        if inspect.isbuiltin(attribute):
            attribute = partial(attribute, physicsClientId=self._client)
            setattr(self, name, attribute)
        return attribute

    def disconnect(self) -> None:
        """Free the server; a second call does nothing."""
        self._end()

    def empty(self) -> None:
        """Remove everything, settings too, and free all memory."""
        self._filters.clear()
        self.resetSimulation(pb.RESET_USE_SIMPLE_BROADPHASE)

    def setCollisionFilterPair(  # noqa: N802 - PyBullet's name
        self, body_a: int, body_b: int, link_a: int, link_b: int, enable: int
    ) -> None:
        """PyBullet's function of this name; what it says is remembered for `clear_filters`."""
        self._filters.add((body_a, body_b, link_a, link_b))
        pb.setCollisionFilterPair(body_a, body_b, link_a, link_b, enable, physicsClientId=self._client)

    def clear_filters(self) -> None:
        """Let all pairs of bodies collide again."""
        for pair in self._filters:
            pb.setCollisionFilterPair(*pair, 1, physicsClientId=self._client)
        self._filters.clear()

    def forget_contacts(self, body: int) -> None:
        """Drop a body's contacts and overlapping pairs; the next collision detection finds them anew.

        A collision filter makes Bullet do that to a body; this one names no link that exists.
        """
        pb.setCollisionFilterPair(body, NO_BODY, NO_LINK, NO_LINK, 1, physicsClientId=self._client)

    def remove_last(self, body: int) -> None:
        """Remove the body that was added last; the next one gets its id and its slots in the same order.

        A body frees its base first, so that its last link's slot would be handed out first. Adding and
        removing another body of as many links turns the order around.
        """
        links = self.getNumJoints(body)
        self.removeBody(body)
        if links:
            self.removeBody(self._chain(links))

    def _chain(self, links: int) -> int:
        """A body without shapes, with so many links."""
        return self.createMultiBody(
            baseMass=0,
            linkMasses=[1] * links,
            linkCollisionShapeIndices=[-1] * links,
            linkVisualShapeIndices=[-1] * links,
            linkPositions=[(0, 0, 0)] * links,
            linkOrientations=[(0, 0, 0, 1)] * links,
            linkInertialFramePositions=[(0, 0, 0)] * links,
            linkInertialFrameOrientations=[(0, 0, 0, 1)] * links,
            linkParentIndices=list(range(links)),
            linkJointTypes=[pb.JOINT_FIXED] * links,
            linkJointAxis=[(0, 0, 1)] * links,
        )
