"""Parametric parts to URDF text: the only way in which this project makes objects.

A family describes an object as links made of primitive parts, joined by fixed, revolute or prismatic joints;
`urdf_text` computes masses and inertias and writes the XML that PyBullet loads.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

from ..perception.frame import FloatArray

Shape = Literal["box", "cylinder", "sphere", "capsule", "mesh"]
JointKind = Literal["fixed", "revolute", "continuous", "prismatic"]
Vector = tuple[float, float, float]
Colour = tuple[float, float, float, float]

GREY: Colour = (0.6, 0.6, 0.6, 1.0)
# Bullet's solver turns stiff and jittery for inertias far below these (kg m^2).
LEAST_INERTIA = 1e-6


@dataclass(frozen=True)
class Part:
    """One primitive solid of a link.

    Attributes:
        shape: what it is.
        size: metres: box (x, y, z) edges; cylinder and capsule (radius, length along z, unused), a capsule's
            length without its caps; sphere (radius, unused, unused); mesh (x, y, z) scale.
        xyz: centre in the link's frame, metres.
        rpy: fixed-axis roll, pitch, yaw in the link's frame, radians.
        colour: RGBA in [0, 1].
        mass: kilograms.
        mesh: file name of a mesh, absolute or relative to the model's `asset_dir`.
        solid: whether it collides; a part that does not is decoration.
        extent: of a mesh, metres: edges of the box whose inertia it is given.
    """

    shape: Shape
    size: Vector
    xyz: Vector = (0.0, 0.0, 0.0)
    rpy: Vector = (0.0, 0.0, 0.0)
    colour: Colour = GREY
    mass: float = 0.02
    mesh: str = ""
    solid: bool = True
    extent: Vector = (0.05, 0.05, 0.05)


@dataclass(frozen=True)
class Link:
    """A rigid body made of parts. The first link of an object is its base and must be named "base"."""

    name: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Joint:
    """A joint between two links.

    Attributes:
        parent: the parent link's name.
        child: the child link's name; a link has one parent.
        kind: fixed, revolute (limits in radians), continuous, or prismatic (limits in metres).
        xyz: the child's frame in the parent's, metres.
        rpy: its orientation, radians.
        axis: of motion, in the child's frame.
        limits: (lower, upper), needed by revolute and prismatic joints.
        damping: N s/m or N m s/rad.
        friction: Coulomb friction, N or N m.
    """

    parent: str
    child: str
    kind: JointKind = "fixed"
    xyz: Vector = (0.0, 0.0, 0.0)
    rpy: Vector = (0.0, 0.0, 0.0)
    axis: Vector = (1.0, 0.0, 0.0)
    limits: tuple[float, float] | None = None
    damping: float = 0.0
    friction: float = 0.0


@dataclass
class _Inertial:
    """Mass (kg), centre of mass (3,) and inertia (3, 3) about it."""

    mass: float = 0.0
    centre: FloatArray = field(default_factory=lambda: np.zeros(3))
    inertia: FloatArray = field(default_factory=lambda: np.zeros((3, 3)))


def urdf_text(name: str, links: Sequence[Link], joints: Sequence[Joint] = ()) -> str:
    """The URDF of an object.

    Args:
        name: the robot name written into it.
        links: the base first; every other link is the child of one joint.
        joints: how links are joined.

    Raises:
        ValueError: naming the link or joint at fault.
    """
    _check(links, joints)
    robot = ElementTree.Element("robot", name=name)
    for link in links:
        robot.append(_link_element(link))
    for joint in joints:
        robot.append(_joint_element(joint))
    return xml_lines(robot)


def xml_lines(root: ElementTree.Element) -> str:
    """XML text with one element a line: Bullet's reader breaks lines longer than 8191 characters."""
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")


def roll_pitch_yaw(rotation: FloatArray) -> FloatArray:
    """A rotation (3, 3) as a URDF has it: fixed-axis roll, pitch, yaw (3,), radians."""
    with warnings.catch_warnings():
        # At gimbal lock the decomposition is not unique; any of them will do.
        warnings.simplefilter("ignore", UserWarning)
        return Rotation.from_matrix(rotation).as_euler("xyz")


def _check(links: Sequence[Link], joints: Sequence[Joint]) -> None:
    names = [link.name for link in links]
    if not names or names[0] != "base" or len(set(names)) != len(names):
        raise ValueError(f"links: the first must be 'base' and names unique, got {names}")
    if sorted(joint.child for joint in joints) != sorted(names[1:]):
        raise ValueError("joints: every link but the base must be the child of exactly one joint")
    for joint in joints:
        if joint.parent not in names:
            raise ValueError(f"joint of {joint.child!r}: unknown parent {joint.parent!r}")
        if joint.kind in ("revolute", "prismatic") and joint.limits is None:
            raise ValueError(f"joint of {joint.child!r}: a {joint.kind} joint needs limits")


