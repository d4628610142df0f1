"""Values of collected episodes under a critic, the state after a truncated end included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from .base_policy import BasePolicy
from .batches import Row, by_size
from .critic import ActorCritic, UtteranceCritic
from .samples import Numbers, final_prompt, make_samples, prompt_row
from .types import Trajectory


class Valuer(Protocol):
    """A critic as those see it who store or show episodes."""

    @property
    def module(self) -> nn.Module:
        """Whose weights are saved beside the policy's."""
        ...

    def values(self, trajectories: Sequence[Trajectory]) -> list[Numbers]:
        """Of each episode its states' values in order, and that of the state after it (0 if it terminated).

        Returns:
            float64 (S + 1,) each, S its number of turns or of response tokens.
        """
        ...


@dataclass(frozen=True)
class StateValuer:
    """The value head of an actor-critic; see `Valuer`.

    Attributes:
        critic: with a value per turn or per token.
        micro_turns: of a forward pass.
    """

    critic: ActorCritic
    micro_turns: int

    @property
    def module(self) -> nn.Module:
        """The head."""
        return self.critic.value

    def values(self, trajectories: Sequence[Trajectory]) -> list[Numbers]:
        """See `Valuer`."""
        return state_values(self.critic, trajectories, self.micro_turns)


@dataclass(frozen=True)
class UtteranceValuer:
    """An utterance critic's value of each turn's state, the smaller of its two heads'; see `Valuer`.

    Attributes:
        module: the critic.
        policy: that the episodes were played with.
        micro_turns: of a forward pass.
    """

    module: UtteranceCritic
    policy: BasePolicy
    micro_turns: int

    @torch.no_grad()
    def values(self, trajectories: Sequence[Trajectory]) -> list[Numbers]:
        """See `Valuer`."""
        states = [turn.prompt_ids for one in trajectories for turn in one.turns]
        cut = [index for index, one in enumerate(trajectories) if not one.turns[-1].terminated]
        after = [final_prompt(self.policy, trajectories[index]).ids for index in cut]
        every = [*states, *after]
        parts = [every[first : first + self.micro_turns] for first in range(0, len(every), self.micro_turns)]
        found = [self.module(part, None).v.min(dim=0).values.double().cpu().numpy() for part in parts]
        values = np.concatenate(found)
        last = dict(zip(cut, values[len(states) :], strict=True))
        ends = np.cumsum([len(one.turns) for one in trajectories])
        return [
            np.append(own, last.get(index, 0.0))
            for index, own in enumerate(np.split(values[: len(states)], ends[:-1]))
        ]


def state_values(critic: ActorCritic, trajectories: Sequence[Trajectory], micro_turns: int) -> list[Numbers]:
    """Of each episode: the values of its states in order, and of the state after it (0 where it terminated).

    Args:
        critic: with a value per turn or per token.
        trajectories: the episodes.
        micro_turns: of a forward pass.

    Returns:
        float64 (S + 1,) each, S its number of turns or of response tokens.
    """
    policy = critic.policy
    own = [[s.row for s in make_samples(one, policy.window)] for one in trajectories]
    cut = [index for index, one in enumerate(trajectories) if not one.turns[-1].terminated]
    after = [prompt_row(final_prompt(policy, trajectories[index]), policy.pad) for index in cut]
    values = iter(_row_values(critic, [row for rows in own for row in rows] + after, micro_turns))
    states = [np.concatenate([next(values) for _ in rows]) for rows in own]
    last = dict(zip(cut, values, strict=True))
    return [np.append(value, last.get(index, np.zeros(1))) for index, value in enumerate(states)]


@torch.no_grad()
def _row_values(critic: ActorCritic, rows: Sequence[Row], micro_turns: int) -> list[Numbers]:
    """The values of each row's turns or tokens."""
    # Rows of similar length side by side, so that little of a batch is padding.
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
    found: dict[int, Numbers] = {}
    for part in by_size([rows[index] for index in order], micro_turns):
        chosen = [order[index] for index in part]
        batch = critic.policy.batch([rows[index] for index in chosen])
        values = critic(batch).values.double().cpu().numpy()
        counts = [critic.values_in(rows[index]) for index in chosen]
        found |= zip(chosen, np.split(values, np.cumsum(counts)[:-1]), strict=True)
    return [found[index] for index in range(len(rows))]
