"""Antipodal grasp refinement: the depth around a keypoint says where, how turned and how wide to grasp."""

from __future__ import annotations

from dataclasses import dataclass

from ..perception.frame import FloatArray, RgbdFrame


@dataclass(frozen=True)
class GraspSettings:
    """How grasps are refined; metres, radians.

    Attributes:
        jaw_limit: widest opening of the jaws.
    """

    jaw_limit: float = 0.08


@dataclass(frozen=True)
class RefinedGrasp:
    """A grasp from above: surface point (3,), closing axis (3,) unit, horizontal, jaw opening in metres."""

    point: FloatArray
    closing_axis: FloatArray
    width: float


def refine_grasp(
    frame: RgbdFrame, point: FloatArray, closing_axis: FloatArray, support: float, settings: GraspSettings
) -> RefinedGrasp:
    """Keep the grasp."""
    return RefinedGrasp(point, closing_axis, settings.jaw_limit)
