"""The benchmark gives every arm the same scenes, counts what happened, and compares scene by scene."""

import numpy as np
import pytest

from kalie.affordance.metrics import WORST
from kalie.affordance.model import Prediction
from kalie.sim.benchmark import (
    ARMS,
    Cell,
    CellResult,
    comparisons,
    from_chance,
    from_model,
    from_oracle,
    keypoint_errors,
    run_cell,
    scene_seed,
    scores,
)
from kalie.sim.registry import task
from kalie.sim.staging import StagedScene, stage
from kalie.sim.task import TaskName
from kalie.sim.world import World


def cell_result(name: TaskName, arm: str, won: list[bool], seed: int = 0, reason: str = "") -> CellResult:
    episodes = [
        {"success": success, "reason": "" if success else reason or "goal not reached"} for success in won
    ]
    errors = [{"grasp": 0.01 if success else 0.2, "target": 0.0} for success in won]
    return CellResult(Cell(name, arm, seed), episodes, errors)  # pyright: ignore[reportArgumentType]


def test_scores_count_successes_per_task_and_pooled() -> None:
    results = [
        cell_result("sweep", "full", [True, True, False, True]),
        cell_result("sweep", "full", [True, False, True, True], seed=1),
        cell_result("drawer", "full", [False, False], reason="invalid prediction: none"),
    ]
    table = {(score.task, score.arm): score for score in scores(results)}
    assert (table["sweep", "full"].success.value, table["sweep", "full"].success.n) == (0.75, 8)
    assert table["all", "full"].success.value == 0.6
    assert table["drawer", "full"].invalid.value == 1.0
    assert table["sweep", "full"].invalid.value == 0.0
    assert table["sweep", "full"].pck.value == pytest.approx(0.875)


def test_tables_list_tasks_and_arms_in_one_order() -> None:
    results = [cell_result("unplug", arm, [True]) for arm in reversed(ARMS)] + [
        cell_result("sweep", "full", [True])
    ]
    listed = [(score.task, score.arm) for score in scores(results)]
    assert listed[0] == ("sweep", "full")
    assert [arm for name, arm in listed if name == "unplug"] == list(ARMS)
    assert [name for name, _ in listed][-1] == "all"


def test_comparisons_are_paired_by_scene() -> None:
    results = [
        cell_result("sweep", "full", [True, True, True, False]),
        cell_result("sweep", "photos_augmented", [False, True, False, False]),
        cell_result("drawer", "full", [True]),
    ]
    (pair,) = [
        c for c in comparisons(results) if (c.arm, c.other, c.task) == ("full", "photos_augmented", "sweep")
    ]
    assert (pair.difference.value, pair.difference.n) == (0.5, 4)
    assert not [c for c in comparisons(results) if c.task == "drawer"]


def test_cells_survive_json_unchanged() -> None:
    result = cell_result("sweep", "oracle", [True, False])
    assert CellResult.from_json(result.to_json()) == result


def test_scenes_differ_between_seeds_and_episodes() -> None:
    seeds = {scene_seed(seed, episode) for seed in range(5) for episode in range(500)}
    assert len(seeds) == 2500


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_every_arm_meets_the_same_scene_and_oracle_beats_silence(world: World) -> None:
    seen: list[np.ndarray] = []

    def silent(staged: StagedScene) -> Prediction:
        seen.append(staged.frame.rgb)
        return Prediction(None, error="no answer")

    def true(staged: StagedScene) -> Prediction:
        seen.append(staged.frame.rgb)
        return from_oracle()(staged)

    lost = run_cell(world, Cell("drawer", "zero_shot", 0), silent, 2)
    won = run_cell(world, Cell("drawer", "oracle", 0), true, 2)
    assert all(np.array_equal(a, b) for a, b in zip(seen[:2], seen[2:], strict=True))
    assert [episode["success"] for episode in won.episodes] == [True, True]
    assert [episode["reason"] for episode in lost.episodes] == ["invalid prediction: no answer"] * 2
    assert all(error == WORST for miss in lost.errors for error in miss.values())
    assert all(error == 0 for miss in won.errors for error in miss.values())


def test_chance_depends_on_its_seed_alone(world: World) -> None:
    staged = stage(world, task("drawer"), "test", scene_seed(0, 0))
    first, again, other = (from_chance(seed)(staged) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_models_see_only_the_picture_and_the_instruction(world: World) -> None:
    staged = stage(world, task("drawer"), "test", scene_seed(0, 0))
    asked: list[tuple[object, object]] = []

    class Model:
        def predict(self, images: object, instructions: object) -> list[Prediction]:
            asked.append((images, instructions))
            return [Prediction(staged.affordance)]

    prediction = from_model(Model())(staged)  # pyright: ignore[reportArgumentType]
    ((images, instructions),) = asked
    assert isinstance(images, list)
    assert np.array_equal(images[0], staged.frame.rgb)
    assert instructions == [staged.scene.instruction]
    assert set(keypoint_errors(prediction, staged).values()) == {0.0}
