"""What is behind the simulated arm's node, without ROS: its loop, its robot, its drawing process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from itertools import pairwise

import numpy as np
import psutil
import pytest

from kalie.sim.arm import SimulatedDriver
from kalie.sim.registry import task
from kalie.sim.staging import stage
from kalie.sim.world import HOME, World
from kalie_ros.sim_camera import (
    SIZE,
    Photographer,
    RenderError,
    RenderProcess,
    SceneKey,
    Shot,
    pose,
    snapshot,
)
from kalie_ros.sim_loop import CATCH_UP, ControlLoop
from kalie_ros.sim_robot import ARM_SIZE, FINGER_LIMIT, SimulatedRobot, robot_description
from kalie_ros.trajectory_follower import Trajectory

SCENE = SceneKey("drawer", "train", 1)
PERIOD = 0.01
LONG = 120.0


def until(condition: Callable[[], bool], timeout: float = LONG) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


# ---- the loop ------------------------------------------------------------------------------------------


class Counted:
    """A loop that counts its steps."""

    def __init__(self, real_time: bool) -> None:
        self.times: list[float] = []
        self.errors: list[Exception] = []
        self.hurry = False
        self.step: Callable[[], None] = lambda: None
        self.loop = ControlLoop(self._step, PERIOD, real_time, lambda: self.hurry, self.errors.append)

    @property
    def count(self) -> int:
        return len(self.times)

    def _step(self) -> None:
        self.times.append(time.monotonic())
        self.step()


@pytest.fixture(params=[True, False], ids=["real_time", "free"])
def counted(request: pytest.FixtureRequest) -> Iterator[Counted]:
    made = Counted(request.param)
    yield made
    made.loop.close()


@pytest.fixture
def free() -> Iterator[Counted]:
    made = Counted(False)
    yield made
    made.loop.close()


def test_a_loop_that_was_not_told_to_run_does_not_step(counted: Counted) -> None:
    time.sleep(5 * PERIOD)
    assert counted.count == 0
    assert counted.loop.call(lambda: 3).result(LONG) == 3


def test_a_loop_never_runs_ahead_of_the_clock(counted: Counted) -> None:
    start = time.monotonic()
    counted.loop.run(True)
    until(lambda: counted.count >= 30)
    assert counted.count <= (time.monotonic() - start) / PERIOD + 1
    counted.loop.run(False)
    stopped = counted.count
    time.sleep(5 * PERIOD)
    assert counted.count == stopped


def test_when_a_step_stalls_expect_at_most_a_few_periods_to_be_made_up_for() -> None:
    counted = Counted(real_time=True)
    counted.step = lambda: time.sleep(0.5 if counted.count == 5 else 0)
    counted.loop.run(True)
    until(lambda: counted.count >= 30)
    counted.loop.close()
    # After the stall some follow one another at once; all others keep their distance.
    hurried = sum(after - before < 0.5 * PERIOD for before, after in pairwise(counted.times[5:20]))
    assert hurried <= CATCH_UP + 2


def test_a_command_begins_a_period_at_once_where_time_is_not_real(free: Counted) -> None:
    """In lock-step there is exactly one period a command, and no waiting for the clock."""
    done = threading.Event()
    free.step = done.set
    start = time.monotonic()
    free.loop.run(True)
    for _ in range(200):
        done.clear()
        free.loop.tell(lambda: None, asks=True)
        assert done.wait(LONG)
    slowest = int((time.monotonic() - start) / PERIOD) + 1
    assert 200 <= free.count <= 200 + slowest


def test_a_hurry_needs_no_commands(free: Counted) -> None:
    free.hurry = True
    free.loop.run(True)
    until(lambda: free.count >= 1000)


def test_when_a_step_raises_expect_the_loop_to_live_and_the_error_to_be_told(counted: Counted) -> None:
    def fail() -> None:
        raise ZeroDivisionError("physics")

    counted.step = fail
    counted.loop.run(True)
    until(lambda: counted.count >= 5)
    counted.loop.tell(fail)
    with pytest.raises(ZeroDivisionError):
        counted.loop.call(fail).result(LONG)
    until(lambda: counted.count >= 10)
    assert {str(error) for error in counted.errors} == {"physics"}


def test_jobs_are_done_in_order_and_between_steps(counted: Counted) -> None:
    order: list[int] = []
    counted.loop.run(True)
    for index in range(1000):
        counted.loop.tell(lambda index=index: order.append(index))
    counted.loop.call(lambda: None).result(LONG)
    assert order == list(range(1000))


def test_after_its_end_a_loop_cancels_what_it_is_asked(counted: Counted) -> None:
    counted.loop.close()
    counted.loop.close()
    counted.loop.tell(lambda: None)
    with pytest.raises(CancelledError):
        counted.loop.call(lambda: 1).result(LONG)


# ---- the robot -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def robot() -> Iterator[SimulatedRobot]:
    made = SimulatedRobot(100.0)
    yield made
    made.close()


def to(positions: np.ndarray, seconds: float) -> Trajectory:
    return Trajectory(np.array([seconds]), positions[None], None)


def test_a_hundred_periods_are_a_second_whatever_the_time_step(robot: SimulatedRobot) -> None:
    robot.stage(SCENE)
    before, steps = robot.time, robot.world.steps
    counts = []
    for _ in range(100):
        robot.advance()
        counts.append(robot.world.steps - steps)
    assert set(np.diff([0, *counts])) == {2, 3}
    assert counts[-1] == 240
    assert robot.time - before == pytest.approx(1.0)


def test_time_never_goes_back_when_a_scene_is_staged(robot: SimulatedRobot) -> None:
    before = robot.time
    robot.stage(SCENE)
    assert robot.time == pytest.approx(before)
    assert np.abs(robot.state().actual.positions - HOME).max() < 0.01


def test_staging_drops_all_motion(robot: SimulatedRobot) -> None:
    robot.stage(SCENE)
    robot.follower.start(to(np.array(HOME) + 0.3, 1.0), robot.time, robot.time)
    robot.grip(0.0)
    for _ in range(50):
        robot.advance()
    robot.stage(SCENE)
    for _ in range(100):
        robot.advance()
    state = robot.state()
    assert np.abs(state.actual.positions - HOME).max() < 0.01
    assert state.finger == pytest.approx(FINGER_LIMIT, abs=0.001)


def test_a_stream_drives_the_arm_as_the_library_does() -> None:
    """One point a control period of 1/60 s moves the arm as `SimulatedDriver` moves it."""
    way = np.array(HOME) + 0.2 * np.sin(np.linspace(0, 2, 60))[:, None] * np.ones(ARM_SIZE)
    library, ros = World(), SimulatedRobot(60.0)
    staged = stage(library, task(SCENE.task), SCENE.split, SCENE.seed)
    ros.stage(SCENE)
    assert ros.staged.scene.instruction == staged.scene.instruction
    driver = SimulatedDriver(library)
    driver.send(np.array(HOME), 0.08)
    ros.advance()
    for positions in way:
        driver.send(positions, 0.03)
        ros.follower.start(to(positions, 1 / 60), ros.time, ros.time)
        ros.grip(0.015)
        ros.advance()
        measured, expected = ros.state(), driver.state()
        np.testing.assert_allclose(measured.actual.positions, expected.positions, atol=1e-9)
        assert expected.external_efforts is not None
        np.testing.assert_allclose(measured.external_efforts, expected.external_efforts, atol=1e-4)
        assert 2 * measured.finger == pytest.approx(expected.gripper_width, abs=1e-9)
    library.close()
    ros.close()


def test_a_stuck_arm_stays_where_it_is(robot: SimulatedRobot) -> None:
    robot.stage(SCENE)
    robot.follower.start(to(np.array(HOME) + 0.3, 0.5), robot.time, robot.time)
    for _ in range(100):
        robot.advance(stuck=True)
    state = robot.state()
    assert np.abs(state.actual.positions - HOME).max() < 0.01
    assert np.abs(state.desired.positions - HOME).max() == pytest.approx(0.3)


def test_the_gripper_holds_no_harder_than_it_is_told(robot: SimulatedRobot) -> None:
    """Half a newton at each finger does not close the hand as fast as all its force."""
    found = []
    for force in (0.05, 30.0, 1e9):
        robot.stage(SCENE)
        robot.grip(0.0, force)
        for _ in range(10):
            robot.advance()
        found.append(robot.state().finger)
    weak, strong, boundless = found
    assert weak > strong + 0.001
    assert boundless == strong


def test_when_the_simulation_is_not_finite_expect_an_error_and_a_reset_to_help(robot: SimulatedRobot) -> None:
    robot.stage(SCENE)
    robot.world.bullet.resetJointState(robot.world.robot, 0, float("nan"))
    with pytest.raises(FloatingPointError, match="stage the scene anew"):
        robot.state()
    robot.stage(SCENE)
    robot.advance()
    assert np.isfinite(robot.state().positions).all()


def test_the_description_names_meshes_that_exist() -> None:
    text = robot_description()
    meshes = [part.split('"')[0] for part in text.split('filename="')[1:]]
    assert meshes
    assert all(mesh.startswith("file:///") and os.path.exists(mesh[7:]) for mesh in meshes)


# ---- the camera ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def process() -> Iterator[RenderProcess]:
    made = RenderProcess()
    yield made
    made.close()


@pytest.mark.parametrize("name", ["drawer", "sweep", "towel", "pour", "unplug"])
def test_a_picture_is_the_one_that_the_world_itself_would_draw(
    process: RenderProcess, robot: SimulatedRobot, name: str
) -> None:
    """Bit for bit, with arm and objects moved, in every task."""
    scene = SceneKey(name, "test", 3)
    robot.stage(scene)
    for placed in robot.world.objects()[:3]:
        robot.world.bullet.resetBaseVelocity(placed.body, [0.3, 0.1, 0.4], [2, 1, 1])
    robot.follower.start(to(np.array(HOME) + 0.4, 0.3), robot.time, robot.time)
    for _ in range(30):
        robot.advance()
    rgb, depth = process.draw(Shot(scene, robot.snapshot(), 0))
    frame = robot.world.render()
    assert rgb.shape == (SIZE, SIZE, 3)
    assert np.array_equal(rgb, frame.rgb)
    assert np.array_equal(depth, frame.depth, equal_nan=True)


def test_a_snapshot_of_another_scene_is_refused(robot: SimulatedRobot) -> None:
    robot.stage(SCENE)
    state = snapshot(robot.world)
    for wrong in (state[:-1], np.append(state, 0.0)):
        with pytest.raises(ValueError, match="state: "):
            pose(robot.world, wrong)


def test_when_the_drawing_process_is_killed_expect_another_to_draw(robot: SimulatedRobot) -> None:
    robot.stage(SCENE)
    taken: list[Shot] = []
    failed: list[str] = []
    shot = Shot(SCENE, robot.snapshot(), 1)
    others = set(psutil.Process().children())
    photographer = Photographer(lambda shot, _rgb, _depth: taken.append(shot), failed.append)
    try:
        for rounds in (1, 2):
            while len(taken) < rounds:
                photographer.offer(shot)
                time.sleep(0.05)
            (child,) = set(psutil.Process().children()) - others
            child.send_signal(signal.SIGKILL)
            photographer.offer(shot)
            until(lambda rounds=rounds: len(failed) == rounds)
    finally:
        photographer.close()
    assert "died" in failed[0]


def test_a_closed_process_draws_nothing(robot: SimulatedRobot) -> None:
    made = RenderProcess()
    made.close()
    made.close()
    with pytest.raises(RenderError, match="died"):
        made.draw(Shot(SCENE, np.zeros(1), 0))


def test_when_the_parent_is_killed_expect_the_drawing_process_to_end() -> None:
    code = (
        "import time; from kalie_ros.sim_camera import RenderProcess;"
        "made = RenderProcess(); print(made._process.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    lines = iter(parent.stdout.readline, "")
    pid = int(next(line for line in lines if line.strip().isdigit()))  # PyBullet greets first
    child = psutil.Process(pid)
    parent.kill()
    parent.wait()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
