"""How fast the simulator is beside its yardsticks; prints ratios, JSON last.

    python benchmarks/sim_speed.py
    python benchmarks/sim_speed.py --panda-gym PATH/TO/python    # an environment of its own with panda-gym

* camera: `World.render` beside the bare `getCameraImage` call with the same matrices (at most 1.1)
* step: `ManipulationEnv.step` beside the same physics steps and motor commands on raw Bullet (at most 1.2)
* step against panda-gym's PandaReach, on the same scene with as many physics steps: at least 1.3 times as
  many control steps a second
* reset: restoring a scene, beside loading it anew
* episode: stage, plan, move and judge, without prediction (at most 1 s)

Timings alternate between the two sides in blocks, and the fastest blocks are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator

import numpy as np
import pybullet as pb

from kalie.sim.env import PERIOD, ManipulationEnv
from kalie.sim.episode import act, oracle
from kalie.sim.registry import task
from kalie.sim.staging import stage
from kalie.sim.task import Judgement, Scene
from kalie.sim.world import ARM_FORCES, ARM_JOINTS, FINGER_JOINTS, TCP_LINK, World, WorldConfig

PANDA_GYM = """
import time, gymnasium, panda_gym
env = gymnasium.make("PandaReachJoints-v3").unwrapped
env.reset(seed=0)
actions = [env.action_space.sample() for _ in range(450)]
for action in actions[:50]: env.step(action)
times = []
for block in range(50, 450, 20):
    start = time.process_time()
    for action in actions[block : block + 20]: env.step(action)
    times.append((time.process_time() - start) / 20)
print("SECONDS", min(times), env.sim.n_substeps)
"""


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


def compare(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, block: int = 1
) -> tuple[float, float]:
    """CPU seconds of one call of each: the fastest of `rounds` blocks of calls, taken in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for side, call in enumerate((ours, theirs)):
            start = time.process_time()
            for _ in range(block):
                call()
            times[side].append((time.process_time() - start) / block)
    return min(times[0]), min(times[1])


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

    ours, theirs = compare(world.render, bare, 40)
    env.close()
    return {"camera_ms": 1e3 * ours, "bare_camera_ms": 1e3 * theirs, "camera_ratio": ours / theirs}


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
        world.robot, FINGER_JOINTS, pb.POSITION_CONTROL, targetPositions=(0.04, 0.04), forces=(30, 30)
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

    step, raw = compare(ours, theirs, 30, 20)
    restored, _ = compare(env.reset, lambda: None, 5, 20)
    rebuilt, _ = compare(lambda: env.reset(seed=0), lambda: None, 5)
    env.close()
    copy.close()
    return {
        "step_ms": 1e3 * step,
        "raw_step_ms": 1e3 * raw,
        "step_ratio": step / raw,
        "reset_ms": 1e3 * restored,
        "rebuild_ms": 1e3 * rebuilt,
    }


def panda_gym(python: str) -> dict[str, float]:
    """Control steps per CPU second, ours over panda-gym's, with equal physics on the same bare scene."""
    command = [python, "-c", PANDA_GYM]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    line = next(line for line in printed.splitlines() if line.startswith("SECONDS"))
    theirs, substeps = (float(value) for value in line.split()[1:])
    env = ManipulationEnv(world=WorldConfig(time_step=PERIOD / substeps))
    env.task = Reach()  # pyright: ignore[reportAttributeAccessIssue]
    env.reset(seed=0)
    actions = random_actions()
    ours, _ = compare(lambda: env.step(next(actions)), lambda: None, 20, 20)
    env.close()
    return {
        "reach_step_ms": 1e3 * ours,
        "panda_gym_step_ms": 1e3 * theirs,
        "panda_gym_substeps": substeps,
        "steps_against_panda_gym": theirs / ours,
    }


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
