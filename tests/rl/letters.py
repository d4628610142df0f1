"""A tabular text environment: say the letter that is asked for, some times over."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from kalie.rl.envs.base import EnvironmentFailure, ObservationSpace, Step, TextSpace
from kalie.rl.images import Image
from kalie.rl.types import Observation

LETTERS = "abcd"


def asks(letter: int, images: tuple[Image, ...] = ()) -> Observation:
    """What shows a letter."""
    return Observation(f"say {4 * LETTERS[letter]}", images)


class LettersEnv(gymnasium.Env[Observation, str]):
    """Each turn shows a letter, four times; the answer is the letter itself, alone.

    The right letter gives 1, another letter 0, anything else -0.1 and is invalid. After `rounds` turns the
    episode ends, a success if every answer was right.

    Args:
        rounds: turns of an episode.
        image_size: shows the letter's number as a grey square of this size too; 0 for none.
        truncate: whether the end counts as a limit's.
        failing: env seeds with these remainders by 7 fail at their second turn.
    """

    def __init__(
        self, rounds: int = 3, image_size: int = 0, truncate: bool = False, failing: tuple[int, ...] = ()
    ) -> None:
        self.rounds = rounds
        self.image_size = image_size
        self.truncate = truncate
        self.failing = failing
        shape = ((image_size, image_size, 3),) if image_size else ()
        self.observation_space = ObservationSpace(shape)
        self.action_space = TextSpace(tuple(LETTERS))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        self._fails = seed is not None and seed % 7 in self.failing
        self._turn, self._right, self._over = 0, 0, False
        self.letter = int(self.np_random.integers(len(LETTERS)))
        return self._observe(), {}

    def step(self, action: str) -> Step:
        if self._over:
            raise RuntimeError("the episode is over")
        if self._fails and self._turn == 1:
            raise EnvironmentFailure("the browser died")
        valid = len(action) == 1 and action in LETTERS
        right = valid and action == LETTERS[self.letter]
        self._turn += 1
        self._right += right
        self._over = self._turn == self.rounds
        self.letter = int(self.np_random.integers(len(LETTERS)))
        info = {"valid": valid, "action": action if valid else None}
        if self._over:
            info["success"] = self._right == self.rounds
        reward = 1.0 if right else 0.0 if valid else -0.1
        ended = self._over and not self.truncate
        return self._observe(), reward, ended, self._over and self.truncate, info

    def _observe(self) -> Observation:
        size = self.image_size
        image = np.full((size, size, 3), 40 + 50 * self.letter, dtype=np.uint8)
        return asks(self.letter, (image,) if size else ())
