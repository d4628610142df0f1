"""Collecting episodes for updates and evaluations, and what the logs say of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from accelerate import Accelerator

from .executors import Executor, Usage, sum_of
from .processes import gather, place
from .rollout import Finished, RolloutError, episode
from .samples import Numbers
from .store import TrajectoryStore, decode_parquet, encode_parquet
from .types import Turn
from .values import Valuer


class Collected(NamedTuple):
    """Episodes in the order of their indices, figures about them, and what a critic expected of them.

    Attributes:
        finished: the episodes.
        metrics: for the logs.
        values: of each episode, see `Valuer`; empty without one.
    """

    finished: list[Finished]
    metrics: dict[str, float]
    values: list[Numbers]


class Collector:
    """Runs the next episodes of a stream; of several processes each runs its part, and gets all of them.

    Args:
        executor: that runs them.
        seed: of the job.
        stream: "train" or another name; its episodes are numbered from 0.
        store: gets every episode, one file a collection; None keeps none.
        accelerator: of the job, if it may have several processes.
    """

    def __init__(
        self,
        executor: Executor,
        seed: int,
        stream: str = "train",
        store: TrajectoryStore | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        self._executor = executor
        self._seed = seed
        self._stream = stream
        self._store = store
        self._accelerator = accelerator
        self.next_index = 0
        self.turns = 0

    def use(self, executor: Executor) -> None:
        """Let another executor run the episodes from now on."""
        self._executor.close()
        self._executor = executor

    def collect(
        self, name: str, episodes: int = 0, turns: int = 0, valuer: Valuer | None = None
    ) -> Collected:
        """Run so many episodes, or begin episodes until so many turns are taken (all begun ones end).

        Args:
            name: of the file in the store.
            episodes: whole episodes.
            turns: in their place.
            valuer: a critic whose values go into the store too.

        Raises:
            RolloutError: an environment broke its contract, or failed too often.
        """
        begin = time.perf_counter()
        found, usage = self._run(episodes, turns)
        self.turns += usage.counts.turns
        if not found:
            raise RolloutError(f"none of {usage.counts.begun} episodes could be finished")
        found.sort(key=lambda item: item.index)
        metrics = rollout_metrics(found, usage, time.perf_counter() - begin)
        metrics["rollout/total_turns"] = float(self.turns)
        metrics["rollout/total_episodes"] = float(self.next_index)
        values = valuer.values([item.trajectory for item in found]) if valuer is not None else []
        if self._store is not None:
            self._store.write(name, found, values)
        return Collected(found, metrics, values)

    def _run(self, episodes: int, turns: int) -> tuple[list[Finished], Usage]:
        """Run this process's part of the next episodes, and put all processes' parts together."""
        rank, count = place(self._accelerator)
        first = self.next_index
        indices = itertools.count(first) if turns else range(first, first + episodes)
        own = (episode(self._seed, self._stream, i) for i in itertools.islice(indices, rank, None, count))
        found = list(self._executor.run(own, (lambda c: count * c.turns < turns) if turns else None))
        usage = self._executor.usage
        begun = usage.counts.begun
        if self._accelerator is not None and count > 1:
            parts = gather(self._accelerator, (encode_parquet(found), usage))
            found = [item for stored, _ in parts for item in decode_parquet(stored)]
            begun = count * max(part.counts.begun for _, part in parts)
            usage = sum_of(part for _, part in parts)
        self.next_index += episodes or begun
        return found, usage

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"next_index": self.next_index, "turns": self.turns}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        self.next_index, self.turns = state["next_index"], state["turns"]


def rollout_metrics(finished: Sequence[Finished], usage: Usage, seconds: float) -> dict[str, float]:
    """Figures about episodes, for the logs.

    `return`, `success`, `turns` and `response_tokens` are means, `invalid` is the share of turns without an
    action, `repetition` the share of a response's four-token runs that it had before, `distinct` the share of
    responses that no other turn gave, `faithful`, where the environment judges it, the share of responses
    whose statements about the state are so.
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
    texts, judged = [turn.text for turn in turns], judgements(turns)
    return {
        **metrics,
        "rollout/return": float(np.mean([item.trajectory.episode_return for item in finished])),
        "rollout/success": float(np.mean([item.trajectory.success for item in finished])),
        "rollout/turns": len(turns) / len(finished),
        "rollout/invalid": float(np.mean([not turn.valid for turn in turns])),
        "rollout/response_tokens": float(np.mean([len(turn.response_ids) for turn in turns])),
        "rollout/repetition": float(np.mean([repetition(turn.response_ids.tolist()) for turn in turns])),
        "rollout/distinct": len(set(texts)) / len(texts),
        **({"rollout/faithful": float(np.mean(judged))} if judged else {}),
    }


def repetition(ids: Sequence[int], run: int = 4) -> float:
    """The share of runs of `run` tokens that occurred before in the same sequence; 0 for short ones."""
    runs = [tuple(ids[i : i + run]) for i in range(len(ids) - run + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def judgements(turns: Iterable[Turn]) -> list[bool]:
    """Whether what an answer states about the state is so, of those answers that an environment judged."""
    told = (turn.info.get("faithful") for turn in turns)
    return [bool(one) for one in told if one is not None]
