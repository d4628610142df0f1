from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from kalie.affordance.model import Prediction
from kalie.perception.frame import FloatArray
from kalie.sim.episode import Episode, act, oracle
from kalie.sim.families_test.pour import FAMILIES as UNSEEN
from kalie.sim.families_train.pour import BALL_RADIUS, ring
from kalie.sim.families_train.pour import FAMILIES as SEEN
from kalie.sim.objects import ObjectFamily, PlacedObject, Split
from kalie.sim.registry import Registry, task
from kalie.sim.staging import StagedScene, in_image, stage
from kalie.sim.world import TABLE, World

POUR = task("pour")


def _stage(world: World, family: ObjectFamily, seed: int) -> StagedScene:
    return stage(world, POUR, family.split, seed, Registry([family]))


def _with_two_containers(world: World) -> StagedScene:
    for seed in range(20):
        staged = stage(world, POUR, "train", seed)
        if "other_0" in staged.scene.objects:
            return staged
    raise AssertionError("no scene with two containers")


def _swapped(staged: StagedScene) -> StagedScene:
    """The same scene as if the instruction had named the other container."""
    objects = staged.scene.objects
    exchanged = {**objects, "target": objects["other_0"], "other_0": objects["target"]}
    return replace(staged, scene=replace(staged.scene, objects=exchanged))


def _balls(staged: StagedScene) -> list[PlacedObject]:
    return [thing for role, thing in staged.scene.objects.items() if role.startswith("ball_")]


def _put(world: World, thing: PlacedObject, position: FloatArray) -> None:
    world.bullet.resetBasePositionAndOrientation(thing.body, position.tolist(), (0, 0, 0, 1))


def _act_shifted(world: World, staged: StagedScene, shift: FloatArray) -> Episode:
    points = dict(staged.truth.points)
    for name in ("target", "pre_contact"):
        points[name] = points[name] + shift
    seen = in_image(replace(staged.truth, points=points), staged.frame)
    return act(world, staged, Prediction(seen))


@pytest.mark.parametrize("family", UNSEEN, ids=lambda family: family.name)
def test_oracle_pours_for_every_unseen_family(world: World, family: ObjectFamily) -> None:
    staged = _stage(world, family, 0)
    episode = act(world, staged, oracle(staged))
    assert episode.success, (episode.reason, episode.measures)


@pytest.mark.parametrize("family", SEEN, ids=lambda family: family.name)
def test_oracle_pours_for_every_seen_family(world: World, family: ObjectFamily) -> None:
    staged = _stage(world, family, 2)
    episode = act(world, staged, oracle(staged))
    assert episode.success, (episode.reason, episode.measures)


def test_when_the_balls_go_into_the_other_container_expect_failure(world: World) -> None:
    staged = _with_two_containers(world)
    truth = POUR.ground_truth(world, _swapped(staged).scene)
    episode = act(world, staged, Prediction(in_image(truth, staged.frame)))
    assert not episode.success
    assert episode.measures["inside"] == 0
    assert episode.measures["inside_other"] >= 0.6


def test_when_poured_beside_the_container_expect_failure(world: World) -> None:
    for seed in (0, 1):
        staged = stage(world, POUR, "train", seed)
        way = staged.truth.points["target"] - staged.truth.points["pre_contact"]
        beside = np.array([-way[1], way[0], 0.0]) / np.linalg.norm(way[:2])
        toward_middle = beside if beside[1] * staged.truth.points["target"][1] < 0 else -beside
        episode = _act_shifted(world, staged, 0.13 * toward_middle)
        assert not episode.success


def test_when_the_scoop_is_not_tilted_expect_failure(world: World) -> None:
    staged = stage(world, POUR, "train", 0)
    level = replace(staged.affordance, tool_tilt=0.0)
    episode = act(world, staged, Prediction(level))
    assert not episode.success
    assert episode.measures["inside"] == 0


def test_balls_stay_in_the_pan_while_it_is_carried_level(world: World) -> None:
    staged = stage(world, POUR, "train", 0)
    act(world, staged, Prediction(replace(staged.affordance, tool_tilt=0.0)))
    scoop = staged.scene.objects["tool"]
    low, high = world.bounds(scoop)
    assert low[2] > 0.03
    for thing in _balls(staged):
        position = world.pose(thing)[:3, 3]
        assert (position > low - 0.001).all()
        assert (position < high + 0.001).all()


