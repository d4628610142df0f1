"""Stable-Baselines3's PPO on CartPole, an iteration at a time: the other side of rl_throughput.py.

    python benchmarks/peer_sb3.py

{"settings": {...}} comes in, a line of JSON, and then {"calls": 3} for that many iterations (a rollout and
the epochs on it), which {"seconds": CPU time, "episodes": how many ended} answers. The end of the input ends
it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import gymnasium
import stable_baselines3
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv


def answer(**values: Any) -> None:  # noqa: ANN401  JSON
    """Say something."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


class Turns(BaseCallback):
    """Lets the training go on for as many iterations as are asked for, and measures them."""

    def __init__(self) -> None:
        super().__init__()
        self._left = self._episodes = 0
        self._begin = 0.0
        self._ended = False

    def _on_training_start(self) -> None:
        answer(ready=True)
        self._wait()

    def _on_rollout_start(self) -> None:
        if self.n_calls and not self._ended:
            self._left -= 1
            if not self._left:
                answer(seconds=time.process_time() - self._begin, episodes=self._episodes)
                self._wait()

    def _on_step(self) -> bool:
        self._episodes += int(self.locals["dones"].sum())
        return not self._ended

    def _wait(self) -> None:
        line = sys.stdin.readline()
        self._ended = not line
        self._left = 0 if self._ended else json.loads(line)["calls"]
        self._episodes = 0
        self._begin = time.process_time()


def main() -> None:
    """Train as long as somebody asks."""
    torch.set_num_threads(1)
    answer(stable_baselines3=stable_baselines3.__version__, gymnasium=gymnasium.__version__)
    settings = json.loads(sys.stdin.readline())["settings"]
    envs = DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * settings.pop("n_envs"))
    PPO("MlpPolicy", envs, device="cpu", **settings).learn(10**9, Turns())


if __name__ == "__main__":
    main()
