from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from kalie.affordance.model import Prediction
from kalie.perception.frame import FloatArray
from kalie.sim.episode import Episode, act, oracle
from kalie.sim.families_test.towel import FAMILIES as UNSEEN
from kalie.sim.families_train.towel import FAMILIES as SEEN
from kalie.sim.families_train.towel import TowelShape, build_towel
from kalie.sim.objects import ObjectFamily, PlacedObject, Split
from kalie.sim.registry import Registry, task
from kalie.sim.staging import StagedScene, in_image, stage
from kalie.sim.tasks.towel import LOWEST
from kalie.sim.world import TABLE, World, yaw_quaternion

TOWEL = task("towel")


def _stage(world: World, family: ObjectFamily, seed: int) -> StagedScene:
    return stage(world, TOWEL, family.split, seed, Registry([family]))


def _with_two_bars(world: World, first_seed: int = 0) -> StagedScene:
    """A training scene whose instruction must tell two racks apart."""
    for seed in range(first_seed, first_seed + 20):
        staged = stage(world, TOWEL, "train", seed)
        if "other_0" in staged.scene.objects:
            return staged
    raise AssertionError("no scene with two racks")


def _act_with_target(world: World, staged: StagedScene, target: FloatArray) -> Episode:
    points = {**staged.truth.points, "target": target}
    seen = in_image(replace(staged.truth, points=points), staged.frame)
    return act(world, staged, Prediction(seen))


def _across(world: World, staged: StagedScene) -> FloatArray:
    return world.pose(staged.scene.objects["target"])[:3, 1]


def _hang_by_hand(world: World, towel: PlacedObject, rack: PlacedObject) -> None:
    """Put the towel astride the rack's first bar, at rest, and let it settle."""
    pose = world.pose(rack)
    bar, yaw = world.keypoint(rack, "bar_0"), np.arctan2(pose[1, 0], pose[0, 0]) + np.pi / 2
    rise = bar[2] + 0.02 - towel.model.keypoints["ridge"].xyz[2]
    frame = np.array(world.pose(towel))[:3, 3]
    centre = np.array(world.bullet.getBasePositionAndOrientation(towel.body)[0])
    upward = centre[2] - frame[2]
    position = (float(bar[0]), float(bar[1]), float(rise + upward))
    world.bullet.resetBasePositionAndOrientation(towel.body, position, yaw_quaternion(float(yaw)))
    for link in ("front_0", "back_0"):
        world.set_joint(towel, link, 1.5)
    world.settle(1.0)


@pytest.mark.parametrize("family", UNSEEN, ids=lambda family: family.name)
def test_oracle_hangs_the_towel_for_every_unseen_family(world: World, family: ObjectFamily) -> None:
    for seed in (0, 1):
        staged = _stage(world, family, seed)
        episode = act(world, staged, oracle(staged))
        assert episode.success, (episode.reason, episode.measures)
        assert episode.measures["lowest"] > LOWEST


@pytest.mark.parametrize("family", SEEN, ids=lambda family: family.name)
def test_oracle_hangs_the_towel_for_every_seen_family(world: World, family: ObjectFamily) -> None:
    staged = _stage(world, family, 2)
    assert act(world, staged, oracle(staged)).success


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_when_the_towel_is_laid_far_beside_the_bar_expect_failure(world: World, side: float) -> None:
    for seed in (3, 4):
        staged = stage(world, TOWEL, "test", seed)
        beside = staged.truth.points["target"] + side * 0.15 * _across(world, staged)
        episode = _act_with_target(world, staged, beside)
        assert not episode.success
        assert not TOWEL.judge(world, staged.scene).success


def test_when_the_towel_is_hung_on_the_other_rack_expect_failure(world: World) -> None:
    staged = _with_two_bars(world)
    other = staged.scene.objects["other_0"]
    swapped = replace(staged.scene, objects={**staged.scene.objects, "target": other})
    truth = TOWEL.ground_truth(world, swapped)
    episode = act(world, staged, Prediction(in_image(truth, staged.frame)))
    assert not episode.success
    assert episode.measures["lowest"] > LOWEST
    assert TOWEL.judge(world, swapped).success


def test_when_the_grasp_misses_the_towel_expect_an_empty_grasp(world: World) -> None:
    staged = stage(world, TOWEL, "train", 0)
    spot = np.array([0.3, -0.3 * np.sign(staged.truth.points["grasp"][1]), 0.0])
    points = {**staged.truth.points, "grasp": spot, "function": spot}
    seen = in_image(replace(staged.truth, points=points), staged.frame)
    episode = act(world, staged, Prediction(seen))
    assert not episode.success
    assert episode.reason


def test_judgement_tells_hanging_from_lying_and_the_named_bar_from_the_other(world: World) -> None:
    staged = _with_two_bars(world)
    objects = staged.scene.objects
    assert not TOWEL.judge(world, staged.scene).success
    _hang_by_hand(world, objects["tool"], objects["target"])
    hung = TOWEL.judge(world, staged.scene)
    assert hung.success
    assert hung.measures["off_bar"] < 0.06
    assert LOWEST < hung.measures["lowest"] < 0.15
    other = replace(staged.scene, objects={**objects, "target": objects["other_0"]})
    judged = TOWEL.judge(world, other)
    assert not judged.success
    assert judged.measures["off_bar"] > 0.06


