"""Sticks and the hosts they are plugged into: shared builders, the training and validation instances.

Host frame: origin on the table under the host's middle, z up. Keypoint `socket_i` is the middle of socket i's
mouth on the host's surface, scalar `socket_i_yaw` the direction out of it (radians about z).
Stick frame: origin on the stick's axis where it leaves the socket, x out of the socket, z up when plugged in.
Keypoint `grasp` lies on its top; scalars, in metres: `grasp_width` between the jaws, `length` to the tip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, sin

import numpy as np

from ..objects import Category, LinkPoint, ObjectModel, Split
from ..urdf import Colour, Link, Part, Vector, urdf_text

HOST_MASS = 1.5
# Rubber feet.
HOST_FRICTION = 1.3
STICK_MASS = 0.03
PLUG_LENGTH = 0.012
SILVER: Colour = (0.75, 0.75, 0.78, 1.0)


@dataclass(frozen=True)
class Socket:
    """A socket of a host: the middle of its mouth (metres, host frame), and the yaw (rad) out of it."""

    xyz: Vector
    yaw: float = 0.0


def host_model(family: str, parts: Sequence[Part], sockets: Sequence[Socket]) -> ObjectModel:
    """A host whose first part carries its mass; dark mouths are drawn around the sockets."""
    mouths = [
        Part(
            "box",
            (0.002, 0.02, 0.01),
            socket.xyz,
            (0, 0, socket.yaw),
            (0.05, 0.05, 0.05, 1),
            0.0,
            solid=False,
        )
        for socket in sockets
    ]
    return ObjectModel(
        category="host",
        family=family,
        urdf=urdf_text(family, [Link("base", (*parts, *mouths))]),
        keypoints={f"socket_{index}": LinkPoint(socket.xyz) for index, socket in enumerate(sockets)},
        scalars={
            "sockets": len(sockets),
            **{f"socket_{index}_yaw": socket.yaw for index, socket in enumerate(sockets)},
        },
        friction=HOST_FRICTION,
    )


def stick_model(
    family: str, parts: Sequence[Part], grasp: Vector, width: float, length: float
) -> ObjectModel:
    """A stick; the metal plug inside the socket is added to its parts.

    Args:
        family: its name.
        parts: of the visible stick, from x = 0 on.
        grasp: a point on its top, stick frame, metres.
        width: between the jaws at `grasp`, metres.
        length: from the socket's mouth to the tip, metres.
    """
    plug = Part("box", (PLUG_LENGTH, 0.012, 0.0045), (-PLUG_LENGTH / 2, 0, 0), colour=SILVER, mass=0.004)
    return ObjectModel(
        category="stick",
        family=family,
        urdf=urdf_text(family, [Link("base", (plug, *parts))]),
        keypoints={"grasp": LinkPoint(grasp)},
        scalars={"grasp_width": width, "length": length},
    )


def flat_stick(family: str, size: Vector, body: Colour, cap: Colour) -> ObjectModel:
    """A flat USB stick: a box with a coloured cap at its tip."""
    length, width, tall = size
    cap_length = 0.3 * length
    main = length - cap_length
    parts = (
        Part("box", (main, width, tall), (main / 2, 0, 0), colour=body, mass=0.7 * STICK_MASS),
        Part(
            "box", (cap_length, width, tall), (main + cap_length / 2, 0, 0), colour=cap, mass=0.3 * STICK_MASS
        ),
    )
    return stick_model(family, parts, (0.55 * length, 0, tall / 2), width, length)


def front_sockets(spread: float, face: float, height: float) -> tuple[Socket, Socket]:
    """Two sockets `spread` metres apart on a flat face at x = `face`, `height` above the table."""
    return Socket((face, -spread / 2, height)), Socket((face, spread / 2, height))


def block_host(family: str, size: Vector, spread: float, height: float, colour: Colour) -> ObjectModel:
    """A plain block with two sockets in its front."""
    block = Part("box", size, (0, 0, size[2] / 2), colour=colour, mass=HOST_MASS)
    return host_model(family, (block,), front_sockets(spread, size[0] / 2, height))


def polar(radius: float, angle: float, height: float) -> Socket:
    """A socket on a round wall, facing outward at `angle` radians."""
    return Socket((radius * cos(angle), radius * sin(angle), height), angle)


@dataclass(frozen=True)
class FixedFamily:
    """A family of one shape.

    Attributes:
        model: every sample.
        split: train or validation.
    """

    model: ObjectModel
    split: Split

    @property
    def name(self) -> str:
        """The family's name."""
        return self.model.family

    @property
    def category(self) -> Category:
        """Stick or host."""
        return self.model.category

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """The one instance; draws nothing."""
        return self.model


BLACK: Colour = (0.1, 0.1, 0.12, 1.0)
WHITE: Colour = (0.85, 0.85, 0.85, 1.0)
FAMILIES = (
    FixedFamily(flat_stick("flat_stick", (0.062, 0.024, 0.012), BLACK, (0.75, 0.1, 0.1, 1)), "train"),
    FixedFamily(flat_stick("short_stick", (0.054, 0.028, 0.01), WHITE, (0.1, 0.3, 0.7, 1)), "validation"),
    FixedFamily(
        flat_stick("slim_stick", (0.068, 0.018, 0.014), (0.9, 0.6, 0.1, 1), (0.2, 0.2, 0.2, 1)), "validation"
    ),
    FixedFamily(block_host("block_host", (0.1, 0.15, 0.04), 0.085, 0.024, (0.3, 0.35, 0.42, 1)), "train"),
    FixedFamily(
        block_host("wide_host", (0.08, 0.19, 0.036), 0.1, 0.022, (0.85, 0.83, 0.78, 1)), "validation"
    ),
    FixedFamily(
        block_host("deep_host", (0.13, 0.14, 0.042), 0.078, 0.026, (0.25, 0.4, 0.3, 1)), "validation"
    ),
)
