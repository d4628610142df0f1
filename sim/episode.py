"""One scored run: stage a scene, take keypoints from somewhere, plan, move, judge from simulator state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from ..affordance.model import Prediction
from ..affordance.schema import Affordance
from ..control.execute import run
from ..control.plan import JointTrajectory, PlanError, Primitive
from ..control.planner import PlannerSettings, plan_motion
from ..perception.frame import ImageArray
from .arm import SimulatedArm, panda_kinematics
from .objects import Category, Split
from .staging import StagedScene
from .task import Judgement, TaskName
from .world import HOME, World

# Simulated seconds after the arm has stopped, before judgement.
REST_SECONDS = 1.0
FRAME_EVERY = 6


@dataclass(frozen=True)
class Episode:
    """One scored run.

    Attributes:
        task: which.
        split: whose families.
        seed: of the scene.
        instruction: the text.
        families: names by category.
        success: read from simulator state.
        reason: why not, empty on success: "invalid prediction: …", "plan: …", "halted: …", "stalled: …",
            "empty_grasp: …" or "goal not reached".
        measures: quantities behind the judgement.
        affordance: the keypoints used, as JSON, None when invalid.
        seconds: wall time by stage (plan, move).
        simulated_seconds: how long the arm moved.
    """

    task: TaskName
    split: Split
    seed: int
    instruction: str
    families: Mapping[Category, str]
    success: bool
    reason: str
    measures: Mapping[str, float]
    affordance: Mapping[str, object] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    simulated_seconds: float = 0.0

    def to_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)


def oracle(staged: StagedScene) -> Prediction:
    """The true keypoints, with full confidence."""
    return Prediction(staged.affordance, {name: 1.0 for name, _ in staged.affordance.keypoints()})


def act(
    world: World,
    staged: StagedScene,
    prediction: Prediction,
    settings: PlannerSettings | None = None,
    film: Callable[[ImageArray], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    primitive: Primitive | None = None,
) -> Episode:
    """Carry out a prediction in the scene that was just staged, and judge.

    An invalid prediction or an impossible plan is a failed episode in which nothing moves.

    Args:
        world: holds the staged scene.
        staged: it.
        prediction: the keypoints to use.
        settings: of the primitives and their timing.
        film: receives a picture uint8 (H, W, 3) about ten times a simulated second; the default draws none.
        progress: called with (phases of the motion done, phases) after each.
        primitive: that uses the keypoints; the task's own by default.
    """
    judge = staged.task.judge
    if prediction.affordance is None:
        reason = f"invalid prediction: {prediction.error}"
        return scored(staged, None, judge(world, staged.scene), reason)
    started = time.perf_counter()
    try:
        trajectories = _trajectories(staged, prediction.affordance, settings, primitive)
    except PlanError as error:
        seconds = {"plan": time.perf_counter() - started}
        judgement = judge(world, staged.scene)
        return scored(staged, prediction.affordance, judgement, f"plan: {error}", seconds)
    planned, steps = time.perf_counter(), world.steps
    arm = SimulatedArm(world, on_period=None if film is None else _camera(world, film))
    execution = run(arm, trajectories, progress)
    world.settle(REST_SECONDS)
    seconds = {"plan": planned - started, "move": time.perf_counter() - planned}
    reason = "" if execution.status == "done" else f"{execution.status}: {execution.message}"
    moved = (world.steps - steps) * world.config.time_step
    return scored(staged, prediction.affordance, judge(world, staged.scene), reason, seconds, moved)


def _trajectories(
    staged: StagedScene,
    affordance: Affordance,
    settings: PlannerSettings | None,
    primitive: Primitive | None,
) -> Sequence[JointTrajectory]:
    kinematics, home = panda_kinematics(), np.array(HOME)
    chosen = primitive or staged.task.primitive
    return plan_motion(chosen, affordance, staged.frame, kinematics, home, settings).trajectories


def scored(
    staged: StagedScene,
    affordance: Affordance | None,
    judgement: Judgement,
    reason: str,
    seconds: Mapping[str, float] | None = None,
    moved: float = 0.0,
) -> Episode:
    """The record of a scene that is over.

    Args:
        staged: it.
        affordance: the keypoints used, None when invalid.
        judgement: of the simulator's state.
        reason: why the motion failed, empty when it did not.
        seconds: wall time by stage.
        moved: simulated seconds of motion.
    """
    success = judgement.success and not reason
    return Episode(
        staged.task.name,
        staged.split,
        staged.seed,
        staged.scene.instruction,
        staged.families,
        success,
        reason or ("" if success else "goal not reached"),
        judgement.measures,
        None if affordance is None else affordance.to_json(),
        seconds or {},
        moved,
    )


def _camera(world: World, film: Callable[[ImageArray], None]) -> Callable[[], None]:
    """Films every sixth control period."""
    periods = 0

    def on_period() -> None:
        nonlocal periods
        if periods % FRAME_EVERY == 0:
            film(world.render().rgb)
        periods += 1

    return on_period
