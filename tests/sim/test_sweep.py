from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from kalie.affordance.model import Prediction
from kalie.affordance.schema import Affordance, Keypoint
from kalie.perception.depth import lift
from kalie.sim.episode import act, oracle
from kalie.sim.registry import Registry, task
from kalie.sim.staging import StagedScene, line_angle, stage
from kalie.sim.tasks.sweep import OUTWARD
from kalie.sim.world import TABLE, World

SWEEP = task("sweep")


@pytest.mark.parametrize("seed", range(4))
def test_oracle_sweeps_unseen_trash_off_the_named_edge(world: World, seed: int) -> None:
    staged = stage(world, SWEEP, "test", seed)
    episode = act(world, staged, oracle(staged))
    assert episode.success, episode.reason
    assert episode.measures["beyond"] > 0
    assert episode.simulated_seconds > 5
    json.dumps(episode.to_json(), allow_nan=False)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_scenes_are_as_the_instruction_says(world: World, split: str) -> None:
    edges = set()
    for seed in range(12):
        staged = stage(world, SWEEP, split, seed)  # pyright: ignore[reportArgumentType]
        edge = str(staged.scene.goal["edge"])
        edges.add(edge)
        assert edge in staged.scene.instruction
        truth = staged.truth.points
        outward = np.array([*OUTWARD[edge], 0.0])  # pyright: ignore[reportArgumentType]
        stroke = truth["post_contact"] - truth["pre_contact"]
        np.testing.assert_allclose(stroke / np.linalg.norm(stroke), outward, atol=1e-6)
        assert (truth["target"] - truth["pre_contact"]) @ outward > 0.02
        assert not TABLE.contains(*truth["post_contact"][:2])
        assert TABLE.contains(*truth["pre_contact"][:2])
    assert edges == {"left", "right", "far"}


def test_the_instruction_cannot_be_guessed_from_the_scene(world: World) -> None:
    """The brush's heading must not tell the edge: pooled over scenes it is spread for every edge."""
    headings: dict[str, list[float]] = {}
    for seed in range(40):
        staged = stage(world, SWEEP, "train", seed)
        axis = world.pose(staged.scene.objects["tool"])[:2, 0]
        headings.setdefault(str(staged.scene.goal["edge"]), []).append(math.atan2(axis[1], axis[0]))
    for values in headings.values():
        assert abs(np.mean(np.exp(1j * np.array(values)))) < 0.75


def test_keypoints_in_the_image_lift_back_to_the_objects(world: World) -> None:
    for seed in range(4):
        staged = stage(world, SWEEP, "test", seed)
        for name in ("grasp", "function", "target", "pre_contact"):
            keypoint = getattr(staged.affordance, name)
            pixel = np.array([keypoint.x, keypoint.y]) * staged.frame.rgb.shape[0] - 0.5
            lifted = lift(staged.frame, pixel)
            np.testing.assert_allclose(lifted[:2], staged.truth.points[name][:2], atol=0.012, err_msg=name)


def test_grasp_yaw_is_across_the_handle(world: World) -> None:
    staged = stage(world, SWEEP, "train", 0)
    a = staged.affordance
    assert a.grasp is not None
    assert a.function is not None
    assert a.grasp_yaw is not None
    handle = math.atan2(a.function.y - a.grasp.y, a.function.x - a.grasp.x)
    assert abs(abs(line_angle(handle - a.grasp_yaw)) - math.pi / 2) < 0.15


@pytest.mark.parametrize("angle", [-7.0, -math.pi / 2, 0.0, 1.5, math.pi / 2, 3.0, 100.0])
def test_line_angles_fold_into_half_a_turn(angle: float) -> None:
    folded = line_angle(angle)
    assert -math.pi / 2 < folded <= math.pi / 2
    assert math.isclose(math.sin(folded - angle), 0, abs_tol=1e-9)


def _staged(world: World) -> StagedScene:
    return stage(world, SWEEP, "train", 2)


def test_when_the_prediction_is_invalid_expect_failure_and_no_motion(world: World) -> None:
    staged = _staged(world)
    steps = world.steps
    episode = act(world, staged, Prediction(None, error="not JSON"))
    assert not episode.success
    assert episode.reason == "invalid prediction: not JSON"
    assert world.steps == steps


def test_when_the_plan_is_impossible_expect_its_reason_and_no_motion(world: World) -> None:
    staged = _staged(world)
    steps = world.steps
    unreachable = replace(staged.affordance, post_contact=Keypoint(0.01, 0.01))
    episode = act(world, staged, Prediction(unreachable))
    assert episode.reason.startswith("plan: ")
    assert world.steps == steps


def test_when_the_grasp_is_beside_the_handle_expect_empty_grasp(world: World) -> None:
    staged = _staged(world)
    target = staged.affordance.target
    assert target is not None
    corner = staged.frame.project(np.array([[0.32, 0.0, 0.0]]))[0]
    free = Keypoint(float(corner[0] + 0.5) / 256, float(corner[1] + 0.5) / 256)
    episode = act(world, staged, Prediction(replace(staged.affordance, grasp=free)))
    assert not episode.success
    assert episode.reason.startswith(("empty_grasp", "plan: "))


def test_when_the_other_side_is_swept_expect_failure(world: World) -> None:
    staged = _staged(world)
    a = staged.affordance
    swapped = replace(a, pre_contact=a.post_contact, post_contact=a.pre_contact)
    assert not act(world, staged, Prediction(swapped)).success


def test_doing_nothing_is_not_success(world: World) -> None:
    staged = _staged(world)
    judged = SWEEP.judge(world, staged.scene)
    assert not judged.success
    assert judged.measures["beyond"] < 0


def test_a_film_is_made_only_on_request(world: World) -> None:
    staged = _staged(world)
    frames: list[np.ndarray] = []
    episode = act(world, staged, oracle(staged), film=frames.append)
    assert len(frames) > 5 * episode.simulated_seconds
    assert frames[0].shape == (256, 256, 3)


def test_when_a_needed_keypoint_is_missing_expect_it_named(world: World) -> None:
    staged = _staged(world)
    episode = act(world, staged, Prediction(Affordance(grasp=staged.affordance.grasp)))
    assert "function" in episode.reason


def test_training_photos_show_one_lab(world: World) -> None:
    pictures = [stage(world, SWEEP, "train", seed).frame.rgb[:20, :20].mean(axis=(0, 1)) for seed in range(4)]
    assert np.ptp(pictures, axis=0).max() < 15


def test_clutter_appears_in_test_scenes_and_stays_off_the_stroke(world: World) -> None:
    counts = []
    for seed in range(8):
        staged = stage(world, SWEEP, "test", seed, Registry())
        clutter = [thing for role, thing in staged.scene.objects.items() if role.startswith("distractor")]
        counts.append(len(clutter))
        start, end = staged.truth.points["pre_contact"][:2], staged.truth.points["post_contact"][:2]
        way = (end - start) / np.linalg.norm(end - start)
        for thing in clutter:
            offset = world.pose(thing)[:2, 3] - start
            if 0 < offset @ way < np.linalg.norm(end - start):
                assert abs(offset @ np.array([-way[1], way[0]])) > 0.07
    assert max(counts) >= 2
