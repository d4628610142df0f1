"""A ring of the newest transitions, drawn from uniformly; it goes into checkpoints whole.

Episodes are kept as they are, so that states, actions and images are stored once; a transition is (episode,
turn).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .rollout import Finished
from .store import decode_parquet, encode_parquet
from .types import Trajectory, Turn


@dataclass(frozen=True, eq=False)
class Transition:
    """One turn within its episode."""

    trajectory: Trajectory
    index: int

    @property
    def turn(self) -> Turn:
        """The turn itself."""
        return self.trajectory.turns[self.index]

    @property
    def last(self) -> bool:
        """Whether no turn follows."""
        return self.index == len(self.trajectory.turns) - 1


class ReplayBuffer:
    """Episodes, the oldest dropped once there are more than `capacity` turns.

    Args:
        capacity: turns.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._episodes: deque[Finished] = deque()
        self._turns = 0
        self._index: list[tuple[int, int]] | None = None

    def __len__(self) -> int:
        return self._turns

    @property
    def episodes(self) -> tuple[Finished, ...]:
        """What is kept, oldest first."""
        return tuple(self._episodes)

    def add(self, finished: Iterable[Finished]) -> None:
        """Keep episodes."""
        for item in finished:
            self._episodes.append(item)
            self._turns += len(item.trajectory.turns)
        while self._turns > self.capacity and len(self._episodes) > 1:
            self._turns -= len(self._episodes.popleft().trajectory.turns)
        self._index = None

    def sample(self, count: int, rng: np.random.Generator) -> list[Transition]:
        """Transitions, uniformly with replacement.

        Raises:
            ValueError: the buffer is empty.
        """
        if not self._turns:
            raise ValueError("the replay buffer is empty")
        if self._index is None:
            lengths = [len(item.trajectory.turns) for item in self._episodes]
            self._index = [(e, t) for e, length in enumerate(lengths) for t in range(length)]
        chosen = [self._index[i] for i in rng.integers(len(self._index), size=count)]
        return [Transition(self._episodes[e].trajectory, t) for e, t in chosen]

    def draw(self, count: int, micro_count: int, rng: np.random.Generator) -> list[list[Transition]]:
        """A `sample` for an optimiser step, divided into micro-batches of `micro_count`."""
        drawn = self.sample(count, rng)
        return [drawn[first : first + micro_count] for first in range(0, count, micro_count)]

    def state_dict(self) -> dict[str, Any]:
        """Everything as a tree for a checkpoint: the episodes as the bytes of a Parquet file."""
        return {"parquet": np.frombuffer(encode_parquet(self._episodes), dtype=np.uint8)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        self._episodes.clear()
        self._turns = 0
        self.add(decode_parquet(state["parquet"].tobytes()))
