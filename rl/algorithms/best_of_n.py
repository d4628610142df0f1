"""Best of n (CHAI): a frozen policy proposes, the utterance critic of ArCHer chooses (Verma et al. 2022).

a = argmax over n samples a_i ~ pi(.|s) of min_k Qbar_k(s, a_i);   V_k is fitted to the chosen utterance
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from ...core.ranges import at_least
from ..algorithm import Tools
from ..base_policy import BasePolicy
from ..decoder import Response
from ..executors import LocalExecutor
from ..generation import Capability, Generator, GeneratorConfig, make_generator, respond_all
from ..prompts import Ids, Prompt
from .archer import Archer, ArcherConfig

# ------------------------------------------------------------------ config


@dataclass(frozen=True)
class BestOfNConfig:
    """Best-of-n re-ranking.

    Attributes:
        samples: proposals for each response (published: 5).
        critic: how its critic learns; the actor's settings are not used.
    """

    samples: int = 5
    critic: ArcherConfig = field(default_factory=ArcherConfig)

    def __post_init__(self) -> None:
        at_least(self, 1, "samples")


# ------------------------------------------------------------------ choice


class BestOfN:
    """A generator that gives the best of several responses of another; see `generation.Generator`.

    Args:
        inner: proposes; has `samples` times as many slots.
        critic: judges.
        samples: proposals for each response.
    """

    def __init__(self, inner: Generator, critic: nn.Module, samples: int) -> None:
        self._inner = inner
        self._critic = critic
        self._samples = samples
        self.slots = inner.slots // samples
        self._prompts: dict[int, Prompt] = {}
        self._proposals: dict[int, dict[int, Response]] = {}

    @property
    def tokens_sampled(self) -> int:
        """Of all proposals."""
        return self._inner.tokens_sampled

    @property
    def tokens_read(self) -> int:
        """Prompt tokens computed."""
        return self._inner.tokens_read

    def restart(self) -> None:
        """Forget what was read and proposed."""
        self._inner.restart()
        self._prompts, self._proposals = {}, {}

    def submit(self, slot: int, prompt: Prompt, rng: np.random.Generator) -> None:
        """Ask for the proposals."""
        self._prompts[slot] = prompt
        for number in range(self._samples):
            self._inner.submit(slot * self._samples + number, prompt, rng)

    def poll(self) -> list[tuple[int, Response]]:
        """Wait until all proposals for at least one response are there; the best of each."""
        while True:
            for place, response in self._inner.poll():
                slot, number = divmod(place, self._samples)
                self._proposals.setdefault(slot, {})[number] = response
            whole = sorted(s for s, found in self._proposals.items() if len(found) == self._samples)
            if whole:
                return [(slot, self._choose(slot)) for slot in whole]

    def _choose(self, slot: int) -> Response:
        found = self._proposals.pop(slot)
        responses = [found[number] for number in range(self._samples)]
        return responses[best(self._critic, self._prompts.pop(slot), [one.ids for one in responses])]


def make_chooser(config: GeneratorConfig, policy: BasePolicy, critic: nn.Module, samples: int) -> BestOfN:
    """A generator of the best of `samples` responses, as many at a time as a plain one of that config."""
    wide = replace(config, slots=config.slots * samples)
    return BestOfN(make_generator(wide, policy), critic, samples)


@torch.no_grad()
def best(critic: nn.Module, prompt: Prompt, utterances: Sequence[Ids]) -> int:
    """The index of the utterance with the largest min_k Q_k."""
    values = critic([prompt.ids] * len(utterances), utterances)
    return int(values.q.min(dim=0).values.argmax())


# ------------------------------------------------------------------ algorithm


class BestOfNChooser(Archer):
    """ArCHer's critic with an actor that never learns, acting through `BestOfN`."""

    needs: ClassVar[tuple[Capability, ...]] = ("token_ids", "own_weights")

    def __init__(self, config: BestOfNConfig, tools: Tools) -> None:
        super().__init__(config.critic, tools)
        self.chooser = make_chooser(tools.job.generator, tools.policy, self.target, config.samples)
        tools.collector.use(LocalExecutor(tools.job, tools.policy, self.chooser))

    def update(self, update: int) -> dict[str, float]:
        """Critic steps only."""
        self._critic_learner.set_rate(update, self._tools.updates)
        figures = self._critic_steps(self._tools.rng("best_of_n", update))
        self.critic.forget()
        return figures

    def _respond(self, prompts: Sequence[Prompt], rngs: Sequence[np.random.Generator]) -> list[Ids]:
        """The chosen utterance in each state."""
        return [response.ids for response in respond_all(self.chooser, prompts, rngs)]
