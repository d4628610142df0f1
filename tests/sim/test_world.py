from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from kalie.perception.depth import lift
from kalie.sim import world as world_module
from kalie.sim.bullet import Bullet
from kalie.sim.camera import Camera, CameraConfig
from kalie.sim.objects import LinkPoint, ObjectModel, PlacedObject
from kalie.sim.urdf import Joint, Link, Part, urdf_text
from kalie.sim.world import FLOOR_Z, TABLE, World, yaw_quaternion

CUBE = ObjectModel(
    "clutter",
    "cube",
    urdf_text(
        "cube",
        [Link("base", (Part("box", (0.04, 0.04, 0.04), (0, 0, 0.02), colour=(1, 0, 0, 1), mass=0.1),))],
    ),
    {"top": LinkPoint((0, 0, 0.04))},
)
TRAY = ObjectModel(
    "clutter",
    "tray",
    urdf_text(
        "tray",
        [
            Link(
                "base",
                (
                    Part("box", (0.2, 0.2, 0.01), (0, 0, 0.005), mass=0.1),
                    *(Part("box", (0.01, 0.2, 0.02), (x, 0, 0.02), mass=0.02) for x in (-0.095, 0.095)),
                    *(Part("box", (0.2, 0.01, 0.02), (0, y, 0.02), mass=0.02) for y in (-0.095, 0.095)),
                ),
            )
        ],
    ),
    {},
)
LEVER = ObjectModel(
    "clutter",
    "lever",
    urdf_text(
        "lever",
        [
            Link("base", (Part("box", (0.03, 0.03, 0.03), mass=0.1),)),
            Link("arm", (Part("box", (0.06, 0.01, 0.01), (0.03, 0, 0)),)),
            Link("tip", (Part("sphere", (0.01, 0, 0)),)),
        ],
        [
            Joint("base", "arm", "continuous", (0.02, 0, 0.02), axis=(0, 0, 1)),
            Joint("arm", "tip", "fixed", (0.07, 0, 0)),
        ],
    ),
    {},
)
SPOTS = [(0.3, 0.3), (0.7, -0.3), (0.3, -0.3), (0.7, 0.3), (0.5, 0.0)]


def test_picture_and_projection_agree_to_half_a_pixel(world: World) -> None:
    for x, y in SPOTS:
        world.reset()
        cube = world.load(CUBE, (x, y, 0))
        frame, bodies = world.render_with_bodies()
        top = np.array([[a, b, 0.04] for a in (x - 0.02, x + 0.02) for b in (y - 0.02, y + 0.02)])
        drawn = bodies == cube.body
        high = drawn & (frame.depth < np.median(frame.depth[drawn]) + 0.012)
        rows, columns = np.nonzero(high)
        middle = frame.project(top).mean(axis=0)
        assert abs(columns.mean() - middle[0]) < 1.0
        assert abs(rows.mean() - middle[1]) < 1.0


def test_depth_lifts_to_where_things_are(world: World) -> None:
    cube = world.load(CUBE, (0.55, 0.1, 0))
    frame = world.render()
    pixel = frame.project(world.keypoint(cube, "top"))[0]
    np.testing.assert_allclose(lift(frame, pixel), [0.55, 0.1, 0.04], atol=0.003)


def test_camera_sees_the_whole_table_some_floor_and_no_arm(world: World) -> None:
    frame, bodies = world.render_with_bodies()
    corners = [[x, y, 0.0] for x in (TABLE.near, TABLE.far) for y in (TABLE.left, TABLE.right)]
    beyond = [[0.5, TABLE.left + 0.06, 0.0], [0.5, TABLE.right - 0.06, 0.0], [TABLE.far + 0.06, 0.0, 0.0]]
    pixels = frame.project(np.array(corners + beyond))
    assert np.all((pixels > 2) & (pixels < frame.rgb.shape[0] - 3))
    assert not np.any(bodies == world.robot)
    assert {world.table, world.floor} == set(np.unique(bodies))


def test_left_and_far_are_left_and_up_in_the_picture(world: World) -> None:
    frame = world.render()
    left, right, far, near = frame.project(
        np.array([[0.5, 0.2, 0], [0.5, -0.2, 0], [0.7, 0, 0], [0.3, 0, 0]])
    )
    assert left[0] < right[0]
    assert far[1] < near[1]


