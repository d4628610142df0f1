"""PPO of an MLP on CartPole, from the parts of `rl/`: learner, losses, advantages, drawing.

Networks, sizes and coefficients are those of Stable-Baselines3's `MlpPolicy` and of its zoo's settings for
CartPole, which its side of the comparison is given too.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from accelerate import Accelerator
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from kalie.rl.advantages import gae, whiten
from kalie.rl.decoder import draw
from kalie.rl.learner import Learner, Loss, OptimizerConfig
from kalie.rl.losses import clipped_policy_loss, clipped_value_loss

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CartPoleConfig:
    """Of both sides; the names are Stable-Baselines3's.

    Attributes:
        n_envs: environments side by side.
        n_steps: of each, in a rollout.
        batch_size: steps of a gradient step.
        n_epochs: passes over a rollout.
        gamma: discount.
        gae_lambda: of the advantages.
        clip_range: of the ratio.
        vf_coef: of the value loss.
        learning_rate: of Adam.
        max_grad_norm: longest gradient.
        seed: of everything.
    """

    n_envs: int = 8
    n_steps: int = 32
    batch_size: int = 256
    n_epochs: int = 20
    gamma: float = 0.98
    gae_lambda: float = 0.8
    clip_range: float = 0.2
    vf_coef: float = 0.5
    learning_rate: float = 1e-3
    max_grad_norm: float = 0.5
    seed: int = 0

    def plain(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)


class ActorCritic(nn.Module):
    """Two networks of two hidden layers of 64, with tanh and orthogonal first weights."""

    def __init__(self, inputs: int, actions: int) -> None:
        super().__init__()
        self.actor, self.critic = network(inputs, actions, 0.01), network(inputs, 1, 1.0)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, A) and values (n,) of n observations."""
        return self.actor(observations), self.critic(observations).squeeze(-1)


def network(inputs: int, outputs: int, last_gain: float) -> nn.Sequential:
    """One of them."""
    sizes, gains = (inputs, 64, 64, outputs), (2**0.5, 2**0.5, last_gain)
    layers: list[nn.Module] = []
    for (before, after), gain in zip(itertools.pairwise(sizes), gains, strict=True):
        linear = nn.Linear(before, after)
        nn.init.orthogonal_(linear.weight, gain)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class Steps(NamedTuple):
    """A rollout of T steps in each of N environments, (T, N) and (T, N, 4).

    `after` is the value of what came next: 0 where an episode terminated, and the last observation's own
    where a limit cut it. `ended` says that an episode did end.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.int64]
    log_probs: Floats
    values: Floats
    rewards: Floats
    after: Floats
    ended: NDArray[np.bool_]


class CartPolePPO:
    """The training, an iteration at a time.

    Args:
        config: of it.
    """

    def __init__(self, config: CartPoleConfig) -> None:
        torch.manual_seed(config.seed)
        self._config = config
        self._rng = np.random.default_rng(config.seed)
        self._envs = SyncVectorEnv(
            [lambda: gymnasium.make("CartPole-v1")] * config.n_envs, autoreset_mode=AutoresetMode.SAME_STEP
        )
        self._now: NDArray[np.float32] = self._envs.reset(seed=config.seed)[0]
        self._model = ActorCritic(4, 2)
        optimizer = OptimizerConfig(
            learning_rate=config.learning_rate, epsilon=1e-5, gradient_clip=config.max_grad_norm
        )
        self._learner = Learner(self._model, optimizer, Accelerator(cpu=True))
        self.episodes = 0

    def seconds(self, iterations: int) -> float:
        """CPU time of so many iterations."""
        begin = time.process_time()
        for _ in range(iterations):
            self.iterate()
        return time.process_time() - begin

    def iterate(self) -> None:
        """A rollout, and the epochs on it."""
        config, steps = self._config, self._rollout()
        advantages, returns = estimates(steps, config.gamma, config.gae_lambda)
        columns = (steps.observations, steps.actions, steps.log_probs, steps.values, advantages, returns)
        flat = [column.reshape(-1, *column.shape[2:]) for column in columns]
        count = config.n_envs * config.n_steps
        for _ in range(config.n_epochs):
            order = self._rng.permutation(count)
            for first in range(0, count, config.batch_size):
                batch = [column[order[first : first + config.batch_size]] for column in flat]
                self._learner.step([batch], self._loss, weight=len_of)

    @torch.no_grad()
    def _rollout(self) -> Steps:
        taken: list[tuple[NDArray[Any], ...]] = []
        for _ in range(self._config.n_steps):
            before = self._now
            logits, values = self._model(torch.from_numpy(before))
            uniforms = self._rng.random(self._config.n_envs, dtype=np.float32)
            actions, log_probs = (part.numpy() for part in draw(logits, uniforms, 1.0))
            self._now, rewards, terminated, truncated, info = self._envs.step(actions)
            after = np.full(self._config.n_envs, np.nan)
            after[terminated] = 0.0
            for index in np.flatnonzero(truncated & ~terminated):
                after[index] = float(self._value(info["final_obs"][index]))
            ended = terminated | truncated
            self.episodes += int(ended.sum())
            taken.append((before, actions, log_probs, values.numpy(), rewards, after, ended))
        steps = Steps(*(np.stack(column) for column in zip(*taken, strict=True)))
        steps.after[:-1] = np.where(steps.ended[:-1], steps.after[:-1], steps.values[1:])
        steps.after[-1] = np.where(steps.ended[-1], steps.after[-1], self._value(self._now).numpy())
        return steps

    def _value(self, observations: NDArray[np.float32]) -> Tensor:
        return self._model.critic(torch.from_numpy(observations)).squeeze(-1)

    def _loss(self, batch: list[NDArray[Any]]) -> Loss:
        observations, actions, log_probs, values, advantages, returns = batch
        now_logits, now_values = self._model(torch.from_numpy(observations))
        now = -functional.cross_entropy(now_logits, torch.from_numpy(actions), reduction="none")
        old, gain, known, wanted = (
            torch.from_numpy(column).float() for column in (log_probs, whiten(advantages), values, returns)
        )
        policy = clipped_policy_loss(now, old, gain, self._config.clip_range)
        # Twice: theirs is the mean square, without the half.
        value = 2 * clipped_value_loss(now_values, known, wanted, clip=0.0)
        loss = policy.loss + self._config.vf_coef * value
        metrics = {"policy": policy.loss, "value": value, "clipped": policy.clipped, "drift": policy.drift}
        return Loss(loss, len_of(batch), metrics)


def estimates(steps: Steps, gamma: float, lam: float) -> tuple[Floats, Floats]:
    """Advantages and returns, (T, N) each: of every piece of an episode by itself."""
    advantages, returns = np.empty_like(steps.after), np.empty_like(steps.after)
    for env in range(steps.after.shape[1]):
        ends = np.flatnonzero(steps.ended[:, env]) + 1
        for first, last in itertools.pairwise(sorted({0, *ends.tolist(), len(steps.after)})):
            piece = slice(first, last), env
            # The value of what follows is 0 where an episode terminated: nothing more to tell `gae`.
            advantages[piece], returns[piece] = gae(
                steps.rewards[piece],
                steps.values[piece],
                float(steps.after[last - 1, env]),
                False,
                gamma,
                lam,
            )
    return advantages, returns


def len_of(batch: list[NDArray[Any]]) -> float:
    """Steps of a batch."""
    return float(len(batch[0]))
