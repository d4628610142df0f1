"""From an affordance and a frame to trajectories that are known to be reachable: what an episode calls."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..affordance.schema import Affordance
from ..perception.frame import FloatArray, RgbdFrame
from .kinematics import Kinematics
from .plan import JointTrajectory, MotionPlan, PlanError, Primitive
from .primitives import PrimitiveSettings, plan
from .trajectory import TrajectorySettings, plan_trajectories

# Primitives that carry a tool whose yaw at the target may give way.
YIELDING: frozenset[Primitive] = frozenset(("grasp_and_use", "pour"))


@dataclass(frozen=True)
class PlannerSettings:
    """Everything that shapes a motion.

    Attributes:
        primitive: heights, depths and speeds.
        trajectory: sampling and timing.
        tool_yaws: rad; turns of a carried tool away from the direction that its keypoints give, tried in
            order until one is reachable. The first should be 0.
    """

    primitive: PrimitiveSettings = field(default_factory=PrimitiveSettings)
    trajectory: TrajectorySettings = field(default_factory=TrajectorySettings)
    tool_yaws: tuple[float, ...] = (0.0, 0.35, -0.35, 0.7, -0.7)


@dataclass(frozen=True)
class PlannedMotion:
    """A plan and the trajectories that carry it out, one per phase."""

    plan: MotionPlan
    trajectories: tuple[JointTrajectory, ...]


def plan_motion(
    primitive: Primitive,
    affordance: Affordance,
    frame: RgbdFrame,
    kinematics: Kinematics,
    start: FloatArray,
    settings: PlannerSettings | None = None,
) -> PlannedMotion:
    """Plan all of a motion before any of it moves.

    Args:
        primitive: which one.
        affordance: keypoints as fractions of the frame's image.
        frame: what they were seen in.
        kinematics: of the arm.
        start: (J,) rad, where the arm is now.
        settings: of everything.

    Raises:
        PlanError: naming the keypoint or the waypoint at fault, for the tool's first yaw.
    """
    settings = settings or PlannerSettings()
    first, *others = settings.tool_yaws if primitive in YIELDING else settings.tool_yaws[:1]
    motion = plan(primitive, affordance, frame, settings.primitive, first)
    try:
        return PlannedMotion(motion, tuple(plan_trajectories(motion, kinematics, start, settings.trajectory)))
    except PlanError as error:
        for yaw in others:
            motion = plan(primitive, affordance, frame, settings.primitive, yaw)
            try:
                timed = plan_trajectories(motion, kinematics, start, settings.trajectory)
            except PlanError:
                continue
            return PlannedMotion(motion, tuple(timed))
        raise error from None
