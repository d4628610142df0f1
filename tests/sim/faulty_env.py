"""An environment that does to its process what it is told to; a module that workers can import."""

from __future__ import annotations

import os
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

FINE, RAISE, EXIT, HANG, SHAPE, NAN, REWARD, END = range(8)
FAULTS = (RAISE, EXIT, HANG, SHAPE, NAN, REWARD)


class FaultyEnv(gym.Env[NDArray[np.float64], np.int64]):
    """Counts its steps; the observation is (seed, steps)."""

    def __init__(self, broken: bool = False) -> None:
        if broken:
            raise RuntimeError("cannot be made")
        self.observation_space = spaces.Box(-1, 1e12, (2,), np.float64)
        self.action_space = spaces.Discrete(8)
        self._seed, self._steps = -1, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        self._seed, self._steps = self._seed if seed is None else seed, 0
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        if action == RAISE:
            raise RuntimeError("told to raise")
        if action == EXIT:
            os._exit(3)
        if action == HANG:
            time.sleep(1000)
        observation = np.zeros(5) if action == SHAPE else self._observe()
        if action == NAN:
            observation[0] = np.nan
        reward = float("inf") if action == REWARD else 1.0
        return observation, reward, bool(action == END), False, {"steps": self._steps}

    def _observe(self) -> NDArray[np.float64]:
        return np.array([self._seed, self._steps], dtype=np.float64)
