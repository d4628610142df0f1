from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pybullet as pb
import pytest

from kalie.affordance.model import Prediction
from kalie.affordance.schema import KEYPOINT_NAMES
from kalie.perception.depth import lift
from kalie.perception.frame import FloatArray
from kalie.sim.episode import Episode, act, oracle
from kalie.sim.families_test.drawer import FAMILIES as UNSEEN
from kalie.sim.families_train.drawer import FAMILIES as SEEN
from kalie.sim.families_train.drawer import CabinetShape, cabinet_model
from kalie.sim.objects import ObjectFamily, Split
from kalie.sim.registry import Registry, task
from kalie.sim.staging import StagedScene, in_image, stage
from kalie.sim.world import TABLE, World

DRAWER = task("drawer")
FIVE = set(KEYPOINT_NAMES)


def _stage(world: World, family: ObjectFamily, seed: int) -> StagedScene:
    return stage(world, DRAWER, family.split, seed, Registry([family]))


def _act_elsewhere(world: World, staged: StagedScene, move: Callable[[FloatArray], FloatArray]) -> Episode:
    """Carry out the true keypoints after each was moved in the base frame."""
    points = {name: move(point) for name, point in staged.truth.points.items()}
    seen = in_image(replace(staged.truth, points=points), staged.frame)
    return act(world, staged, Prediction(seen))


def _opening_axis(world: World, staged: StagedScene) -> tuple[FloatArray, FloatArray]:
    """The way the drawers open, and along the row of drawers."""
    pose = world.pose(staged.scene.objects["target"])
    return pose[:3, 0], pose[:3, 1]


@pytest.mark.parametrize("family", UNSEEN, ids=lambda family: family.name)
def test_oracle_closes_the_named_drawer_of_every_unseen_family(world: World, family: ObjectFamily) -> None:
    for seed in (0, 1):
        staged = _stage(world, family, seed)
        episode = act(world, staged, oracle(staged))
        assert episode.success, (episode.reason, episode.measures)
        assert episode.measures["opening"] < 0.01


@pytest.mark.parametrize("family", SEEN, ids=lambda family: family.name)
def test_oracle_closes_the_named_drawer_of_every_seen_family(world: World, family: ObjectFamily) -> None:
    staged = _stage(world, family, 2)
    assert act(world, staged, oracle(staged)).success


def test_when_the_wrong_drawer_is_pushed_expect_failure(world: World) -> None:
    family = next(family for family in SEEN if family.split == "train")
    for seed in range(2):
        staged = _stage(world, family, seed)
        _, along = _opening_axis(world, staged)
        cabinet = staged.scene.objects["target"]
        shift = cabinet.model.scalars["width"] / 3
        sign = -1 if staged.scene.goal["drawer"] == 2 else 1
        episode = _act_elsewhere(world, staged, lambda point, way=sign * shift * along: point + way)
        assert not episode.success
        assert episode.measures["opening"] > 0.03 or episode.measures["others_closed"] > 0.01


def _act_with_post_contact_off(world: World, staged: StagedScene, short: float) -> Episode:
    """Carry out the true keypoints, the end of the push moved toward the hand by `short` metres."""
    out, _ = _opening_axis(world, staged)
    points = dict(staged.truth.points)
    points["post_contact"] = points["post_contact"] + short * out
    return act(world, staged, Prediction(in_image(replace(staged.truth, points=points), staged.frame)))


def test_when_the_push_ends_nine_centimetres_short_expect_failure(world: World) -> None:
    episode = _act_with_post_contact_off(world, stage(world, DRAWER, "test", 3), 0.09)
    assert not episode.success
    assert episode.measures["opening"] > 0.02


@pytest.mark.parametrize("short", [0.03, -0.03])
def test_when_the_push_ends_three_centimetres_off_expect_the_drawer_to_stop_it(
    world: World, short: float
) -> None:
    """The push goes on until the closed drawer stops it, and presses no harder than the cabinet bears."""
    for seed in (0, 1, 3):
        episode = _act_with_post_contact_off(world, stage(world, DRAWER, "test", seed), short)
        assert episode.success, (episode.reason, episode.measures)
        assert episode.measures["cabinet_moved"] < 0.005


def test_when_the_cabinet_is_pushed_beside_its_drawers_expect_failure(world: World) -> None:
    staged = _stage(world, UNSEEN[2], 4)
    _, along = _opening_axis(world, staged)
    width = staged.scene.objects["target"].model.scalars["width"]
    episode = _act_elsewhere(world, staged, lambda point: point + (width / 2 + 0.04) * along)
    assert not episode.success


