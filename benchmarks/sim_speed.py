"""How fast the simulator is beside its yardsticks; prints ratios, JSON last.

    python benchmarks/sim_speed.py
    python benchmarks/sim_speed.py --panda-gym PATH/TO/python    # an environment of its own with panda-gym

* camera: `World.render` beside the bare `getCameraImage` call with the same matrices (at most 1.1)
* step: `ManipulationEnv.step` beside the same physics steps and motor commands on raw Bullet (at most 1.2)
* step against panda-gym's PandaReach, on the same scene with as many physics steps: at least 1.3 times as
  many control steps a second
* reset: restoring a scene, beside loading it anew
* episode: stage, plan, move and judge, without prediction (at most 1 s)

Both sides take turns in blocks of calls; a ratio is the median over the pairs of blocks, a time the fastest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pybullet as pb

from kalie.sim.env import PERIOD, ManipulationEnv
from kalie.sim.episode import act, oracle
from kalie.sim.registry import task
from kalie.sim.staging import stage
from kalie.sim.task import Judgement, Scene
from kalie.sim.world import (
    ARM_FORCES,
    ARM_JOINTS,
    FINGER_FORCE,
    FINGER_JOINTS,
    FINGER_OPEN,
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


class Compared(NamedTuple):
    """CPU seconds of one call of each side, and the median ratio of ours to theirs."""

    ours: float
    theirs: float
    ratio: float


def timed(call: Callable[[], object], count: int) -> float:
    """CPU seconds of so many calls."""
    start = time.process_time()
    for _ in range(count):
        call()
    return time.process_time() - start


def compare(
    ours: Callable[[int], float], theirs: Callable[[int], float], rounds: int, block: int = 1
) -> Compared:
    """Compare two functions from a number of calls to CPU seconds, in turns."""
    pairs = [(ours(block), theirs(block)) for _ in range(rounds)]
    fastest = (min(side) / block for side in zip(*pairs, strict=True))
    return Compared(*fastest, statistics.median(mine / other for mine, other in pairs))


def camera() -> dict[str, float]:
    """One frame, ours and bare."""
    env = ManipulationEnv("sweep")
    env.reset(seed=0)
    world = env.world
    # Shadows are this project's own addition; the yardstick draws none.
    world.lighting = type(world.lighting)(shadow=0.0)
    size = world.config.camera.size
    matrices = world.camera.view_matrix(), world.camera.projection_matrix()

    def bare() -> None:
        world.bullet.getCameraImage(size, size, *matrices, shadow=0, renderer=pb.ER_TINY_RENDERER)

    ours, theirs, ratio = compare(partial(timed, world.render), partial(timed, bare), 40)
    env.close()
    return {"camera_ms": 1e3 * ours, "bare_camera_ms": 1e3 * theirs, "camera_ratio": ratio}


def random_actions() -> Iterator[np.ndarray]:
    """Arm actions with the jaws held open: panda-gym's Reach does not move them either."""
    actions = np.random.default_rng(0).uniform(-1, 1, (1000, 8)).astype(np.float32)
    actions[:, 7] = 1
    return iter(actions)


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


def steps() -> dict[str, float]:
    """One control step, ours and raw, moving alike in two copies of one scene."""
    env, copy = ManipulationEnv("sweep"), ManipulationEnv("sweep")
    env.reset(seed=0)
    copy.reset(seed=0)
    substeps = round(PERIOD / env.world.config.time_step)
    actions = random_actions()
    reached: list[list[float]] = []

    def ours() -> None:
        observation, *_ = env.step(next(actions))
        reached.append(observation["arm"][:7].tolist())

    def theirs() -> None:
        raw_step(copy.world, reached.pop(0), substeps)

    step, raw, ratio = compare(partial(timed, ours), partial(timed, theirs), 40, BLOCK)
    restored = min(timed(env.reset, 20) / 20 for _ in range(5))
    rebuilt = min(timed(lambda: env.reset(seed=0), 1) for _ in range(5))
    env.close()
    copy.close()
    return {
        "step_ms": 1e3 * step,
        "raw_step_ms": 1e3 * raw,
        "step_ratio": ratio,
        "reset_ms": 1e3 * restored,
        "rebuild_ms": 1e3 * rebuilt,
    }


def panda_gym(python: str) -> dict[str, float]:
    """Control steps per CPU second, ours over panda-gym's, with equal physics on the same bare scene."""
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
            print(count, file=process.stdin)
            return answer(process, "SECONDS")

        ours, other, ratio = compare(partial(timed, lambda: env.step(next(actions))), theirs, 40, BLOCK)
        env.close()
    return {
        "reach_step_ms": 1e3 * ours,
        "panda_gym_step_ms": 1e3 * other,
        "panda_gym_substeps": substeps,
        "steps_against_panda_gym": 1 / ratio,
    }


def answer(process: subprocess.Popen[str], name: str) -> float:
    """The value of the next line that begins with a name; PyBullet prints lines of its own."""
    assert process.stdout is not None  # noqa: S101
    for line in process.stdout:
        if line.startswith(name):
            return float(line.split()[1])
    raise RuntimeError(f"panda-gym's process ended before it said {name}")


def episodes() -> dict[str, float]:
    """CPU seconds of the fastest and the median oracle episode of the test split."""
    world, sweep, seconds = World(), task("sweep"), []
    for seed in range(6):
        start = time.process_time()
        staged = stage(world, sweep, "test", seed)
        act(world, staged, oracle(staged))
        seconds.append(time.process_time() - start)
    world.close()
    return {"episode_fastest_s": min(seconds), "episode_median_s": statistics.median(seconds)}


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--panda-gym", metavar="PYTHON", help="interpreter that has panda-gym installed")
    arguments = parser.parse_args()
    results = {**camera(), **steps(), **episodes()}
    if arguments.panda_gym:
        results.update(panda_gym(arguments.panda_gym))
    print(json.dumps({name: round(value, 4) for name, value in results.items()}, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
