"""The benchmark: how often an arm succeeds on unseen families, with keypoints from the model it is given.

A cell is one (task, arm, seed): some episodes on test scenes that are the same for every arm, so that arms
can be compared scene by scene. This module runs cells and sums them up; what each arm learns from is the
caller's business (`cli`), because synthesis and fine-tuning must not see the simulator.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from ..affordance.metrics import errors
from ..affordance.model import KeypointModel, Prediction
from ..affordance.schema import KEYPOINT_NAMES
from ..core.stats import Interval, bootstrap_mean, paired_difference, wilson
from .annotate import random_affordance
from .episode import Episode, act, oracle
from .registry import Registry, task
from .staging import StagedScene, stage
from .task import TaskName
from .world import World

ArmName = Literal[
    "zero_shot",
    "photos",
    "photos_augmented",
    "geometry_only",
    "appearance_only",
    "full",
    "full_10",
    "full_1",
    "rendered",
    "oracle",
    "random",
]
ARMS: tuple[ArmName, ...] = get_args(ArmName)
TASKS: tuple[TaskName, ...] = get_args(TaskName)
FLOORS: tuple[ArmName, ...] = ("random",)
CEILINGS: tuple[ArmName, ...] = ("oracle", "rendered")
COMPARED: tuple[tuple[ArmName, ArmName], ...] = (
    ("full", "photos_augmented"),
    ("full", "rendered"),
    ("full", "geometry_only"),
    ("full", "appearance_only"),
    ("full_1", "photos_augmented"),
    ("photos_augmented", "photos"),
)
# PCK threshold reported beside success: a share of the image's side.
PCK = 0.05
Predictor = Callable[[StagedScene], Prediction]
Actor = Callable[[World, StagedScene, Prediction], Episode]


@dataclass(frozen=True)
class Cell:
    """One unit of the benchmark, the smallest thing that is kept and resumed."""

    task: TaskName
    arm: ArmName
    seed: int

    @property
    def name(self) -> str:
        """A relative path stem, e.g. "sweep/full/0"."""
        return f"{self.task}/{self.arm}/{self.seed}"


@dataclass(frozen=True)
class CellResult:
    """A finished cell.

    Attributes:
        cell: which.
        episodes: as JSON, see `episode.Episode`.
        errors: per episode and keypoint name, the distance to the truth in fractions of the image's side
            (`affordance.metrics.WORST` for a keypoint that was not answered).
        seconds: wall time by stage (data, learning, episodes).
    """

    cell: Cell
    episodes: Sequence[Mapping[str, Any]]
    errors: Sequence[Mapping[str, float]]
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CellResult:
        """Read what `to_json` made."""
        return cls(Cell(**data["cell"]), data["episodes"], data["errors"], data["seconds"])


def scene_seed(seed: int, episode: int) -> int:
    """The test scene of an episode: the same for every arm."""
    return 5_000_011 * (seed + 1) + episode


def from_model(model: KeypointModel) -> Predictor:
    """Answers with a keypoint model, which sees the picture and the instruction only."""
    return lambda staged: model.predict([staged.frame.rgb], [staged.scene.instruction])[0]


def from_oracle() -> Predictor:
    """Answers with the truth: what the primitives and the physics allow at most."""
    return oracle


def from_chance(seed: int) -> Predictor:
    """Answers with random points on random objects: the floor."""

    def predict(staged: StagedScene) -> Prediction:
        rng = np.random.default_rng([seed, staged.seed])
        return Prediction(random_affordance(staged.frame, staged.affordance, rng))

    return predict


def run_cell(
    world: World,
    cell: Cell,
    predict: Predictor,
    episodes: int,
    registry: Registry | None = None,
    progress: Callable[[int, int], None] | None = None,
    actor: Actor = act,
) -> CellResult:
    """Run a cell's episodes on scenes of the test split.

    Args:
        world: the simulator.
        cell: task, arm and seed.
        predict: where keypoints come from.
        episodes: how many.
        registry: of families; the project's own by default.
        progress: called with (done, episodes).
        actor: who carries predictions out; the simulated arm of `world` by default.
    """
    started, records, misses = time.perf_counter(), [], []
    for index in range(episodes):
        episode, miss = _episode(world, cell, predict, index, registry, actor)
        records.append(episode.to_json())
        misses.append(miss)
        if progress is not None:
            progress(index + 1, episodes)
    return CellResult(cell, records, misses, {"episodes": time.perf_counter() - started})


def _episode(
    world: World, cell: Cell, predict: Predictor, index: int, registry: Registry | None, actor: Actor
) -> tuple[Episode, dict[str, float]]:
    staged = stage(world, task(cell.task), "test", scene_seed(cell.seed, index), registry)
    prediction = predict(staged)
    return actor(world, staged, prediction), keypoint_errors(prediction, staged)


def keypoint_errors(prediction: Prediction, staged: StagedScene) -> dict[str, float]:
    """Distance of each true keypoint to its answer, in fractions of the image's side."""
    distances = dict(zip(KEYPOINT_NAMES, errors([prediction], [staged.affordance])[0], strict=True))
    return {name: float(distances[name]) for name, _ in staged.affordance.keypoints()}


@dataclass(frozen=True)
class Score:
    """What one arm did on one task (or on all of them, task "all")."""

    task: str
    arm: ArmName
    success: Interval
    pck: Interval
    invalid: Interval


def scores(results: Iterable[CellResult]) -> list[Score]:
    """Success, PCK@5% of all keypoints and the share of unusable answers, per task and arm, then pooled."""
    grouped: dict[tuple[str, ArmName], list[CellResult]] = {}
    for result in results:
        for name in (result.cell.task, "all"):
            grouped.setdefault((name, result.cell.arm), []).append(result)
    order = {name: index for index, name in enumerate((*TASKS, "all"))}
    keys = sorted(grouped, key=lambda key: (order[key[0]], ARMS.index(key[1])))
    return [_score(name, arm, grouped[name, arm]) for name, arm in keys]


def _score(name: str, arm: ArmName, results: Sequence[CellResult]) -> Score:
    episodes = [episode for result in results for episode in result.episodes]
    won = sum(bool(episode["success"]) for episode in episodes)
    invalid = sum(str(episode["reason"]).startswith("invalid") for episode in episodes)
    hits = [
        np.mean([error <= PCK for error in miss.values()]) for result in results for miss in result.errors
    ]
    return Score(
        name,
        arm,
        wilson(won, len(episodes)),
        bootstrap_mean([float(hit) for hit in hits], resamples=2000),
        wilson(invalid, len(episodes)),
    )


@dataclass(frozen=True)
class Comparison:
    """How much more often `arm` succeeds than `other` on the same scenes, as a share."""

    task: str
    arm: ArmName
    other: ArmName
    difference: Interval


def comparisons(results: Sequence[CellResult]) -> list[Comparison]:
    """The comparisons of `COMPARED` on the episodes both arms have, per task and pooled."""
    won: dict[ArmName, dict[tuple[str, int, int], float]] = {}
    for result in results:
        for index, episode in enumerate(result.episodes):
            key = (result.cell.task, result.cell.seed, index)
            won.setdefault(result.cell.arm, {})[key] = float(episode["success"])
    out = []
    for arm, other in COMPARED:
        shared = won.get(arm, {}).keys() & won.get(other, {}).keys()
        for name in (*TASKS, "all"):
            keys = sorted(key for key in shared if name in (key[0], "all"))
            if keys:
                first, second = ({key: won[side][key] for key in keys} for side in (arm, other))
                out.append(Comparison(name, arm, other, paired_difference(first, second)))
    return out
