"""After a try that failed: let go, come home, look again."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np

from ..affordance.schema import Affordance, InvalidKeypoints
from ..control.execute import run
from ..control.plan import JointTrajectory, PlanError, Primitive
from ..control.trajectory import plan_return
from .arm import JOINT_NAMES, SimulatedArm, panda_kinematics
from .staging import SETTLE_SECONDS, StagedScene, in_image
from .world import HOME, JAW_LIMIT, World

PRIMITIVES: tuple[Primitive, ...] = get_args(Primitive)
# How long the jaws are given to open, and in how many samples they are told to.
OPENING_SECONDS, OPENING_SAMPLES = 0.5, 30


class NoWayHome(RuntimeError):
    """The arm cannot come back to its home pose; the message says what is in its way."""


def come_home(world: World) -> None:
    """Open the jaws where they are and move the arm home, behind the safety gate; things come to rest.

    Raises:
        NoWayHome: the way is not free, or the motion did not end well. The arm is at rest.
    """
    arm = SimulatedArm(world)
    here = arm.state().positions
    try:
        back = plan_return(panda_kinematics(), here, np.array(HOME), JAW_LIMIT)
    except PlanError as error:
        raise NoWayHome(str(error)) from error
    execution = run(arm, (_opening(here), back))
    if execution.status != "done":
        raise NoWayHome(f"{execution.status}: {execution.message}")
    world.hold_home()
    world.settle(SETTLE_SECONDS)


def _opening(positions: np.ndarray) -> JointTrajectory:
    times = np.linspace(0.0, OPENING_SECONDS, OPENING_SAMPLES)
    still = np.tile(positions, (OPENING_SAMPLES, 1))
    widths = np.full(OPENING_SAMPLES, JAW_LIMIT)
    return JointTrajectory(JOINT_NAMES, times, still, np.zeros_like(still), widths, "release")


def look_again(world: World, staged: StagedScene) -> StagedScene:
    """The scene as it is now: a new picture; `truth` and `affordance` stay those of the beginning."""
    return replace(staged, frame=world.render())


def true_affordance(world: World, staged: StagedScene) -> Affordance | None:
    """What an oracle answers now, None where a true keypoint is out of view."""
    try:
        return in_image(staged.task.ground_truth(world, staged.scene), staged.frame)
    except InvalidKeypoints:
        return None
