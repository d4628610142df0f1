from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from kalie.sim.objects import LinkPoint, ObjectModel
from kalie.sim.urdf import Joint, Link, Part, urdf_text
from kalie.sim.world import World, yaw_quaternion

BOX = Part("box", (0.2, 0.1, 0.04), mass=0.5)


def _inertial(text: str) -> tuple[float, np.ndarray, np.ndarray]:
    element = ElementTree.fromstring(text).find("link/inertial")  # noqa: S314
    assert element is not None
    inertia, origin = element.find("inertia"), element.find("origin")
    mass = element.find("mass")
    assert inertia is not None
    assert origin is not None
    assert mass is not None
    centre = np.array([float(value) for value in origin.attrib["xyz"].split()])
    diagonal = np.array([float(inertia.attrib[key]) for key in ("ixx", "iyy", "izz")])
    return float(mass.attrib["value"]), centre, diagonal


def test_inertia_of_a_box_matches_the_textbook() -> None:
    mass, centre, diagonal = _inertial(urdf_text("box", [Link("base", (BOX,))]))
    textbook = 0.5 / 12 * np.array([0.1**2 + 0.04**2, 0.2**2 + 0.04**2, 0.2**2 + 0.1**2])
    assert mass == 0.5
    np.testing.assert_allclose(centre, 0, atol=1e-12)
    np.testing.assert_allclose(np.sort(diagonal), np.sort(textbook + 1e-6), rtol=1e-6)


def test_two_half_boxes_weigh_and_turn_like_the_whole() -> None:
    halves = tuple(Part("box", (0.1, 0.1, 0.04), (x, 0.0, 0.0), mass=0.25) for x in (-0.05, 0.05))
    mass, centre, diagonal = _inertial(urdf_text("halves", [Link("base", halves)]))
    whole = _inertial(urdf_text("box", [Link("base", (BOX,))]))
    assert mass == whole[0]
    np.testing.assert_allclose(centre, whole[1], atol=1e-12)
    np.testing.assert_allclose(np.sort(diagonal), np.sort(whole[2]), rtol=1e-6)


def test_base_frame_is_the_urdf_frame_even_where_the_centre_of_mass_is_elsewhere(world: World) -> None:
    part = Part("box", (0.1, 0.05, 0.04), (0.07, 0.02, 0.02), (0.3, 0.2, 0.5), mass=0.1)
    model = ObjectModel(
        "clutter", "off", urdf_text("off", [Link("base", (part,))]), {"tip": LinkPoint((0.1, 0, 0))}
    )
    placed = world.load(model, (0.5, 0.1, 0.2), yaw_quaternion(0.8))
    expected = np.array([0.5 + 0.1 * math.cos(0.8), 0.1 + 0.1 * math.sin(0.8), 0.2])
    np.testing.assert_allclose(world.keypoint(placed, "tip"), expected, atol=1e-6)


def test_prismatic_joint_keeps_its_limits(world: World) -> None:
    slider = Joint("base", "tray", "prismatic", axis=(1, 0, 0), limits=(0.0, 0.1))
    links = [Link("base", (Part("box", (0.1, 0.1, 0.1), (0, 0, 0.05), mass=1),)), Link("tray", (BOX,))]
    model = ObjectModel("clutter", "slider", urdf_text("slider", links, [slider]), {})
    placed = world.load(model, (0.5, 0, 0), fixed_base=True)
    info = world.bullet.getJointInfo(placed.body, placed.links["tray"])
    assert (info[8], info[9]) == (0.0, 0.1)


@pytest.mark.parametrize(
    ("links", "joints", "message"),
    [
        ([Link("head", (BOX,))], [], "first must be 'base'"),
        ([Link("base", (BOX,)), Link("head", (BOX,))], [], "child of exactly one joint"),
        ([Link("base", (BOX,)), Link("head", (BOX,))], [Joint("nobody", "head")], "unknown parent 'nobody'"),
        ([Link("base", (BOX,)), Link("head", (BOX,))], [Joint("base", "head", "revolute")], "needs limits"),
    ],
)
def test_when_links_do_not_fit_expect_an_error_that_names_them(
    links: list[Link], joints: list[Joint], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        urdf_text("wrong", links, joints)