def test_jittered_camera_stays_exact(world: World) -> None:
    world.camera = world.camera.jittered(0.02, 0.02, np.random.default_rng(0))
    cube = world.load(CUBE, (0.45, -0.15, 0))
    frame = world.render()
    assert not np.array_equal(frame.base_from_camera, Camera.place(CameraConfig()).base_from_camera)
    pixel = frame.project(world.keypoint(cube, "top"))[0]
    np.testing.assert_allclose(lift(frame, pixel), [0.45, -0.15, 0.04], atol=0.003)


def test_shadows_darken_the_table_beside_a_thing_and_nothing_else(world: World) -> None:
    world.load(CUBE, (0.5, 0.0, 0))
    world.lighting = replace(world.lighting, direction=(0.0, 0.8, 1.0))
    plain = world.render()
    world.lighting = replace(world.lighting, shadow=0.5)
    shaded = world.render()
    beside, lit = plain.project(np.array([[0.5, -0.035, 0.0], [0.35, 0.2, 0.0]])).round().astype(int)
    assert shaded.rgb[beside[1], beside[0]].sum() < 0.7 * plain.rgb[beside[1], beside[0]].sum()
    np.testing.assert_array_equal(shaded.rgb[lit[1], lit[0]], plain.rgb[lit[1], lit[0]])
    np.testing.assert_array_equal(shaded.depth, plain.depth)


def test_a_thing_pushed_off_the_table_falls_to_the_floor(world: World) -> None:
    cube = world.load(CUBE, (0.5, TABLE.left + 0.03, 0.05))
    world.settle(1.0)
    assert world.keypoint(cube, "top")[2] < FLOOR_Z + 0.07


def test_the_arm_holds_its_home_pose(world: World) -> None:
    before = [world.bullet.getJointState(world.robot, joint)[0] for joint in range(7)]
    world.settle(1.0)
    after = [world.bullet.getJointState(world.robot, joint)[0] for joint in range(7)]
    np.testing.assert_allclose(after, before, atol=2e-3)


def test_step_hooks_run_before_every_step_until_reset(world: World) -> None:
    calls: list[int] = []
    world.add_step_hook(lambda: calls.append(1))
    world.step(3)
    assert len(calls) == 3
    world.reset()
    world.step(3)
    assert len(calls) == 3


def test_when_a_urdf_cannot_be_loaded_expect_the_family_named(world: World) -> None:
    with pytest.raises(ValueError, match="broken_family"):
        world.load(replace(CUBE, family="broken_family", urdf="<robot"), (0.5, 0, 0))


def _tumble(world: World) -> bytes:
    """Five cubes dropped on each other: contacts, friction, chaos."""
    world.reset()
    cubes = [world.load(CUBE, (0.5 + 0.004 * i, 0.003 * i, 0.05 + 0.05 * i)) for i in range(5)]
    history = []
    for _ in range(50):
        world.step(5)
        history += [world.pose(cube) for cube in cubes]
    return np.array(history).tobytes()


def test_same_calls_give_the_same_bits_after_resets_and_in_another_world(world: World) -> None:
    first = _tumble(world)
    world.load(CUBE, (0.4, 0.2, 0.3))
    world.step(100)
    assert _tumble(world) == first
    other = World()
    assert _tumble(other) == first
    other.close()


def _history(world: World, things: list[PlacedObject], steps: int) -> bytes:
    poses = []
    for _ in range(steps):
        world.step()
        poses += [world.pose(thing) for thing in things]
    return np.array(poses).tobytes()


def test_when_a_state_is_restored_expect_the_bits_of_going_on_from_the_save(world: World) -> None:
    # A tray is one link of several parts, of which Bullet itself restores the contacts of one only.
    things = [world.load(TRAY, (0.5, 0, 0.02), yaw_quaternion(0.4))]
    things += [world.load(CUBE, (0.5 + 0.004 * i, 0.002 * i, 0.05 + 0.05 * i)) for i in range(3)]
    world.step(60)
    state = world.save()
    first = _history(world, things, 100)
    for push in (0.0, 0.3):
        for thing in things:
            world.bullet.resetBaseVelocity(thing.body, (push, 0, 0), (0, 0, push))
        world.step(20)
        world.restore(state)
        assert _history(world, things, 100) == first
    world.forget(state)


