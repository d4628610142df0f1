from __future__ import annotations

from dataclasses import replace

import numpy as np
import pybullet as pb
import pytest
from scipy.spatial.transform import Rotation

from kalie.affordance.model import Prediction
from kalie.affordance.schema import KEYPOINT_NAMES
from kalie.control.planner import PlannerSettings
from kalie.control.primitives import PrimitiveSettings
from kalie.perception.frame import FloatArray
from kalie.sim.episode import Episode, act, oracle
from kalie.sim.families_test.unplug import FAMILIES as UNSEEN
from kalie.sim.objects import ObjectFamily, PlacedObject, Split
from kalie.sim.registry import Registry, task
from kalie.sim.staging import StagedScene, in_image, stage
from kalie.sim.tasks.unplug import TRAVEL
from kalie.sim.world import TABLE, World

UNPLUG = task("unplug")
STICKS = [family for family in UNSEEN if family.category == "stick"]
HOSTS = [family for family in UNSEEN if family.category == "host"]


def _pair(host: ObjectFamily, stick: ObjectFamily, world: World, seed: int) -> StagedScene:
    return stage(world, UNPLUG, host.split, seed, Registry([host, stick]))


def _act_turned(
    world: World, staged: StagedScene, degrees: float, settings: PlannerSettings | None = None
) -> Episode:
    """Pull from the true grasp in a direction turned about the vertical."""
    grasp = staged.truth.points["grasp"] * (1, 1, 0)
    turn = Rotation.from_euler("z", degrees, degrees=True)
    points = dict(staged.truth.points)
    for name in ("pre_contact", "target", "post_contact"):
        points[name] = grasp + turn.apply(points[name] - grasp)
    turned = in_image(replace(staged.truth, points=points), staged.frame)
    return act(world, staged, Prediction(turned), settings)


def _push(world: World, stick: PlacedObject, force: FloatArray, steps: int) -> None:
    for _ in range(steps):
        position, _ = world.bullet.getBasePositionAndOrientation(stick.body)
        world.bullet.applyExternalForce(stick.body, -1, force.tolist(), position, pb.WORLD_FRAME)
        world.step()


def _drawn(world: World, staged: StagedScene) -> float:
    return UNPLUG.judge(world, staged.scene).measures["drawn"]


@pytest.mark.parametrize(
    ("host", "stick"), list(zip(HOSTS, STICKS, strict=True)), ids=lambda family: family.name
)
def test_oracle_unplugs_every_unseen_stick_and_host(
    world: World, host: ObjectFamily, stick: ObjectFamily
) -> None:
    staged = _pair(host, stick, world, 0)
    episode = act(world, staged, oracle(staged))
    assert episode.success, (episode.reason, episode.measures)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_oracle_unplugs_the_seen_sticks(world: World, split: Split) -> None:
    for seed in range(2):
        staged = stage(world, UNPLUG, split, seed)
        assert act(world, staged, oracle(staged)).success


@pytest.mark.parametrize("degrees", [-75.0, 75.0])
def test_when_the_pull_is_off_axis_expect_the_host_to_be_dragged_and_failure(
    world: World, degrees: float
) -> None:
    staged = stage(world, UNPLUG, "train", 0)
    blind = PlannerSettings(PrimitiveSettings(away=-1.0))  # no look at what the stick is stuck in
    episode = _act_turned(world, staged, degrees, blind)
    assert not episode.success
    assert episode.measures["host_moved"] > 0.02 or episode.reason.startswith("plan")


@pytest.mark.parametrize("degrees", [-75.0, -45.0, 10.0, 45.0, 75.0, 160.0])
def test_a_pull_told_askew_leads_away_from_the_host_and_succeeds(world: World, degrees: float) -> None:
    staged = stage(world, UNPLUG, "train", 0)
    assert _act_turned(world, staged, degrees).success


def test_when_the_other_stick_is_pulled_expect_failure(world: World) -> None:
    staged = stage(world, UNPLUG, "train", 1)
    objects = staged.scene.objects
    other = next(key for key in objects if key.startswith("other"))
    swapped = replace(staged.scene, objects={**objects, "target": objects[other], other: objects["target"]})
    wrong = in_image(UNPLUG.ground_truth(world, swapped), staged.frame)
    episode = act(world, staged, Prediction(wrong))
    assert not episode.success
    assert episode.measures["drawn"] < 0.001


def test_when_the_grasp_misses_by_five_centimetres_expect_failure(world: World) -> None:
    staged = stage(world, UNPLUG, "train", 2)
    axis = staged.truth.closing_axis
    assert axis is not None
    other = next(item for key, item in staged.scene.objects.items() if key.startswith("other"))
    away = np.sign((staged.truth.points["grasp"] - world.keypoint(other, "grasp")) @ axis)
    points = {name: point + 0.05 * away * axis for name, point in staged.truth.points.items()}
    seen = in_image(replace(staged.truth, points=points), staged.frame)
    assert not act(world, staged, Prediction(seen)).success