def _numbers(values: Sequence[float] | FloatArray) -> str:
    return " ".join(f"{value:.9g}" for value in values)


def _link_element(link: Link) -> ElementTree.Element:
    element = ElementTree.Element("link", name=link.name)
    element.append(_inertial_element(link.parts))
    for index, part in enumerate(link.parts):
        visual = _shape_element("visual", part)
        material = ElementTree.SubElement(visual, "material", name=f"{link.name}_{index}")
        ElementTree.SubElement(material, "color", rgba=_numbers(part.colour))
        element.append(visual)
        if part.solid:
            element.append(_shape_element("collision", part))
    return element


def _shape_element(kind: Literal["visual", "collision"], part: Part) -> ElementTree.Element:
    element = ElementTree.Element(kind)
    ElementTree.SubElement(element, "origin", xyz=_numbers(part.xyz), rpy=_numbers(part.rpy))
    geometry = ElementTree.SubElement(element, "geometry")
    if part.shape == "box":
        ElementTree.SubElement(geometry, "box", size=_numbers(part.size))
    elif part.shape == "sphere":
        ElementTree.SubElement(geometry, "sphere", radius=_numbers(part.size[:1]))
    elif part.shape == "mesh":
        ElementTree.SubElement(geometry, "mesh", filename=part.mesh, scale=_numbers(part.size))
    else:
        radius, length = part.size[:2]
        ElementTree.SubElement(geometry, part.shape, radius=f"{radius:.9g}", length=f"{length:.9g}")
    return element


def _joint_element(joint: Joint) -> ElementTree.Element:
    element = ElementTree.Element("joint", name=f"{joint.child}_joint", type=joint.kind)
    ElementTree.SubElement(element, "parent", link=joint.parent)
    ElementTree.SubElement(element, "child", link=joint.child)
    ElementTree.SubElement(element, "origin", xyz=_numbers(joint.xyz), rpy=_numbers(joint.rpy))
    ElementTree.SubElement(element, "axis", xyz=_numbers(joint.axis))
    if joint.limits is not None:
        lower, upper = (f"{limit:.9g}" for limit in joint.limits)
        ElementTree.SubElement(element, "limit", lower=lower, upper=upper, effort="1000", velocity="1000")
    dynamics = {"damping": f"{joint.damping:.9g}", "friction": f"{joint.friction:.9g}"}
    ElementTree.SubElement(element, "dynamics", dynamics)
    return element


def _part_inertia(part: Part) -> FloatArray:
    """Inertia (3, 3) about the part's centre turned into the link's axes."""
    a, b, _ = part.size
    if part.shape == "sphere":
        diagonal = [0.4 * a * a] * 3
    elif part.shape in ("cylinder", "capsule"):
        length = b if part.shape == "cylinder" else b + 4 / 3 * a
        side = (3 * a * a + length * length) / 12
        diagonal = [side, side, a * a / 2]
    else:
        x, y, z = part.size if part.shape == "box" else part.extent
        diagonal = [(y * y + z * z) / 12, (x * x + z * z) / 12, (x * x + y * y) / 12]
    rotation = Rotation.from_euler("xyz", part.rpy).as_matrix()
    return part.mass * rotation @ np.diag(diagonal) @ rotation.T


def _combine(parts: Sequence[Part]) -> _Inertial:
    """Sum parts by the parallel-axis theorem."""
    mass = sum(part.mass for part in parts)
    if mass <= 0:
        return _Inertial()
    centre = sum((part.mass * np.array(part.xyz) for part in parts), np.zeros(3)) / mass
    inertia = np.zeros((3, 3))
    for part in parts:
        offset = np.array(part.xyz) - centre
        inertia += _part_inertia(part)
        inertia += part.mass * (offset @ offset * np.eye(3) - np.outer(offset, offset))
    return _Inertial(mass, centre, inertia + LEAST_INERTIA * np.eye(3))


def _inertial_element(parts: Sequence[Part]) -> ElementTree.Element:
    # Bullet keeps only a diagonal inertia, so the inertial frame is turned to the principal axes.
    total = _combine(parts)
    moments, axes = np.linalg.eigh(total.inertia)
    if np.linalg.det(axes) < 0:
        axes[:, 0] *= -1
    element = ElementTree.Element("inertial")
    rpy = roll_pitch_yaw(axes)
    ElementTree.SubElement(element, "origin", xyz=_numbers(total.centre), rpy=_numbers(rpy))
    ElementTree.SubElement(element, "mass", value=f"{total.mass:.9g}")
    ixx, iyy, izz = (f"{moment:.9g}" for moment in moments)
    ElementTree.SubElement(element, "inertia", ixx=ixx, iyy=iyy, izz=izz, ixy="0", ixz="0", iyz="0")
    return element
