"""The tasks as Gymnasium environments: `kalie/Sweep-v0` and its four siblings.

Importing this module registers them; `gymnasium.make("kalie.sim.env:kalie/Sweep-v0")` does both.

    env = gymnasium.make("kalie/Sweep-v0", split="train", image=True)
    observation, info = env.reset(seed=0)       # builds scene 0: objects, look, instruction
    observation, info = env.reset()             # the same scene again, restored in microseconds

Actions are joint position deltas in [-1, 1] (times `MAX_DELTA` rad) and the jaws' opening in [-1, 1]; every
action passes the safety gate. A camera picture is drawn only when `image` or `render_mode` asks for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..control.arm import ArmState
from ..control.safety import JointCommand, SafetyGate, SafetyLimits
from ..perception.frame import FloatArray, ImageArray
from .arm import panda_kinematics
from .objects import Split
from .registry import TASK_NAMES, Registry, task
from .staging import Arrangement, arrange_first
from .task import Scene, TaskName
from .world import JAW_LIMIT, World, WorldConfig

PERIOD = 0.05
MAX_DELTA = 0.05
EPISODE_STEPS = 400
# The objects that every task calls "tool" or "target"; an absent one is zeros.
ROLES = ("tool", "target")
ObservationDict = dict[str, NDArray[Any]]


class InvalidAction(ValueError):
    """An action of the wrong shape, or with NaN or infinity in it; the environment has not moved."""


class ManipulationEnv(gym.Env[ObservationDict, NDArray[np.float32]]):
    """One task under joint control; reward 1 and the end when the task's goal holds.

    Args:
        task_name: which task.
        split: whose families and look.
        image: whether observations hold the camera's picture.
        registry: of families; the project's own by default.
        world: how the world is simulated and drawn.
        render_mode: "rgb_array" or None.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": round(1 / PERIOD)}  # noqa: RUF012

    def __init__(
        self,
        task_name: TaskName = "sweep",
        split: Split = "train",
        image: bool = False,
        registry: Registry | None = None,
        world: WorldConfig | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = render_mode
        self.task = task(task_name)
        self.world = World(world)
        self._split: Split = split
        self._image, self._registry = image, registry
        self._kinematics = panda_kinematics()
        self._arranged: Arrangement | None = None
        self._substeps = max(1, round(PERIOD / self.world.config.time_step))
        self._state = -1
        self._start_steps = 0
        parts: dict[str, spaces.Space[Any]] = {
            "arm": spaces.Box(-10.0, 10.0, (15,), np.float64),
            "objects": spaces.Box(-10.0, 10.0, (len(ROLES), 7), np.float64),
        }
        if image:
            size = self.world.config.camera.size
            parts["image"] = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.observation_space = spaces.Dict(parts)  # pyright: ignore[reportAttributeAccessIssue]
        self.action_space = spaces.Box(-1.0, 1.0, (8,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[ObservationDict, dict[str, Any]]:
        """Restore the present scene, or build the seed's.

        Args:
            seed: of a scene; None keeps the present one (the first reset then draws one).
            options: {"new_scene": True} draws another scene from the seed's sequence.
        """
        super().reset(seed=seed)
        fresh = seed is not None or self._arranged is None or bool((options or {}).get("new_scene"))
        if fresh:
            self._build(int(self.np_random.integers(2**31)))
        self.world.restore(self._state)
        self.world.hold_home()
        self.world.steps = self._start_steps
        self._gate = SafetyGate(SafetyLimits(self._kinematics.limits), self._kinematics.forward)
        self._measured = self._measure()
        self._sent = self._measured.positions
        self._gate.start(self._sent, self._measured.stamp)
        return self._observe(), self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[ObservationDict, float, bool, bool, dict[str, Any]]:
        """Move for one control period (0.05 s).

        Raises:
            InvalidAction: the action is not eight finite numbers; nothing has moved.
        """
        command = self._checked(action)
        measured = self._measured
        target = JointCommand(self._sent + MAX_DELTA * command[:7], measured.stamp)
        self._move(self._gate.check(target, measured, measured.stamp).positions, float(command[7]))
        info = self._info()
        return self._observe(), float(info["success"]), bool(info["success"]), False, info

    def render(self) -> ImageArray | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The camera's picture, uint8 (H, W, 3), in mode "rgb_array"."""
        return self.world.render().rgb if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the simulator."""
        self.world.close()

    def _build(self, scene_seed: int) -> None:
        if self._state >= 0:
            self.world.forget(self._state)
        self._arranged = arrange_first(self.world, self.task, self._split, scene_seed, self._registry)
        self._state, self._start_steps = self.world.save(), self.world.steps

    def _move(self, positions: FloatArray, jaws: float) -> None:
        velocities = (positions - self._sent) / PERIOD
        self.world.drive_arm(positions.tolist(), velocities.tolist())
        self.world.drive_jaws((jaws + 1) / 2 * JAW_LIMIT)
        self.world.step(self._substeps)
        self._sent, self._measured = positions, self._measure()

    def _measure(self) -> ArmState:
        positions, velocities = self.world.joint_states()
        stamp = self.world.steps * self.world.config.time_step
        return ArmState(positions[:7], velocities[:7], float(positions[7] + positions[8]), stamp)

    def _checked(self, action: NDArray[np.float32]) -> FloatArray:
        command = np.asarray(action, dtype=np.float64)
        if command.shape != (8,) or not np.isfinite(command).all():
            raise InvalidAction(f"action: expected 8 finite numbers, got {action!r}")
        return command.clip(-1, 1)

    def _observe(self) -> ObservationDict:
        state, values = self._measured, np.zeros(15 + 7 * len(ROLES))
        values[:7], values[7:14], values[14] = state.positions, state.velocities, state.gripper_width
        values[15:] = self._poses()
        values.clip(-10, 10, out=values)
        observation = {"arm": values[:15], "objects": values[15:].reshape(len(ROLES), 7)}
        if self._image:
            observation["image"] = self.world.render().rgb
        return observation

    def _poses(self) -> list[float]:
        """Position (m) and quaternion (x, y, z, w) of every role's object, one after another."""
        poses: list[float] = []
        for role in ROLES:
            placed = self._scene().objects.get(role)
            if placed is None:
                poses += [0.0] * 7
                continue
            position, quaternion = self.world.bullet.getBasePositionAndOrientation(placed.body)
            poses += [*position, *quaternion]
        return poses

    def _scene(self) -> Scene:
        if self._arranged is None:
            raise gym.error.ResetNeeded("call reset before step")
        return self._arranged.scene

    def _info(self) -> dict[str, Any]:
        judgement = self.task.judge(self.world, self._scene())
        return {
            "instruction": self._scene().instruction,
            "success": judgement.success,
            "measures": dict(judgement.measures),
        }


def register_envs() -> None:
    """Register every task as `kalie/<Name>-v0`; calling it again changes nothing."""
    for name in TASK_NAMES:
        identity = f"kalie/{name.capitalize()}-v0"
        if identity not in gym.registry:
            gym.register(
                identity,
                entry_point=f"{__name__}:ManipulationEnv",
                max_episode_steps=EPISODE_STEPS,
                kwargs={"task_name": name},
            )


register_envs()
