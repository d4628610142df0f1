"""Values of collected episodes under an `ActorCritic`, the state after a truncated end included."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .batches import Row, by_size
from .critic import ActorCritic
from .samples import Numbers, final_prompt, make_samples, prompt_row
from .types import Trajectory


def state_values(
    critic: ActorCritic, trajectories: Sequence[Trajectory], temperature: float, micro_turns: int
) -> list[Numbers]:
    """Of each episode: the values of its states in order, and of the state after it (0 where it terminated).

    Args:
        critic: with a value per turn or per token.
        trajectories: the episodes.
        temperature: of the sampling.
        micro_turns: of a forward pass.

    Returns:
        float64 (S + 1,) each, S its number of turns or of response tokens.
    """
    policy = critic.policy
    own = [[s.row for s in make_samples(one, policy.config.window)] for one in trajectories]
    cut = [index for index, one in enumerate(trajectories) if not one.turns[-1].terminated]
    after = [prompt_row(final_prompt(policy, trajectories[index]), policy.pad) for index in cut]
    values = iter(
        _row_values(critic, [row for rows in own for row in rows] + after, temperature, micro_turns)
    )
    states = [np.concatenate([next(values) for _ in rows]) for rows in own]
    last = dict(zip(cut, values, strict=True))
    return [np.append(value, last.get(index, np.zeros(1))) for index, value in enumerate(states)]


@torch.no_grad()
def _row_values(
    critic: ActorCritic, rows: Sequence[Row], temperature: float, micro_turns: int
) -> list[Numbers]:
    """The values of each row's turns or tokens."""
    # Rows of similar length side by side, so that little of a batch is padding.
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
    found: dict[int, Numbers] = {}
    for part in by_size([rows[index] for index in order], micro_turns):
        chosen = [order[index] for index in part]
        batch = critic.policy.batch([rows[index] for index in chosen])
        values = critic(batch, temperature).values.double().cpu().numpy()
        counts = [critic.values_in(rows[index]) for index in chosen]
        found |= zip(chosen, np.split(values, np.cumsum(counts)[:-1]), strict=True)
    return [found[index] for index in range(len(rows))]


def explained_variance(values: Numbers, returns: Numbers) -> float:
    """1 - var(returns - values) / var(returns); 0 where returns do not vary."""
    spread = float(returns.var())
    return 1 - float((returns - values).var()) / spread if spread > 0 else 0.0