def test_the_towel_hangs_by_friction_and_a_weight_on_one_tail_pulls_it_off(world: World) -> None:
    staged = _with_two_bars(world)
    towel = staged.scene.objects["tool"]
    _hang_by_hand(world, towel, staged.scene.objects["target"])
    world.settle(2.0)
    assert TOWEL.judge(world, staged.scene).success
    for _ in range(240):
        tip = world.pose(towel, "front_2")[:3, 3].tolist()
        world.bullet.applyExternalForce(towel.body, towel.links["front_2"], (0, 0, -8.0), tip, 1)
        world.step()
    assert not TOWEL.judge(world, staged.scene).success


def test_the_instruction_names_the_bar_as_the_camera_sees_it(world: World) -> None:
    sides = set()
    for split, seed in [("train", seed) for seed in range(10)] + [("test", seed) for seed in range(10)]:
        staged = stage(world, TOWEL, split, seed)  # pyright: ignore[reportArgumentType]
        scene = staged.scene
        racks = [scene.objects[role] for role in ("target", "other_0") if role in scene.objects]
        bars = [
            world.keypoint(rack, f"bar_{i}") for rack in racks for i in range(int(rack.model.scalars["bars"]))
        ]
        columns = staged.frame.project(np.array(bars))[:, 0]
        goal = staged.affordance.target
        assert goal is not None
        column = goal.x * staged.frame.rgb.shape[1] - 0.5
        words = scene.instruction
        if len(bars) == 1:
            assert not {"left", "right"} & set(re.findall(r"\w+", words))
            continue
        side = "left" if column < columns.mean() else "right"
        assert {"left", "right"} & set(re.findall(r"\w+", words)) == {side}
        sides.add(side)
    assert sides == {"left", "right"}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_free_points_lie_on_both_sides_of_the_bar_square_to_it(world: World, split: Split) -> None:
    for seed in range(5):
        staged = stage(world, TOWEL, split, seed)
        points = staged.truth.points
        np.testing.assert_array_equal(points["grasp"], points["function"])
        way = points["post_contact"] - points["pre_contact"]
        assert np.linalg.norm((points["grasp"] - points["pre_contact"])[:2]) < np.linalg.norm(
            (points["grasp"] - points["post_contact"])[:2]
        )
        along = world.pose(staged.scene.objects["target"])[:3, 0]
        assert way @ along == pytest.approx(0.0, abs=1e-9)
        assert all(
            TABLE.contains(*points[name][:2]) for name in ("grasp", "target", "pre_contact", "post_contact")
        )
        pixels = staged.frame.project(
            np.array([points[n] for n in ("pre_contact", "target", "post_contact")])
        )
        before, after = pixels[1] - pixels[0], pixels[2] - pixels[1]
        assert before @ after > 0.95 * np.linalg.norm(before) * np.linalg.norm(after)


def test_a_towel_lies_flat_and_still_with_its_ridge_up(world: World) -> None:
    for family in (*SEEN, *UNSEEN):
        if family.category != "towel":
            continue
        world.reset()
        towel = world.load(family.sample(np.random.default_rng(0)), (0.5, 0.0, 0.0))
        ridge = world.keypoint(towel, "ridge")
        world.settle(1.0)
        np.testing.assert_allclose(world.keypoint(towel, "ridge"), ridge, atol=0.003)
        assert world.bounds(towel)[1][2] == pytest.approx(ridge[2], abs=0.006)


def test_the_drop_is_how_far_a_towel_hangs(world: World) -> None:
    tail = ((0.1, 0.1),) * 3
    shape = TowelShape(tail, tail[:2], 0.1)
    assert shape.drop == pytest.approx(0.05 * np.cos(0.63) + 3 * 0.024)
    model = build_towel("any", shape)
    assert model.scalars["front"] - model.scalars["back"] == pytest.approx(0.024)
    world.load(model, (0.5, 0.0, 0.0))


def test_racks_stand_by_themselves(world: World) -> None:
    for family in (*SEEN, *UNSEEN):
        if family.category != "rack":
            continue
        world.reset()
        rack = world.load(family.sample(np.random.default_rng(0)), (0.5, 0.0, 0.0))
        start = world.keypoint(rack, "bar_0")
        world.settle(1.0)
        np.testing.assert_allclose(world.keypoint(rack, "bar_0"), start, atol=0.002)


def test_strips_lie_side_by_side_and_a_stripe_is_paint() -> None:
    tail = ((0.1, 0.1),) * 2
    plain = build_towel("any", TowelShape(tail, tail, 0.1))
    cut = build_towel("any", TowelShape(tail, tail, 0.1, front_strips=(1, 4)))
    striped = build_towel("any", TowelShape(tail, tail, 0.1, stripe=0.03))
    assert cut.urdf.count("<collision>") == plain.urdf.count("<collision>") + 3
    assert cut.urdf.count('<box size="0.0235 0.02 0.005"') == 2 * 4
    assert striped.urdf.count("<collision>") == plain.urdf.count("<collision>")
    assert striped.urdf.count("<visual>") == plain.urdf.count("<visual>") + 2 + 4
    assert cut.scalars == striped.scalars == plain.scalars
