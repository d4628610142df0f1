"""From an affordance and a frame to trajectories that are known to be reachable: what an episode calls."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..affordance.schema import Affordance
from ..perception.frame import FloatArray, RgbdFrame
from .kinematics import Kinematics
from .plan import JointTrajectory, MotionPlan, PlanError, Primitive
from .primitives import PrimitiveSettings, plan
from .trajectory import TrajectorySettings, plan_trajectories

# Primitives that carry a tool whose yaw at the target may give way.
YIELDING: frozenset[Primitive] = frozenset(("grasp_and_use", "pour"))
# Of the overtravel of a push: the end that contact should spare the arm may be out of reach.
OVERTRAVEL_SHARES = (1.0, 0.5, 0.0)


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
        PlanError: naming the keypoint or the waypoint at fault, for the variant tried first.
    """
    settings = settings or PlannerSettings()
    failure: PlanError | None = None
    for shaped, yaw in _variants(primitive, settings):
        try:
            motion = plan(primitive, affordance, frame, shaped, yaw)
            timed = plan_trajectories(motion, kinematics, start, settings.trajectory)
        except PlanError as error:
            failure = failure or error
            continue
        return PlannedMotion(motion, tuple(timed))
    raise failure or PlanError(f"{primitive}: no tool yaw to try")


def _variants(primitive: Primitive, settings: PlannerSettings) -> list[tuple[PrimitiveSettings, float]]:
    """What to try, settings and tool yaw, the wanted one first."""
    wanted, (first, *_) = settings.primitive, settings.tool_yaws
    if primitive in YIELDING:
        return [(wanted, yaw) for yaw in settings.tool_yaws]
    if primitive == "push":
        return [(replace(wanted, overtravel=share * wanted.overtravel), first) for share in OVERTRAVEL_SHARES]
    return [(wanted, first)]