@pytest.mark.parametrize(("inside", "success"), [(10, True), (6, True), (5, False), (0, False)])
def test_judgement_counts_the_balls_inside_the_named_container(
    world: World, inside: int, success: bool
) -> None:
    staged = _with_two_containers(world)
    model = _balls(staged)[0].model
    objects = {role: thing for role, thing in staged.scene.objects.items() if not role.startswith("ball_")}
    balls = [world.load(model, (0.3 + 0.02 * index, -0.33, 0.1)) for index in range(10)]
    objects |= {f"ball_{index}": thing for index, thing in enumerate(balls)}
    scene = replace(staged.scene, objects=objects)
    centre = world.keypoint(objects["target"], "centre")
    for index, thing in enumerate(balls[:inside]):
        angle = index * 0.6
        _put(world, thing, centre + np.array([0.04 * np.cos(angle), 0.04 * np.sin(angle), BALL_RADIUS]))
    judged = POUR.judge(world, scene)
    assert judged.success is success
    assert judged.measures["inside"] == pytest.approx(inside / 10)
    assert judged.measures["inside_other"] == 0


@pytest.mark.parametrize(
    ("offset", "counts"),
    [
        ((0.0, 0.0, 0.02), True),
        ((0.055, 0.0, 0.02), True),
        ((0.075, 0.0, 0.02), False),
        ((0.0, 0.0, 0.08), False),
        ((0.0, 0.0, -0.05), False),
    ],
)
def test_a_ball_counts_only_between_floor_walls_and_rim(
    world: World, offset: tuple[float, float, float], counts: bool
) -> None:
    staged = stage(world, POUR, "train", 0)
    base = world.pose(staged.scene.objects["target"])[:3, 3]
    for thing in _balls(staged):
        _put(world, thing, base + np.array(offset))
    assert POUR.judge(world, staged.scene).measures["inside"] == float(counts)


def test_the_instruction_names_the_container_as_the_camera_sees_it(world: World) -> None:
    sides = set()
    for seed in range(14):
        staged = stage(world, POUR, "test", seed)
        words, objects = staged.scene.instruction, staged.scene.objects
        if "other_0" not in objects:
            assert not {"left", "right"} & set(re.findall(r"\w+", words))
            continue
        centres = np.array([world.keypoint(objects[role], "centre") for role in ("target", "other_0")])
        target, other = staged.frame.project(centres)[:, 0]
        side = "left" if target < other else "right"
        assert {"left", "right"} & set(re.findall(r"\w+", words)) == {side}
        sides.add(side)
    assert sides == {"left", "right"}


def test_naming_the_other_container_moves_the_target_and_the_approach(world: World) -> None:
    staged = _with_two_containers(world)
    truth = POUR.ground_truth(world, _swapped(staged).scene)
    for name in ("grasp", "function"):
        np.testing.assert_array_equal(truth.points[name], staged.truth.points[name])
    for name in ("target", "pre_contact"):
        assert np.linalg.norm(truth.points[name] - staged.truth.points[name]) > 0.1


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_scenes_have_full_scoops_and_points_on_the_table(world: World, split: Split) -> None:
    for seed in range(5):
        staged = stage(world, POUR, split, seed)
        points, scoop = staged.truth.points, staged.scene.objects["tool"]
        assert set(points) == {"grasp", "function", "target", "pre_contact"}
        assert all(TABLE.contains(*point[:2]) for point in points.values())
        balls = _balls(staged)
        assert 8 <= len(balls) <= 10
        low, high = world.bounds(scoop)
        kept = [
            (low[:2] < p[:2]).all() and (p[:2] < high[:2]).all()
            for p in (world.pose(b)[:3, 3] for b in balls)
        ]
        assert np.mean(kept) >= 0.9
        assert world.pose(scoop)[2, 2] > 0.999


def test_a_ring_closes_around_its_axis() -> None:
    parts = ring(0.06, 0.05, 0.004, (0.0, 2 * np.pi), 12, (1.0, 1.0, 1.0, 1.0), 0.12)
    middles = np.array([part.xyz for part in parts])
    np.testing.assert_allclose(np.hypot(middles[:, 0], middles[:, 1]), 0.06)
    np.testing.assert_allclose(middles.mean(axis=0), (0, 0, 0.025), atol=1e-12)
    assert sum(part.mass for part in parts) == pytest.approx(0.12)
    gap = np.linalg.norm(middles[0] - middles[1])
    assert parts[0].size[1] > gap
