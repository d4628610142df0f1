"""The rollout engine: many environments against one policy.

    engine = RolloutEngine(make_env, policy, generator, RolloutConfig(), env="kalie/NumberLine-v0")
    for trajectory in engine.run(episodes(seed=0, stream="train", first=0, count=128)): ...

An episode is a function of its seed: the environment and every draw of the sampling come from it, whichever
slot or process it runs in. A slot whose episode ends begins the next one at once.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..core.ranges import at_least, within
from .base_policy import BasePolicy, Dialogue
from .decoder import Response
from .env_host import EnvHost, MakeEnv, as_observation
from .envs.base import EnvironmentFailure
from .generation import Generator
from .prompts import Prompt
from .types import Observation, Trajectory, Turn

log = logging.getLogger(__name__)


class RolloutError(RuntimeError):
    """An environment broke its contract, or failed too often; the message names it, the seed and the turn."""


@dataclass(frozen=True)
class RolloutConfig:
    """How environments are run.

    Attributes:
        step_seconds: longest a reset or step may take; 0 for no limit (and no threads).
        attempts: how often an episode is begun whose environment fails.
        failure_share: largest share of episodes that may be given up before the job stops.
        max_turns: an episode is truncated after so many; 0 leaves it to the environment.
        in_order: whether all environments that step are waited for, so that a run repeats bit for bit; false
            lets fast ones go on without slow ones.
    """

    step_seconds: float = 60.0
    attempts: int = 3
    failure_share: float = 0.1
    max_turns: int = 0
    in_order: bool = True

    def __post_init__(self) -> None:
        at_least(self, 0, "step_seconds", "max_turns")
        at_least(self, 1, "attempts")
        within(self, 0, 1, "failure_share")


@dataclass(frozen=True)
class Episode:
    """One episode to be run.

    Attributes:
        index: its place among those of its stream.
        env_seed: for `reset`.
        words: seed of the sampling.
    """

    index: int
    env_seed: int
    words: tuple[int, ...]

    def rng(self) -> np.random.Generator:
        """A fresh generator of the sampling's draws."""
        return np.random.default_rng(np.random.SeedSequence(self.words))


def episode(seed: int, stream: str, index: int) -> Episode:
    """The episode of a job's seed, a stream ("train", "evaluation") and an index."""
    words = (seed, zlib.crc32(stream.encode()), index)
    env_seed = int(np.random.SeedSequence((*words, 1)).generate_state(1)[0]) >> 1
    return Episode(index, env_seed, (*words, 2))


def episodes(seed: int, stream: str, first: int, count: int) -> list[Episode]:
    """Consecutive episodes."""
    return [episode(seed, stream, index) for index in range(first, first + count)]


@dataclass
class RolloutCounts:
    """What happened besides the trajectories.

    Attributes:
        begun: episodes.
        turns: taken, those of given-up episodes included.
        retried: failures after which an episode was begun again.
        given_up: the indices of episodes that failed at every attempt.
    """

    begun: int = 0
    turns: int = 0
    retried: int = 0
    given_up: list[int] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Finished:
    """An episode that ended, by its index."""

    index: int
    trajectory: Trajectory


@dataclass
class _Run:
    """An episode under way in a slot."""

    episode: Episode
    rng: np.random.Generator
    conversation: Dialogue
    observation: Observation | None = None
    prompt: Prompt | None = None
    response: Response | None = None
    text: str = ""
    turns: list[Turn] = field(default_factory=list)
    reset_info: dict[str, Any] = field(default_factory=dict)
    attempt: int = 1


class RolloutEngine:
    """Runs episodes, as many at a time as the generator has slots.

    Args:
        make_env: builds an environment.
        policy: that answers.
        generator: that samples its answers.
        config: how.
        env: the environment's id, for trajectories and messages.
    """

    def __init__(
        self, make_env: MakeEnv, policy: BasePolicy, generator: Generator, config: RolloutConfig, env: str
    ) -> None:
        self._make_env = make_env
        self._policy = policy
        self._generator = generator
        self._config = config
        self._env = env
        self._hosts: dict[int, EnvHost] = {}
        self._runs: dict[int, _Run] = {}
        self._calls: dict[int, Future[Any]] = {}
        self._sampling = 0
        self.counts = RolloutCounts()

    def run(
        self, source: Iterable[Episode], more: Callable[[RolloutCounts], bool] | None = None
    ) -> Iterator[Finished]:
        """Run episodes and yield each as it ends; `counts` tells the rest.

        Args:
            source: the episodes.
            more: asked before each episode whether to begin it; None begins all.

        Raises:
            RolloutError: see there.
        """
        self._abandon()
        self.counts = RolloutCounts()
        self._generator.restart()
        todo = iter(source)
        while True:
            self._fill(todo, more)
            if not self._runs:
                return
            freed = False
            for slot in self._answered():
                finished = self._take(slot)
                if finished is not None:
                    freed = True
                    yield finished
            # Slots that were freed begin a new episode before any response is waited for.
            if self._sampling and not freed and not (self._calls and self._config.in_order):
                for slot, response in self._generator.poll():
                    self._respond(slot, response)

    def _fill(self, todo: Iterator[Episode], more: Callable[[RolloutCounts], bool] | None) -> None:
        """Begin an episode in every free slot, while there are any to begin."""
        for slot in range(self._generator.slots):
            if slot in self._runs:
                continue
            if (more is not None and not more(self.counts)) or (item := next(todo, None)) is None:
                return
            self._begin(slot, item)

    def close(self) -> None:
        """Close the environments."""
        self._abandon()
        for host in self._hosts.values():
            host.close()
        self._hosts = {}

    def _abandon(self) -> None:
        """Leave behind what an earlier run that was not finished left open."""
        for slot in self._calls:
            self._hosts.pop(slot).close()
        self._runs, self._calls = {}, {}
        self._sampling = 0

    def _begin(self, slot: int, item: Episode, attempt: int = 1) -> None:
        if slot not in self._hosts:
            self._hosts[slot] = EnvHost(self._make_env, self._config.step_seconds)
        self.counts.begun += attempt == 1
        self._runs[slot] = _Run(item, item.rng(), self._policy.conversation(), attempt=attempt)
        self._calls[slot] = self._hosts[slot].reset(item.env_seed)

    def _answered(self) -> list[int]:
        """The slots whose environment has answered (in order: all that are to answer)."""
        if self._config.in_order or not self._calls:
            return sorted(self._calls)
        limit = 0 if self._sampling else self._config.step_seconds or None
        done, _ = wait(self._calls.values(), timeout=limit, return_when="FIRST_COMPLETED")
        ready = sorted(slot for slot, future in self._calls.items() if future in done)
        return ready if ready or self._sampling else sorted(self._calls)

    def _take(self, slot: int) -> Finished | None:
        """Take an environment's answer: the episode if it ended; a response is asked for otherwise."""
        run = self._runs[slot]
        try:
            answer = self._hosts[slot].wait(self._calls.pop(slot))
        except EnvironmentFailure as error:
            self._fail(slot, run, error)
            return None
        except Exception as error:
            raise self._error(run, f"raised {type(error).__name__}: {error}") from error
        if run.response is None:
            self._note_reset(run, answer)
        elif self._note_step(run, answer):
            del self._runs[slot]
            return Finished(run.episode.index, self._trajectory(run))
        run.prompt = run.conversation.observe(self._observation(run))
        self._generator.submit(slot, run.prompt, run.rng)
        self._sampling += 1
        return None

    def _observation(self, run: _Run) -> Observation:
        assert run.observation is not None  # noqa: S101  set by both notes
        return run.observation

    def _note_reset(self, run: _Run, answer: object) -> None:
        try:
            observation, info = answer  # pyright: ignore[reportGeneralTypeIssues]  checked here
            run.observation, run.reset_info = as_observation(observation), dict(info)
        except (TypeError, ValueError) as error:
            raise self._error(run, f"reset: {error}") from error

    def _note_step(self, run: _Run, answer: object) -> bool:
        """Add the turn; whether the episode has ended."""
        try:
            observation, reward, terminated, truncated, info = answer  # pyright: ignore[reportGeneralTypeIssues]
            step = _checked(observation, reward, terminated, truncated, info)
        except (TypeError, ValueError) as error:
            raise self._error(run, f"step: {error}") from error
        self.counts.turns += 1
        turn = self._turn(run, step)
        run.turns.append(turn)
        run.observation = step.observation
        return turn.terminated or turn.truncated

    def _turn(self, run: _Run, step: _Step) -> Turn:
        prompt, response, observation = run.prompt, run.response, self._observation(run)
        assert prompt is not None  # noqa: S101  a step follows a response
        assert response is not None  # noqa: S101
        last = bool(self._config.max_turns) and len(run.turns) + 1 >= self._config.max_turns
        return Turn(
            observation=observation,
            prompt_ids=prompt.ids,
            response_ids=response.ids,
            log_probs=response.log_probs,
            text=run.text,
            action=step.info["action"],
            valid=bool(step.info["valid"]),
            reward=step.reward,
            terminated=step.terminated,
            truncated=not step.terminated and (step.truncated or last),
            info={key: value for key, value in step.info.items() if key not in ("action", "valid")},
        )

    def _respond(self, slot: int, response: Response) -> None:
        run = self._runs[slot]
        self._sampling -= 1
        run.response = response
        run.text = self._policy.text(response.ids.tolist())
        run.conversation.respond(response.ids.tolist(), run.text)
        self._calls[slot] = self._hosts[slot].step(run.text)

    def _trajectory(self, run: _Run) -> Trajectory:
        final = self._observation(run)
        return Trajectory(self._env, run.episode.env_seed, tuple(run.turns), final, run.reset_info)

    def _fail(self, slot: int, run: _Run, error: EnvironmentFailure) -> None:
        """Begin the episode again in a new environment, or give it up."""
        log.warning("%s", self._error(run, f"failed (attempt {run.attempt}): {error}"))
        self._hosts.pop(slot).close()
        del self._runs[slot]
        if run.attempt < self._config.attempts:
            self.counts.retried += 1
            self._begin(slot, run.episode, run.attempt + 1)
            return
        self.counts.given_up.append(run.episode.index)
        allowed = max(1.0, self._config.failure_share * self.counts.begun)
        if not self._config.failure_share or len(self.counts.given_up) > allowed:
            raise self._error(
                run, f"{len(self.counts.given_up)} of {self.counts.begun} episodes failed: {error}"
            ) from error

    def _error(self, run: _Run, message: str) -> RolloutError:
        return RolloutError(f"{self._env}, seed {run.episode.env_seed}, turn {len(run.turns) + 1}: {message}")


class _Step(NamedTuple):
    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]


def _checked(
    observation: object, reward: object, terminated: object, truncated: object, info: object
) -> _Step:
    """What `step` returned, every part of the type that the contract names.

    Raises:
        TypeError: it is not.
        ValueError: the reward is not finite.
    """
    if isinstance(reward, bool | np.bool_) or not isinstance(reward, int | float | np.floating | np.integer):
        raise TypeError(f"the reward {reward!r} is no number")
    if not math.isfinite(reward):
        raise ValueError(f"the reward is {reward}")
    for name, value in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} is {value!r}, not a bool")
    if not isinstance(info, Mapping) or not isinstance(info.get("valid"), bool) or "action" not in info:
        raise TypeError("info lacks valid (bool) or action")
    return _Step(as_observation(observation), float(reward), bool(terminated), bool(truncated), info)
