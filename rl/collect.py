"""Collecting episodes for updates and evaluations, and what the logs say of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .executors import Executor, Usage
from .rollout import Finished, RolloutCounts, RolloutError, episode
from .store import TrajectoryStore


class Collected(NamedTuple):
    """Episodes in the order of their indices, and figures about them."""

    finished: list[Finished]
    metrics: dict[str, float]


class Collector:
    """Runs the next episodes of a stream.

    Args:
        executor: that runs them.
        seed: of the job.
        stream: "train" or another name; its episodes are numbered from 0.
        store: gets every episode, one file a collection; None keeps none.
    """

    def __init__(
        self, executor: Executor, seed: int, stream: str = "train", store: TrajectoryStore | None = None
    ) -> None:
        self._executor = executor
        self._seed = seed
        self._stream = stream
        self._store = store
        self.next_index = 0
        self.turns = 0

    def use(self, executor: Executor) -> None:
        """Let another executor run the episodes from now on."""
        self._executor.close()
        self._executor = executor

    def collect(self, name: str, episodes: int = 0, turns: int = 0) -> Collected:
        """Run so many episodes, or begin episodes until so many turns are taken (all begun ones end).

        Args:
            name: of the file in the store.
            episodes: whole episodes.
            turns: in their place.

        Raises:
            RolloutError: an environment broke its contract, or failed too often.
        """
        begin = time.perf_counter()
        if turns:
            numbers = itertools.count(self.next_index)
            source = (episode(self._seed, self._stream, index) for index in numbers)
            found = list(self._executor.run(source, lambda counts: _fewer(counts, turns)))
        else:
            indices = range(self.next_index, self.next_index + episodes)
            found = list(self._executor.run([episode(self._seed, self._stream, index) for index in indices]))
        usage = self._executor.usage
        self.next_index += usage.counts.begun
        self.turns += usage.counts.turns
        if not found:
            raise RolloutError(f"none of {usage.counts.begun} episodes could be finished")
        found.sort(key=lambda item: item.index)
        if self._store is not None:
            self._store.write(name, found)
        metrics = rollout_metrics(found, usage, time.perf_counter() - begin)
        metrics["rollout/total_turns"] = float(self.turns)
        metrics["rollout/total_episodes"] = float(self.next_index)
        return Collected(found, metrics)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"next_index": self.next_index, "turns": self.turns}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        self.next_index, self.turns = state["next_index"], state["turns"]


def _fewer(counts: RolloutCounts, turns: int) -> bool:
    return counts.turns < turns


def rollout_metrics(finished: Sequence[Finished], usage: Usage, seconds: float) -> dict[str, float]:
    """Figures about episodes, for the logs.

    `return`, `success`, `turns` and `response_tokens` are means, `invalid` is the share of turns without an
    action, `repetition` the share of a response's four-token runs that it had before, `distinct` the share of
    responses that no other turn gave.
    """
    metrics = {
        "rollout/episodes": float(len(finished)),
        "rollout/retried": float(usage.counts.retried),
        "rollout/given_up": float(len(usage.counts.given_up)),
        "rollout/tokens_per_second": usage.tokens_sampled / max(seconds, 1e-9),
        "rollout/prompt_tokens_read": float(usage.tokens_read),
        "rollout/seconds": seconds,
    }
    turns = [turn for item in finished for turn in item.trajectory.turns]
    if not turns:
        return metrics
    texts = [turn.text for turn in turns]
    return {
        **metrics,
        "rollout/return": float(np.mean([item.trajectory.episode_return for item in finished])),
        "rollout/success": float(np.mean([item.trajectory.success for item in finished])),
        "rollout/turns": len(turns) / len(finished),
        "rollout/invalid": float(np.mean([not turn.valid for turn in turns])),
        "rollout/response_tokens": float(np.mean([len(turn.response_ids) for turn in turns])),
        "rollout/repetition": float(np.mean([repetition(turn.response_ids.tolist()) for turn in turns])),
        "rollout/distinct": len(set(texts)) / len(texts),
        **_faithful(finished),
    }


def repetition(ids: Sequence[int], run: int = 4) -> float:
    """The share of runs of `run` tokens that occurred before in the same sequence; 0 for short ones."""
    runs = [tuple(ids[i : i + run]) for i in range(len(ids) - run + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _faithful(finished: Sequence[Finished]) -> dict[str, float]:
    """The share of answers whose statements about the state are so, where an environment judges it."""
    judged = [turn.info.get("faithful") for item in finished for turn in item.trajectory.turns]
    known = [bool(value) for value in judged if value is not None]
    return {"rollout/faithful": float(np.mean(known))} if known else {}
