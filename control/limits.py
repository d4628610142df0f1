"""Joint limits: position and velocity from the URDF, acceleration and jerk from the robot's data."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..perception.frame import FloatArray


class UrdfError(ValueError):
    """A URDF cannot be used; the message names the file and the joint at fault."""


@dataclass(frozen=True)
class JointLimits:
    """What J joints may do, base to tip.

    Attributes:
        names: the joints.
        lower: (J,) rad.
        upper: (J,) rad.
        velocity: (J,) rad/s, largest absolute.
        acceleration: (J,) rad/s^2, largest absolute.
        jerk: (J,) rad/s^3, largest absolute.
    """

    names: tuple[str, ...]
    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray
    acceleration: FloatArray
    jerk: FloatArray

    def __post_init__(self) -> None:
        for name in ("lower", "upper", "velocity", "acceleration", "jerk"):
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.shape != (len(self.names),) or not np.isfinite(values).all():
                raise ValueError(f"joint limits: {name} needs {len(self.names)} finite numbers, got {values}")
            if name not in ("lower", "upper") and np.any(values <= 0):
                raise ValueError(f"joint limits: {name} must be positive, got {values}")
            object.__setattr__(self, name, values)
        if np.any(self.lower >= self.upper):
            worst = self.names[int(np.argmax(self.lower - self.upper))]
            raise ValueError(f"joint limits: lower must be below upper, not so for {worst}")

    def scaled(self, factor: float) -> JointLimits:
        """The same position limits with velocity, acceleration and jerk times `factor`."""
        dynamic = (self.velocity * factor, self.acceleration * factor, self.jerk * factor)
        return JointLimits(self.names, self.lower, self.upper, *dynamic)

    def outside(self, positions: FloatArray) -> str | None:
        """Names the first joint outside its position limits, or None."""
        for name, low, value, high in zip(self.names, self.lower, positions, self.upper, strict=True):
            if not low <= value <= high:
                return f"{name} = {value:.3f} rad is outside [{low:.3f}, {high:.3f}]"
        return None


def read_limits(
    urdf: str | Path, names: Sequence[str], acceleration: Sequence[float], jerk: Sequence[float]
) -> JointLimits:
    """Position and velocity limits of the named joints from a URDF file, completed by the given ones.

    Args:
        urdf: path of the file.
        names: the J actuated joints, base to tip.
        acceleration: (J,) rad/s^2; a URDF cannot hold it.
        jerk: (J,) rad/s^3; a URDF cannot hold it.

    Raises:
        UrdfError: the file is not a URDF, or a joint is absent or has no usable limits.
    """
    joints = _joint_elements(Path(urdf))
    rows = [_limit_row(Path(urdf), joints, name) for name in names]
    lower, upper, velocity = np.array(rows, dtype=np.float64).T
    return JointLimits(tuple(names), lower, upper, velocity, np.array(acceleration), np.array(jerk))


def _joint_elements(urdf: Path) -> dict[str, ElementTree.Element]:
    try:
        root = ElementTree.parse(urdf).getroot()  # noqa: S314 - the operator's own robot description
    except (OSError, ElementTree.ParseError) as error:
        raise UrdfError(f"{urdf}: not a readable URDF: {error}") from None
    return {joint.get("name", ""): joint for joint in root.findall("joint")}


def _limit_row(urdf: Path, joints: dict[str, ElementTree.Element], name: str) -> tuple[float, float, float]:
    if name not in joints:
        raise UrdfError(f"{urdf}: no joint {name!r}; it has {', '.join(sorted(joints))}")
    limit = joints[name].find("limit")
    if limit is None:
        raise UrdfError(f"{urdf}: joint {name!r} has no <limit>; add lower, upper and velocity")
    try:
        lower, upper, velocity = (float(limit.attrib[key]) for key in ("lower", "upper", "velocity"))
    except (KeyError, ValueError) as error:
        raise UrdfError(f"{urdf}: joint {name!r}: <limit> has no usable {error}") from None
    if not (np.isfinite([lower, upper, velocity]).all() and lower < upper and velocity > 0):
        raise UrdfError(
            f"{urdf}: joint {name!r}: need lower < upper and velocity > 0, "
            f"got {lower:g}, {upper:g} and {velocity:g}"
        )
    return lower, upper, velocity
