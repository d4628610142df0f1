"""The config group `executor`: where rollouts run; here (`local`), or in processes of a Ray cluster (`ray`).

An episode is a function of its seed and the weights, so both give the same trajectories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from ..core.config import ConfigError
from ..core.ranges import at_least
from .env_host import MakeEnv
from .generation import Generator, GeneratorConfig, make_generator
from .models import ModelConfig
from .policy import Policy
from .rollout import Episode, Finished, RolloutConfig, RolloutCounts, RolloutEngine


@dataclass(frozen=True)
class LocalExecutorConfig:
    """Rollouts in this process: environments in threads, all responses from one batch."""


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

    def __init__(self, job: RolloutJob, policy: Policy, generator: Generator | None = None) -> None:
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


def make_executor(config: ExecutorConfig, job: RolloutJob, policy: Policy) -> Executor:
    """The executor of a config.

    Raises:
        MissingPackageError: Ray is not installed.
    """
    if isinstance(config, LocalExecutorConfig):
        return LocalExecutor(job, policy)
    from .ray_executor import RayExecutor

    return RayExecutor(config, job, policy)


def check_executor(config: ExecutorConfig, counts_turns: bool) -> None:
    """Refuse what an executor cannot do.

    Raises:
        ConfigError: a collection that ends with a number of turns would depend on the workers' speed.
    """
    if isinstance(config, RayExecutorConfig) and counts_turns:
        raise ConfigError(
            "executor=ray collects whole episodes, so that its result does not depend on which worker is "
            "faster; set algorithm.episodes instead of algorithm.turns, or executor=local"
        )
