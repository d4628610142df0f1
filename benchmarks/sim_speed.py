"""How fast the simulator is beside its yardsticks.

    python benchmarks/sim_speed.py [--out FILE] [--quick]
    python benchmarks/sim_speed.py --panda-gym PATH/TO/python    # an environment of its own with panda-gym

* camera: `World.render` beside the bare `getCameraImage` call with the same matrices. Staged scenes have cast
  shadows, which need a second drawing, as seen from the light; so a frame with shadows stands beside one bare
  call, and beside both.
* step: `ManipulationEnv.step` beside the same physics steps and motor commands on raw Bullet
* step against panda-gym's PandaReach, on the same scene with as many physics steps: control steps a second
* reset: restoring a scene, beside building it anew (its objects reloaded, settled and dressed)

Both sides take turns in blocks of calls. CPU time.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import pybullet as pb
from _measure import Aim, Measured, cpu_seconds, in_turns, parser, report

from kalie.sim.camera import Camera
from kalie.sim.env import PERIOD, ManipulationEnv
from kalie.sim.shadows import light_camera
from kalie.sim.task import Judgement, Scene
from kalie.sim.world import (
    ARM_FORCES,
    ARM_JOINTS,
    FINGER_FORCE,
    FINGER_JOINTS,
    FINGER_OPEN,
    TABLE,
    TCP_LINK,
    World,
    WorldConfig,
)

PANDA_GYM = """
import sys, time, gymnasium, panda_gym
env = gymnasium.make("PandaReachJoints-v3").unwrapped
env.reset(seed=0)
print("SUBSTEPS", env.sim.n_substeps, flush=True)
for line in sys.stdin:
    actions = [env.action_space.sample() for _ in range(int(line))]
    start = time.process_time()
    for action in actions: env.step(action)
    print("SECONDS", time.process_time() - start, flush=True)
"""
BLOCK = 20
CAMERA_AIM, STEP_AIM, RESET_AIM = Aim("most", 1.1), Aim("most", 1.2), Aim("most", 1.0)
PANDA_GYM_AIM = Aim("least", 1.3)


class Reach:
    """panda-gym's simplest task on our environment: an arm, a table, a point in the air; nothing else."""

    name, primitive, categories = "sweep", "push", ()
    point = np.array([0.5, 0.1, 0.3])

    def build(self, world: World, families: object, rng: np.random.Generator) -> Scene:
        """Nothing to place."""
        return Scene({}, "reach the point")

    def judge(self, world: World, scene: Scene) -> Judgement:
        """Whether the hand is within 5 cm of the point."""
        hand = np.array(world.bullet.getLinkState(world.robot, TCP_LINK)[0])
        distance = float(np.linalg.norm(hand - self.point))
        return Judgement(distance < 0.05, {"distance": distance})


def camera(rounds: int) -> list[Measured]:
    """One frame without shadows and one as staged scenes have it, each beside bare calls."""
    with closing(ManipulationEnv("sweep")) as env:
        env.reset(seed=0)
        world, staged = env.world, env.world.lighting
        centre = ((TABLE.near + TABLE.far) / 2, (TABLE.left + TABLE.right) / 2, 0.0)
        light = light_camera(staged.direction, centre, world.config.camera.size)
        one, two = partial(bare, world, [world.camera]), partial(bare, world, [world.camera, light])
        measured = []
        for what, shadow, yardstick, call in (
            ("camera frame, no shadows", 0.0, "bare renderer call", one),
            ("camera frame with shadows", staged.shadow, "bare renderer call", one),
            ("camera frame with shadows", staged.shadow, "the two bare calls that shadows need", two),
        ):
            world.lighting = replace(staged, shadow=shadow)
            ours = partial(cpu_seconds, world.render)
            measured.append(in_turns(what, ours, yardstick, partial(cpu_seconds, call), CAMERA_AIM, rounds))
    return measured


def bare(world: World, cameras: list[Camera]) -> None:
    """What the renderer itself needs for a picture from each camera."""
    for view in cameras:
        size, matrices = view.config.size, (view.view_matrix(), view.projection_matrix())
        world.bullet.getCameraImage(size, size, *matrices, shadow=0, renderer=pb.ER_TINY_RENDERER)