@pytest.mark.parametrize(
    ("opening", "shift", "other", "success"),
    [
        (0.0, 0.0, 0.08, True),
        (0.009, 0.019, 0.072, True),
        (0.011, 0.0, 0.08, False),
        (0.0, 0.021, 0.08, False),
        (0.0, 0.0, 0.068, False),
    ],
)
def test_judgement_reads_opening_cabinet_and_other_drawers(
    world: World, opening: float, shift: float, other: float, success: bool
) -> None:
    staged = _stage(world, SEEN[0], 0)
    cabinet, goal = staged.scene.objects["target"], staged.scene.goal["drawer"]
    scene = replace(staged.scene, goal={"drawer": goal, "openings": (0.08, 0.08, 0.08)})
    for index in range(3):
        world.set_joint(cabinet, f"drawer_{index}", opening if index == goal else other)
    position, quaternion = world.bullet.getBasePositionAndOrientation(cabinet.body)
    moved = (position[0] + shift, position[1], position[2])
    world.bullet.resetBasePositionAndOrientation(cabinet.body, moved, quaternion)
    judged = DRAWER.judge(world, scene)
    assert judged.success is success
    assert judged.measures["opening"] == pytest.approx(opening)
    assert judged.measures["cabinet_moved"] == pytest.approx(shift, abs=1e-4)
    assert judged.measures["others_closed"] == pytest.approx(0.08 - other)


def test_the_instruction_names_the_drawer_as_the_camera_sees_it(world: World) -> None:
    named = set()
    for seed in range(16):
        staged = stage(world, DRAWER, "train", seed)
        cabinet, goal = staged.scene.objects["target"], int(str(staged.scene.goal["drawer"]))
        fronts = np.array([world.keypoint(cabinet, f"front_{index}") for index in range(3)])
        rank = int(np.argsort(np.argsort(staged.frame.project(fronts)[:, 0]))[goal])
        words = staged.scene.instruction
        expected = (("left",), ("middle", "centre"), ("right",))[rank]
        assert any(word in words for word in expected), words
        named.add(rank)
    assert named == {0, 1, 2}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_scenes_have_five_points_on_the_table_and_drawers_open(world: World, split: Split) -> None:
    for seed in range(5):
        staged = stage(world, DRAWER, split, seed)
        points = staged.truth.points
        assert set(points) == FIVE
        assert all(TABLE.contains(*point[:2]) for point in points.values())
        np.testing.assert_array_equal(points["grasp"], points["target"])
        np.testing.assert_array_equal(points["function"], points["target"])
        cabinet = staged.scene.objects["target"]
        for index in range(round(cabinet.model.scalars["drawers"])):
            assert 0.055 < world.joint_position(cabinet, f"drawer_{index}") < 0.15


def test_keypoints_in_the_image_lift_back_to_the_surfaces_they_name(world: World) -> None:
    for seed in range(6):
        staged = stage(world, DRAWER, "test", seed)
        for name, keypoint in staged.affordance.keypoints():
            pixel = np.array([keypoint.x, keypoint.y]) * staged.frame.rgb.shape[0] - 0.5
            lifted = lift(staged.frame, pixel)
            np.testing.assert_allclose(lifted, staged.truth.points[name], atol=0.012, err_msg=name)


def test_a_push_on_a_closed_drawer_slides_the_cabinet_measurably(world: World) -> None:
    cabinet = world.load(cabinet_model("any", CabinetShape(2, 0.1, 0.042, 0.13)), (0.5, 0.0, 0.0))
    start = world.pose(cabinet)[0, 3]
    for _ in range(60):
        position, _ = world.bullet.getBasePositionAndOrientation(cabinet.body)
        world.bullet.applyExternalForce(cabinet.body, -1, (90, 0, 0), position, pb.WORLD_FRAME)
        world.step()
    assert world.pose(cabinet)[0, 3] - start > 0.02


def test_unseen_families_show_one_to_three_drawers() -> None:
    rng = np.random.default_rng(0)
    counts = {round(family.sample(rng).scalars["drawers"]) for family in UNSEEN for _ in range(12)}
    assert counts == {1, 2, 3}


def test_when_the_cabinet_does_not_fit_the_table_expect_an_error_naming_its_family(world: World) -> None:
    class Wide:
        name, category, split = "too_wide", "cabinet", "test"

        def sample(self, rng: np.random.Generator) -> object:
            return cabinet_model("too_wide", CabinetShape(3, 0.4, 0.042, 0.13))

    with pytest.raises(ValueError, match="too_wide"):
        DRAWER.build(world, {"cabinet": Wide()}, np.random.default_rng(0))  # pyright: ignore[reportArgumentType]