def test_a_stick_holds_below_its_force_and_comes_out_above_it(world: World) -> None:
    staged = stage(world, UNPLUG, "train", 3)
    stick = staged.scene.objects["target"]
    out = world.pose(stick)[:3, 0]
    _push(world, stick, 2.0 * out, 120)
    assert _drawn(world, staged) < 0.002
    _push(world, stick, 5.0 * out, 60)
    assert _drawn(world, staged) > 0.03


@pytest.mark.parametrize("way", [0, 1])
def test_a_stick_gives_neither_sideways_nor_upward(world: World, way: int) -> None:
    staged = stage(world, UNPLUG, "train", 3)
    stick = staged.scene.objects["target"]
    force = (4.0, 2.0)[way] * world.pose(stick)[:3, 1 + way]
    _push(world, stick, force, 240)
    assert _drawn(world, staged) < 0.001


def test_a_stick_short_of_its_travel_returns_and_beyond_it_stays_out(world: World) -> None:
    staged = stage(world, UNPLUG, "train", 3)
    stick = staged.scene.objects["target"]
    out = world.pose(stick)[:3, 0]
    for _ in range(240):
        if _drawn(world, staged) > TRAVEL / 4:
            break
        _push(world, stick, 5.0 * out, 1)
    assert TRAVEL / 4 < _drawn(world, staged) < TRAVEL
    world.step(480)
    assert _drawn(world, staged) < 0.003
    _push(world, stick, 5.0 * out, 60)
    world.step(480)
    assert _drawn(world, staged) > TRAVEL


def test_restoring_a_saved_state_restores_the_hold(world: World) -> None:
    staged = stage(world, UNPLUG, "train", 3)
    stick = staged.scene.objects["target"]
    out = world.pose(stick)[:3, 0]
    saved = world.save()
    _push(world, stick, 6.0 * out, 120)
    assert _drawn(world, staged) > TRAVEL
    world.restore(saved)
    world.forget(saved)
    _push(world, stick, 2.0 * out, 120)
    assert _drawn(world, staged) < 0.002


@pytest.mark.parametrize(
    ("stick_shift", "host_shift", "success"),
    [(0.031, 0.0, True), (0.029, 0.0, False), (0.05, 0.019, True), (0.08, 0.021, False), (0.0, 0.0, False)],
)
def test_judgement_reads_stick_and_host(
    world: World, stick_shift: float, host_shift: float, success: bool
) -> None:
    staged = stage(world, UNPLUG, "train", 0)
    host, stick = staged.scene.objects["host"], staged.scene.objects["target"]
    out = world.pose(stick)[:3, 0]
    for item, shift in ((stick, stick_shift), (host, host_shift)):
        position, quaternion = world.bullet.getBasePositionAndOrientation(item.body)
        world.bullet.resetBasePositionAndOrientation(item.body, np.array(position) + shift * out, quaternion)
    judged = UNPLUG.judge(world, staged.scene)
    assert judged.success is success
    assert judged.measures["stick_moved"] == pytest.approx(stick_shift, abs=5e-4)
    assert judged.measures["host_moved"] == pytest.approx(host_shift, abs=5e-4)


def test_the_instruction_names_the_stick_as_the_camera_sees_it(world: World) -> None:
    named = set()
    for seed in range(16):
        staged = stage(world, UNPLUG, "train", seed)
        objects = staged.scene.objects
        other = next(item for key, item in objects.items() if key.startswith("other"))
        points = np.array([world.keypoint(item, "grasp") for item in (objects["target"], other)])
        du, dv = np.subtract(*staged.frame.project(points))
        across = "left" if du < 0 else "right"
        along = "upper" if dv < 0 else "lower"
        word = across if abs(du) > abs(dv) else along
        assert word in staged.scene.instruction
        named.add(word)
    assert named == {"left", "right", "upper", "lower"}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_true_points_lie_on_the_table_in_line_with_the_pull(world: World, split: Split) -> None:
    for seed in range(5):
        staged = stage(world, UNPLUG, split, seed)
        points, stick = staged.truth.points, staged.scene.objects["target"]
        assert set(points) == set(KEYPOINT_NAMES)
        assert all(TABLE.contains(*point[:2]) for point in points.values())
        out = world.pose(stick)[:2, 0]
        for name in ("pre_contact", "target", "post_contact"):
            way = (points[name] - points["grasp"])[:2]
            assert way @ out / np.linalg.norm(way) > 0.999
        assert np.linalg.norm((points["target"] - points["grasp"])[:2]) >= 0.06


def test_sticks_can_be_straddled_and_protrude_from_their_hosts(world: World) -> None:
    for seed in range(12):
        staged = stage(world, UNPLUG, "test", seed)
        stick = staged.scene.objects["target"]
        top = world.keypoint(stick, "grasp")[2]
        assert 0.02 <= top <= 0.048
        assert stick.model.scalars["grasp_width"] <= 0.03
        assert stick.model.scalars["length"] >= 0.025