def random_actions() -> Iterator[np.ndarray]:
    """Arm actions with the jaws held open: panda-gym's Reach does not move them either."""
    rng = np.random.default_rng(0)
    while True:
        yield np.append(rng.uniform(-1, 1, 7), 1.0).astype(np.float32)


def raw_step(world: World, targets: list[float], substeps: int) -> None:
    """What one control step costs on Bullet itself: motor commands, physics, joint states."""
    world.bullet.setJointMotorControlArray(
        world.robot, ARM_JOINTS, pb.POSITION_CONTROL, targetPositions=targets, forces=ARM_FORCES
    )
    world.bullet.setJointMotorControlArray(
        world.robot,
        FINGER_JOINTS,
        pb.POSITION_CONTROL,
        targetPositions=(FINGER_OPEN, FINGER_OPEN),
        forces=(FINGER_FORCE, FINGER_FORCE),
    )
    for _ in range(substeps):
        world.bullet.stepSimulation()
    world.bullet.getJointStates(world.robot, (*ARM_JOINTS, *FINGER_JOINTS))


def steps(rounds: int) -> Measured:
    """One control step, ours and raw, moving alike in two copies of one scene."""
    with closing(ManipulationEnv("sweep")) as env, closing(ManipulationEnv("sweep")) as copy:
        env.reset(seed=0)
        copy.reset(seed=0)
        substeps = round(PERIOD / env.world.config.time_step)
        actions, reached = random_actions(), list[list[float]]()

        def ours() -> None:
            observation, *_ = env.step(next(actions))
            reached.append(observation["arm"][:7].tolist())

        def theirs() -> None:
            raw_step(copy.world, reached.pop(0), substeps)

        sides = partial(cpu_seconds, ours), "raw Bullet, the same motion", partial(cpu_seconds, theirs)
        return in_turns("environment step", *sides, STEP_AIM, rounds, BLOCK)


def resets(rounds: int) -> Measured:
    """The same scene again, restored and built anew."""
    with closing(ManipulationEnv("sweep")) as env:
        env.reset(seed=0)
        restored, rebuilt = partial(cpu_seconds, env.reset), partial(cpu_seconds, lambda: env.reset(seed=0))
        return in_turns("reset, scene restored", restored, "scene built anew", rebuilt, RESET_AIM, rounds)


def panda_gym(python: str, rounds: int) -> Measured:
    """Control steps a second, ours over panda-gym's, with equal physics on the same bare scene."""
    command = [python, "-c", PANDA_GYM]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        substeps = answer(process, "SUBSTEPS")
        env = ManipulationEnv(world=WorldConfig(time_step=PERIOD / substeps))
        env.task = Reach()  # pyright: ignore[reportAttributeAccessIssue]
        env.reset(seed=0)
        actions = random_actions()

        def theirs(count: int) -> float:
            assert process.stdin is not None  # noqa: S101
            process.stdin.write(f"{count}\n")
            return answer(process, "SECONDS")

        ours: Callable[[int], float] = partial(cpu_seconds, lambda: env.step(next(actions)))
        what = "environment steps a second, bare scene"
        measured = in_turns(what, ours, "panda-gym, the same scene", theirs, PANDA_GYM_AIM, rounds, BLOCK)
        env.close()
    return measured


def answer(process: subprocess.Popen[str], name: str) -> float:
    """The value of the next line that begins with a name; PyBullet prints lines of its own."""
    assert process.stdout is not None  # noqa: S101
    for line in process.stdout:
        if line.startswith(name):
            return float(line.split()[1])
    raise RuntimeError(f"panda-gym's process ended before it said {name}")


def main() -> None:
    """Measure and report."""
    arguments = parser(__doc__)
    arguments.add_argument("--panda-gym", metavar="PYTHON", help="interpreter that has panda-gym installed")
    options = arguments.parse_args()
    rounds = 2 if options.quick else 40
    measured = [*camera(rounds), steps(rounds), resets(2 if options.quick else 10)]
    if options.panda_gym:
        measured.append(panda_gym(options.panda_gym, rounds))
    report(measured, options.out)


if __name__ == "__main__":
    main()
