"""What on-policy updates are made of: rows with the numbers that belong to their turns and tokens."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .base_policy import BasePolicy
from .batches import Row, TokenBatch, by_size, joined_rows, turn_rows
from .prompts import Ids, Prompt
from .types import Trajectory

Numbers = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Sample:
    """A row and its numbers.

    Attributes:
        row: one or more turns of an episode.
        values: by name, one number per turn or one per response token, in the row's order.
    """

    row: Row
    values: Mapping[str, Numbers]


@dataclass(frozen=True, eq=False)
class SampleBatch:
    """Samples as tensors.

    Attributes:
        tokens: the rows.
        values: by name, (U,) or (N,) float32.
    """

    tokens: TokenBatch
    values: dict[str, Tensor]


def make_samples(
    trajectory: Trajectory,
    window: int,
    per_turn: Mapping[str, Numbers] | None = None,
    per_token: Mapping[str, Sequence[Numbers]] | None = None,
    join: bool = True,
) -> list[Sample]:
    """An episode's turns as samples.

    Args:
        trajectory: the episode, of T turns.
        window: of the prompts it was sampled with.
        per_turn: by name, (T,).
        per_token: by name, for each turn one array with a number per response token.
        join: whether turns whose prompts continue each other share a row.
    """
    rows = turn_rows(trajectory, window)
    samples: list[Sample] = []
    first = 0
    for row in joined_rows(rows) if join else rows:
        last = first + len(row.spans)
        values: dict[str, Numbers] = {name: all_[first:last] for name, all_ in (per_turn or {}).items()}
        for name, turns in (per_token or {}).items():
            values[name] = np.concatenate(turns[first:last])
        samples.append(Sample(row, values))
        first = last
    return samples


def batch_samples(policy: BasePolicy, samples: Sequence[Sample]) -> SampleBatch:
    """Samples as one batch on the policy's device."""
    tokens = policy.batch([sample.row for sample in samples])
    values = {
        name: torch.from_numpy(np.concatenate([sample.values[name] for sample in samples])).float()
        for name in samples[0].values
    }
    return SampleBatch(tokens, {name: value.to(policy.device) for name, value in values.items()})


def with_reference(
    policy: BasePolicy, samples: Sequence[Sample], micro_turns: int, temperature: float
) -> list[Sample]:
    """The samples with `reference_log_prob` of each response token under the policy's reference.

    Args:
        policy: that keeps a reference.
        samples: in any order, which is kept.
        micro_turns: of a forward pass.
        temperature: of the sampling.
    """
    scored: list[Sample] = []
    for indices in by_size([sample.row for sample in samples], micro_turns):
        part = [samples[index] for index in indices]
        batch = policy.batch([sample.row for sample in part])
        log_probs = policy.reference_scores(batch, temperature).log_probs.cpu().numpy()
        lengths = [sum(end - start for start, end in sample.row.spans) for sample in part]
        divided = np.split(log_probs, np.cumsum(lengths)[:-1])
        scored += [
            Sample(sample.row, {**sample.values, "reference_log_prob": own})
            for sample, own in zip(part, divided, strict=True)
        ]
    return scored


def step_batches(
    samples: Sequence[Sample],
    turns: int,
    micro_turns: int,
    rng: np.random.Generator,
    epochs: int | None = 1,
) -> Iterator[list[list[Sample]]]:
    """Batches for optimiser steps, each divided into micro-batches, in a new order every epoch.

    Args:
        samples: to be divided.
        turns: about so many for a step.
        micro_turns: about so many for a forward pass.
        rng: draws the orders.
        epochs: passes over the samples; None goes on for ever (but ends at once without samples).
    """
    rows = [sample.row for sample in samples]
    passes = range(epochs) if epochs is not None else itertools.count() if samples else ()
    for indices in (indices for _ in passes for indices in by_size(rows, turns, rng)):
        # Rows of similar length side by side, so that little of a micro-batch is padding.
        ordered = sorted(indices, key=lambda index: len(rows[index].ids))
        parts = by_size([rows[index] for index in ordered], micro_turns)
        yield [[samples[ordered[index]] for index in part] for part in parts]


def turns_of(samples: Sequence[Sample]) -> float:
    """How many turns samples hold."""
    return float(sum(len(sample.row.spans) for sample in samples))


def tokens_of(samples: Sequence[Sample]) -> float:
    """How many response tokens samples hold."""
    return float(sum(end - start for sample in samples for start, end in sample.row.spans))


def final_prompt(policy: BasePolicy, trajectory: Trajectory) -> Prompt:
    """The prompt that a truncated episode would have gone on with."""
    conversation = policy.conversation()
    for turn in trajectory.turns:
        conversation.observe(turn.observation)
        conversation.respond(turn.response_ids.tolist(), turn.text)
    return conversation.observe(trajectory.final_observation)


def prompt_row(prompt: Prompt, pad: int) -> Row:
    """A prompt as a row whose only response token is padding: for what depends on the prompt alone."""
    ids: Ids = np.append(prompt.ids, pad)
    return Row(ids, prompt.images, ((len(prompt.ids), len(ids)),))
