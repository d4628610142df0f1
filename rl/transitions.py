"""Single turns as transitions of an utterance-level decision process: what off-policy critics read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .base_policy import BasePolicy
from .batches import Row
from .prompts import Ids, Prompt, shown_images
from .replay import Transition
from .samples import final_prompt
from .types import Trajectory


class Experience(NamedTuple):
    """Transitions as what critic and actor read; B each.

    Attributes:
        prompts: of the states.
        utterances: token ids of the actions.
        rewards: (B,).
        done: (B,) 1 where values are not bootstrapped.
        following: prompts of the next states (of a terminated end: the state itself, which does not count).
    """

    prompts: list[Prompt]
    utterances: list[Ids]
    rewards: Tensor
    done: Tensor
    following: list[Prompt]


def experience(policy: BasePolicy, transitions: Sequence[Transition], cap_is_terminal: bool) -> Experience:
    """Transitions put together."""
    prompts = [shown_prompt(one.trajectory, one.index, policy.window) for one in transitions]
    done = [one.turn.terminated or (cap_is_terminal and one.turn.truncated) for one in transitions]
    following = [
        prompt if over else _following(policy, one)
        for one, prompt, over in zip(transitions, prompts, done, strict=True)
    ]
    return Experience(
        prompts,
        [one.turn.response_ids for one in transitions],
        torch.tensor([one.turn.reward for one in transitions]),
        torch.tensor([float(over) for over in done]),
        following,
    )


def _following(policy: BasePolicy, transition: Transition) -> Prompt:
    if transition.last:
        return final_prompt(policy, transition.trajectory)
    return shown_prompt(transition.trajectory, transition.index + 1, policy.window)


def shown_prompt(trajectory: Trajectory, turn: int, window: int) -> Prompt:
    """The prompt that a turn was sampled with, its images put back."""
    observations = [one.observation for one in trajectory.turns]
    return Prompt(trajectory.turns[turn].prompt_ids, shown_images(observations, turn, window))


def response_row(prompt: Prompt, ids: Ids) -> Row:
    """A prompt and a response to it as a row."""
    whole = np.concatenate([prompt.ids, ids])
    return Row(whole, prompt.images, ((len(prompt.ids), len(whole)),))
