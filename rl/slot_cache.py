"""A key-value cache with one row per slot, each of its own length: rows are filled, kept and reused apart.

The cache of `transformers` gives all rows one length. Here a row keeps its own, so a slot's keys and values
live on from turn to turn while other slots begin new episodes. The model needs explicit position ids and a
four-dimensional mask with it; `SlotDecoder` makes both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

_BLOCK = 128
"""Capacity grows in blocks of so many tokens."""


@dataclass
class Write:
    """Where the next keys and values go.

    Attributes:
        rows: (n,) the slots, or None for all of them in order.
        positions: (n, Q) in each slot.
        length: how many positions attention looks at.
        needed: how many positions there must be room for.
    """

    rows: Tensor | None
    positions: Tensor
    length: int
    needed: int


class SlotLayer(CacheLayerMixin):
    """One layer's keys and values, (slots, capacity, heads, head size) each."""

    is_sliding = False

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._slots = slots
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.write = Write(None, torch.zeros(slots, 1, dtype=torch.long), 0, 0)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make room like the first keys and values."""
        self.keys = self._grown(None, key_states)
        self.values = self._grown(None, value_states)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Write (n, heads, Q, size) keys and values where `write` says; return all that is attended to."""
        if self.keys is None or self.values is None:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None  # noqa: S101  just made
        assert self.values is not None  # noqa: S101
        if self.keys.shape[1] < self.write.needed:
            self.keys, self.values = (
                self._grown(self.keys, key_states),
                self._grown(self.values, value_states),
            )
        return self._put(self.keys, key_states), self._put(self.values, value_states)

    def _grown(self, old: Tensor | None, like: Tensor) -> Tensor:
        capacity = -(-self.write.needed // _BLOCK) * _BLOCK
        new = like.new_zeros(self._slots, capacity, like.shape[1], like.shape[3])
        if old is not None:
            new[:, : old.shape[1]] = old
        return new

    def _put(self, store: Tensor, states: Tensor) -> Tensor:
        rows, positions, length = self.write.rows, self.write.positions, self.write.length
        where = torch.arange(self._slots, device=store.device) if rows is None else rows
        store[where[:, None], positions] = states.transpose(1, 2)
        seen = store[:, :length] if rows is None else store[rows, :length]
        return seen.transpose(1, 2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys."""
        return self.write.length, 0

    def get_seq_length(self) -> int:
        """No row's in particular; callers give position ids."""
        return 0

    def get_max_length(self) -> int:
        """None: it grows."""
        return -1


class SlotCache(Cache):
    """The layers' caches."""

    def __init__(self, layers: int, slots: int) -> None:
        self.slots = slots
        self._slot_layers = [SlotLayer(slots) for _ in range(layers)]
        super().__init__(layers=list(self._slot_layers))

    def write_at(self, write: Write) -> None:
        """Say where the next forward pass writes."""
        for layer in self._slot_layers:
            layer.write = write
