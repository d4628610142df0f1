"""Turns as the padded rows of a batch, with the response tokens packed: no loss, no logits on anything else.

Rows are padded on the right, so position ids are right and, attention being causal, no padding can change a
response token's log-probability. Turns whose prompts continue each other share one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .images import Image, ImageEncoder, Pixels
from .prompts import Ids, shown_images
from .types import Trajectory, Turn


class Row(NamedTuple):
    """One sequence of tokens with the responses in it.

    Attributes:
        ids: int64 (T,).
        images: in the order of their placeholders.
        spans: (start, end) of each response in `ids`, in order.
    """

    ids: Ids
    images: tuple[Image, ...]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """B rows of T tokens that hold U turns with N response tokens in all.

    Attributes:
        input_ids: int64 (B, T), padded on the right.
        pixels: what the images add to the model's inputs.
        rows: (N,) the row of each response token.
        columns: (N,) its column.
        tokens: (N,) its id.
        turns: (N,) the turn that it belongs to, 0..U-1 ascending.
        starts: (U,) where each turn's tokens begin in the packed N.
    """

    input_ids: Tensor
    pixels: dict[str, Tensor]
    rows: Tensor
    columns: Tensor
    tokens: Tensor
    turns: Tensor
    starts: Tensor

    @property
    def n_turns(self) -> int:
        """U."""
        return int(self.starts.numel())

    def to(self, device: torch.device) -> TokenBatch:
        """The batch on a device."""
        names = ("input_ids", "rows", "columns", "tokens", "turns", "starts")
        moved = {name: getattr(self, name).to(device) for name in names}
        return replace(self, **moved, pixels={k: v.to(device) for k, v in self.pixels.items()})

    def per_turn(self, values: Tensor) -> Tensor:
        """Sums over each turn's tokens, (N,) -> (U,)."""
        return values.new_zeros(self.n_turns).index_add(0, self.turns, values)

    def mean_of_turns(self, values: Tensor) -> Tensor:
        """The mean over turns of the means over each turn's tokens, (N,) -> ().

        What is weighed by its turns is thereby the same in parts of a batch as in the whole of it, however
        many tokens they have.
        """
        return (self.per_turn(values) / self.per_turn(torch.ones_like(values))).mean()


def turn_row(turn: Turn, images: tuple[Image, ...]) -> Row:
    """One turn as a row of its own.

    Args:
        turn: the turn.
        images: that its prompt shows.
    """
    ids = np.concatenate([turn.prompt_ids, turn.response_ids])
    return Row(ids, images, ((len(turn.prompt_ids), len(ids)),))


def turn_rows(trajectory: Trajectory, window: int) -> list[Row]:
    """Every turn as a row of its own, in order.

    Args:
        trajectory: the episode.
        window: of the prompts that it was sampled with.
    """
    observations = [turn.observation for turn in trajectory.turns]
    return [
        turn_row(turn, shown_images(observations, index, window))
        for index, turn in enumerate(trajectory.turns)
    ]


def joined_rows(rows: Sequence[Row]) -> list[Row]:
    """Consecutive turns of one episode joined where the later prompt continues the earlier row."""
    joined: list[Row] = []
    for row in rows:
        if joined and _continues(row, joined[-1]):
            joined[-1] = Row(row.ids, row.images, joined[-1].spans + row.spans)
        else:
            joined.append(row)
    return joined


def _continues(row: Row, before: Row) -> bool:
    length = len(before.ids)
    return row.spans[0][0] >= length and np.array_equal(row.ids[:length], before.ids)


def collate(
    rows: Sequence[Row],
    pad: int,
    images: ImageEncoder | None,
    encode: Callable[[Image], Pixels] | None = None,
) -> TokenBatch:
    """Rows as a batch.

    Args:
        rows: one or more.
        pad: id of the padding token.
        images: the model's encoder; None for one that sees none.
        encode: in the place of `images.encode`, such as a memory of it.

    Raises:
        ValueError: no rows, or a turn without a response token.
    """
    if not rows or any(end <= start for row in rows for start, end in row.spans):
        raise ValueError("a batch needs rows, and every turn one or more response tokens")
    ids = np.full((len(rows), max(len(row.ids) for row in rows)), pad, dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = row.ids
    spans = [(index, start, end) for index, row in enumerate(rows) for start, end in row.spans]
    lengths = np.array([end - start for _, start, end in spans])
    where = np.repeat([index for index, _, _ in spans], lengths)
    columns = np.concatenate([np.arange(start, end) for _, start, end in spans])
    return TokenBatch(
        input_ids=torch.from_numpy(ids),
        pixels=_pixels(rows, images, encode),
        rows=torch.from_numpy(where),
        columns=torch.from_numpy(columns),
        tokens=torch.from_numpy(ids[where, columns]),
        turns=torch.from_numpy(np.repeat(np.arange(len(spans)), lengths)),
        starts=torch.from_numpy(np.cumsum(lengths) - lengths),
    )


def _pixels(
    rows: Sequence[Row], images: ImageEncoder | None, encode: Callable[[Image], Pixels] | None
) -> dict[str, Tensor]:
    if images is None:
        return {}
    encode = encode or images.encode
    return images.collate([encode(image) for row in rows for image in row.images])


def by_size(
    rows: Sequence[Row], turns: int, shuffle: np.random.Generator | None = None
) -> Iterator[list[int]]:
    """Indices of rows in batches of about `turns` turns each.

    Args:
        rows: to be divided.
        turns: a batch is full once it has as many.
        shuffle: draws the order; None keeps it.
    """
    order = np.arange(len(rows)) if shuffle is None else shuffle.permutation(len(rows))
    batch: list[int] = []
    count = 0
    for index in order.tolist():
        batch.append(index)
        count += len(rows[index].spans)
        if count >= turns:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch
