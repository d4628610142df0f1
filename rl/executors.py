"""The config group `executor`: where rollouts run; on this machine (`local`), or on a Ray cluster (`ray`).

An episode is a function of its seed and the weights, so both give the same trajectories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

import torch

from ..core.config import ConfigError
from ..core.ranges import at_least
from .base_policy import BasePolicy
from .env_host import MakeEnv
from .generation import Generator, GeneratorConfig, make_generator
from .models import ModelConfig
from .rollout import Episode, Finished, RolloutConfig, RolloutCounts, RolloutEngine


@dataclass(frozen=True)
class LocalExecutorConfig:
    """Rollouts on this machine; a worker process that dies is replaced.

    Attributes:
        processes: 1 runs environments in threads of this process; more are workers, each with its own copy of
            the policy and its own slots.
        replacements: how many workers may die in one collection before the job stops.
    """

    processes: int = 1
    replacements: int = 3

    def __post_init__(self) -> None:
        at_least(self, 1, "processes")
        at_least(self, 0, "replacements")


@dataclass(frozen=True)
class RayExecutorConfig:
    """Rollouts in processes of a Ray cluster (the extra `ray`); a worker that dies is replaced.

    Attributes:
        workers: how many; each has its own copy of the policy and its own slots.
        address: of a running cluster; empty starts one on this machine.
        cpus: of a worker.
        gpus: of a worker.
        replacements: how many workers may die in one collection before the job stops.
    """

    workers: int = 2
    address: str = ""
    cpus: float = 1.0
    gpus: float = 0.0
    replacements: int = 3

    def __post_init__(self) -> None:
        at_least(self, 1, "workers")
        at_least(self, 0, "cpus", "gpus", "replacements")


ExecutorConfig: TypeAlias = LocalExecutorConfig | RayExecutorConfig
EXECUTORS: dict[str, type] = {"local": LocalExecutorConfig, "ray": RayExecutorConfig}
"""The choices of the config group `executor`."""


@dataclass(frozen=True)
class RolloutJob:
    """All that a process needs to run episodes.

    Attributes:
        model: of the policy.
        seed: of its weights.
        generator: of its responses.
        rollout: how environments are run.
        make_env: builds one.
        env: its id.
    """

    model: ModelConfig
    seed: int
    generator: GeneratorConfig
    rollout: RolloutConfig
    make_env: MakeEnv
    env: str


@dataclass
class Usage:
    """What a run of episodes took.

    Attributes:
        counts: failures and turns.
        tokens_sampled: of all responses.
        tokens_read: prompt tokens computed.
    """

    counts: RolloutCounts = field(default_factory=RolloutCounts)
    tokens_sampled: int = 0
    tokens_read: int = 0

    def add(self, other: Usage) -> None:
        """Add another worker's."""
        self.counts.begun += other.counts.begun
        self.counts.turns += other.counts.turns
        self.counts.retried += other.counts.retried
        self.counts.given_up += other.counts.given_up
        self.tokens_sampled += other.tokens_sampled
        self.tokens_read += other.tokens_read


def sum_of(usages: Iterable[Usage]) -> Usage:
    """What several workers took together."""
    whole = Usage()
    for usage in usages:
        whole.add(usage)
    return whole


More: TypeAlias = "Callable[[RolloutCounts], bool] | None"


class Executor(Protocol):
    """Runs episodes with the policy's present weights."""

    usage: Usage

    def run(self, episodes: Iterable[Episode], more: More = None) -> Iterator[Finished]:
        """Run episodes and yield each as it ends; `usage` is then of this run.

        Args:
            episodes: to be run.
            more: asked before each whether to begin it; None begins all.
        """
        ...

    def close(self) -> None:
        """End environments and workers."""
        ...


class LocalExecutor:
    """An engine in this process.

    Args:
        job: what to run.
        policy: that answers.
        generator: that samples its answers; None for the job's.
    """

    def __init__(self, job: RolloutJob, policy: BasePolicy, generator: Generator | None = None) -> None:
        self.usage = Usage()
        self._generator = generator or make_generator(job.generator, policy)
        self._engine = RolloutEngine(job.make_env, policy, self._generator, job.rollout, job.env)

    def run(self, episodes: Iterable[Episode], more: More = None) -> Iterator[Finished]:
        """See `Executor`."""
        sampled, read = self._generator.tokens_sampled, self._generator.tokens_read
        yield from self._engine.run(episodes, more)
        self.usage = Usage(
            self._engine.counts,
            self._generator.tokens_sampled - sampled,
            self._generator.tokens_read - read,
        )

    def close(self) -> None:
        """Close the environments."""
        self._engine.close()


def make_executor(config: ExecutorConfig, job: RolloutJob, policy: BasePolicy) -> Executor:
    """The executor of a config.

    Raises:
        MissingPackageError: Ray is not installed.
    """
    if in_this_process(config):
        return LocalExecutor(job, policy)
    from .worker_executor import WorkerExecutor

    if isinstance(config, LocalExecutorConfig):
        from .process_executor import ProcessWorkers

        count = config.processes
        near = replace(job, model=replace(job.model, device=str(policy.device)))
        workers = ProcessWorkers(near, max(1, torch.get_num_threads() // count))
    else:
        from .ray_executor import RayWorkers

        count = config.workers
        workers = RayWorkers(config, job)
    return WorkerExecutor(workers, count, config.replacements, job.generator.slots, policy)


def in_this_process(config: ExecutorConfig) -> bool:
    """Whether rollouts run in this very process."""
    return isinstance(config, LocalExecutorConfig) and config.processes == 1


def check_executor(config: ExecutorConfig, counts_turns: bool) -> None:
    """Refuse what an executor cannot do.

    Raises:
        ConfigError: a collection that ends with a number of turns would depend on the workers' speed.
    """
    if counts_turns and not in_this_process(config):
        which = "executor.processes" if isinstance(config, LocalExecutorConfig) else "executor=ray"
        raise ConfigError(
            f"{which}: worker processes collect whole episodes, so that the result does not depend on which "
            "is faster; set algorithm.episodes instead of algorithm.turns, or executor=local with one process"
        )