def test_when_a_state_is_restored_expect_contacts_at_once(world: World) -> None:
    cube = world.load(CUBE, (0.5, 0, 0))
    world.settle(0.1)
    state = world.save()
    assert world.touching(cube, world.table)
    world.bullet.resetBasePositionAndOrientation(cube.body, (0.5, 0, 0.3), (0, 0, 0, 1))
    world.step()
    assert not world.touching(cube, world.table)
    world.restore(state)
    assert world.touching(cube, world.table)
    world.forget(state)


def test_when_a_scene_had_jointed_things_expect_no_trace_of_it_in_the_next(world: World) -> None:
    fresh = World()
    first = _tumble(fresh)
    fresh.close()
    for count in (1, 2, 3):
        world.reset()
        for index in range(count):
            world.load(LEVER, (0.4, 0.1 * index, 0.02))
            world.load(CUBE, (0.6, 0.1 * index, 0.0))
        world.step(20)
    assert _tumble(world) == first


def test_when_a_load_failed_expect_no_trace_of_it_in_the_next_scene(world: World) -> None:
    first = _tumble(world)
    with pytest.raises(ValueError, match="cube"):
        world.load(replace(CUBE, urdf="<robot"), (0.5, 0, 0))
    assert _tumble(world) == first


def test_when_bullet_is_emptied_after_many_loads_expect_the_same_bits_and_pixels(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picture() -> bytes:
        cube = world.load(CUBE, (0.5, 0, 0))
        orange = np.array([255, 128, 0], dtype=np.uint8)
        world.set_texture(cube.body, -1, np.eye(64, dtype=np.uint8)[..., None] * orange)
        return world.render().rgb.tobytes()

    first, seen = _tumble(world), picture()
    emptied: list[int] = []
    monkeypatch.setattr(world_module, "MOST_LOADS", 0)
    monkeypatch.setattr(world.bullet, "empty", lambda: (emptied.append(1), Bullet.empty(world.bullet)))
    for _ in range(2):
        assert _tumble(world) == first
        assert picture() == seen
    assert emptied


def test_when_two_things_may_pass_each_other_expect_those_of_the_next_scene_to_collide(world: World) -> None:
    heights = []
    for filtered in (True, False):
        world.reset()
        low, high = (world.load(CUBE, (0.5, 0, z), fixed_base=z < 0.1) for z in (0.0, 0.12))
        if filtered:
            world.bullet.setCollisionFilterPair(low.body, high.body, -1, -1, 0)
        world.settle(0.5)
        heights.append(world.keypoint(high, "top")[2])
    assert heights[0] < 0.05
    assert heights[1] > 0.07


def test_a_world_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    world = World()
    world.settle(0.05)
    world.reset()
    world.close()
    assert capfd.readouterr() == ("", "")


def test_another_process_gives_the_same_bits(world: World) -> None:
    code = (
        "import importlib.util, hashlib, sys\n"
        f"spec = importlib.util.spec_from_file_location('tumble', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec); sys.modules['tumble'] = module\n"
        "spec.loader.exec_module(module)\n"
        "print('digest', hashlib.sha256(module._tumble(module.World())).hexdigest())\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"digest {hashlib.sha256(_tumble(world)).hexdigest()}" in printed


def _growth(world: World, scenes: int) -> int:
    """Bytes by which the process grows over scenes of two things, after some to warm up."""
    sizes = []
    for count in (400, scenes):
        for _ in range(count):
            world.reset()
            world.load(LEVER, (0.5, 0, 0.02))
            world.load(TRAY, (0.4, 0.2, 0))
        world.reset()
        with open("/proc/self/statm") as stream:
            sizes.append(int(stream.read().split()[1]) * 4096)
    return sizes[1] - sizes[0]


def test_when_a_thousand_scenes_are_built_expect_little_growth(world: World) -> None:
    assert _growth(world, 1_000) < 5e6


@pytest.mark.slow
def test_when_ten_thousand_scenes_are_built_expect_less_than_five_megabytes(world: World) -> None:
    assert _growth(world, 10_000) < 5e6
