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

END = -1
# By state and answer (a letter, or anything else): where it leads, and what it pays.
FOLLOWING = np.array([[1, 2, 3, END, 0], [END, 2, 0, 3, 1], [3, 0, 1, END, 2], [0, END, 2, 1, 3]])
REWARDS = np.array(
    [
        [0.0, 0.5, -0.5, 1.0, -0.2],
        [-1.0, 0.3, 0.0, 0.6, -0.2],
        [0.4, 0.0, -0.3, 0.2, -0.2],
        [0.1, 0.8, -0.6, 0.0, -0.2],
    ]
)


class TableEnv(gymnasium.Env[Observation, str]):
    """Begins in a random state; an answer leads on as the tables say; cut after `limit` turns.

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
        self.state = int(self.np_random.integers(len(LETTERS)))
        return asks(self.state), {}

    def step(self, action: str) -> Step:
        chosen = index_of(action)
        reward, following = REWARDS[self.state, chosen], FOLLOWING[self.state, chosen]
        self._turns += 1
        terminated = bool(following == END)
        self.state = self.state if terminated else int(following)
        truncated = self._turns == self.limit and not terminated
        valid = chosen < len(LETTERS)
        info: dict[str, Any] = {"valid": valid, "action": action if valid else None}
        if terminated or truncated:
            info["success"] = terminated
        return asks(self.state), float(reward), terminated, truncated, info


def index_of(answer: str) -> int:
    """The column of an answer in the tables."""
    return LETTERS.index(answer) if len(answer) == 1 and answer in LETTERS else len(LETTERS)


class Values(NamedTuple):
    """Exact values: `q` (4, 5) by state and answer, `v` (4,)."""

    q: NDArray[np.float64]
    v: NDArray[np.float64]


def answer_chances(policy: Policy) -> NDArray[np.float64]:
    """What a policy answers in each state, (4, 5), exactly: the letters by their scores, the rest is left."""
    prompts = [policy.conversation().observe(asks(state)) for state in range(4)]
    rows = [response_row(prompt, letter_ids(policy, letter)) for prompt in prompts for letter in LETTERS]
    batch = policy.batch(rows)
    letters = batch.per_turn(policy(batch).log_probs.detach()).exp().double().numpy().reshape(4, 4)
    return np.concatenate([letters, 1 - letters.sum(axis=1, keepdims=True)], axis=1)


def letter_ids(policy: Policy, letter: str) -> NDArray[np.int64]:
    """A letter as a whole response."""
    return np.array([*policy.renderer.text_ids(letter), policy.tokenizer.eos_token_id])


def exact_values(chances: NDArray[np.float64], gamma: float) -> Values:
    """Q and V of a fixed policy by the linear system V = sum_a pi (R + gamma V'), V' = 0 after an end.

    Args:
        chances: (4, 5) from `answer_chances`.
        gamma: discount.
    """
    goes_on = FOLLOWING != END
    moves = np.zeros((4, 5, 4))
    np.put_along_axis(moves, np.where(goes_on, FOLLOWING, 0)[..., None], goes_on[..., None], axis=2)
    transitions = np.einsum("sa,sat->st", chances, moves)
    v = np.linalg.solve(np.eye(4) - gamma * transitions, (chances * REWARDS).sum(axis=1))
    return Values(REWARDS + gamma * moves @ v, v)
