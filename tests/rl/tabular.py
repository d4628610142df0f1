"""A decision process with a table: four states, shown and answered as letters, and its exact values."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from kalie.rl.envs.base import ObservationSpace, Step, TextSpace
from kalie.rl.policy import Policy
from kalie.rl.transitions import response_row
from kalie.rl.types import Observation

from .letters import LETTERS, asks

N = len(LETTERS)
END = -1
# By state and letter answered: where it leads, and what it pays.
FOLLOWING = np.array([[1, 2, 3, END], [END, 2, 0, 3], [3, 0, 1, END], [0, END, 2, 1]])
REWARDS = np.array(
    [[0.0, 0.3, 0.1, 0.4], [-0.8, -0.4, -0.6, -0.5], [0.7, 0.3, 0.5, 0.8], [0.1, -0.1, -0.2, 0.2]]
)


class TableEnv(gymnasium.Env[Observation, str]):
    """Begins in a random state; a letter leads on as the tables say; cut after `limit` turns.

    What is shown is the whole state, so that values are a function of the prompt alone.
    """

    def __init__(self, limit: int = 4) -> None:
        self.limit = limit
        self.observation_space = ObservationSpace()
        self.action_space = TextSpace(tuple(LETTERS))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        self._turns = 0
        self.state = int(self.np_random.integers(N))
        return asks(self.state), {}

    def step(self, action: str) -> Step:
        chosen = LETTERS.index(action)
        reward, following = float(REWARDS[self.state, chosen]), int(FOLLOWING[self.state, chosen])
        self._turns += 1
        terminated = following == END
        self.state = self.state if terminated else following
        truncated = self._turns == self.limit and not terminated
        info: dict[str, Any] = {"valid": True, "action": action}
        if terminated or truncated:
            info["success"] = terminated
        return asks(self.state), reward, terminated, truncated, info


def letter_ids(policy: Policy) -> list[NDArray[np.int64]]:
    """Each letter as a response of one token."""
    return [np.array(policy.renderer.text_ids(letter)) for letter in LETTERS]


def say_letters_alone(policy: Policy) -> None:
    """Leave a policy nothing but the letters to say."""
    letters = {int(ids[0]) for ids in letter_ids(policy)}
    policy.forbidden = [token for token in range(len(policy.tokenizer)) if token not in letters]


class Values(NamedTuple):
    """Exact values: `q` (4, 4) by state and letter, `v` (4,)."""

    q: NDArray[np.float64]
    v: NDArray[np.float64]


def exact_values(policy: Policy, gamma: float, temperature: float) -> Values:
    """Q and V of a fixed policy by the linear system V = sum_a pi (R + gamma V'), V' = 0 after an end.

    Args:
        policy: that says letters alone.
        gamma: discount.
        temperature: that it samples with.
    """
    prompts = [policy.conversation().observe(asks(state)) for state in range(N)]
    batch = policy.batch([response_row(prompt, ids) for prompt in prompts for ids in letter_ids(policy)])
    chances = policy(batch, temperature).log_probs.detach().exp().double().numpy().reshape(N, N)
    moves = np.eye(N)[FOLLOWING] * (FOLLOWING != END)[..., None]
    transitions = np.einsum("sa,sat->st", chances, moves)
    v = np.linalg.solve(np.eye(N) - gamma * transitions, (chances * REWARDS).sum(axis=1))
    return Values(REWARDS + gamma * moves @ v, v)
