"""A key-value cache with one row per slot, each of its own length: rows are filled, kept and reused apart.

The cache of `transformers` gives all rows one length. Here a row keeps its own, so a slot's keys and values
live on from turn to turn while other slots begin new episodes. The model needs explicit position ids and a
four-dimensional mask with it; `SlotDecoder` makes both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

_BLOCK = 128
"""Capacity grows in blocks of so many tokens."""


@dataclass
class Write:
    """Where the next keys and values go.

    Attributes:
        rows: (n,) the slots, or None for all of them in order.
        places: (n Q,) rows of the flattened (slots x capacity) store.
        length: how many positions attention looks at.
        capacity: how many positions a slot has.
    """

    rows: Tensor | None
    places: Tensor
    length: int
    capacity: int


class SlotLayer(CacheLayerMixin):
    """One layer's keys and values, (slots, capacity, heads, head size) each."""

    is_sliding = False

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._slots = slots
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.write = Write(None, torch.zeros(0, dtype=torch.long), 0, 0)

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
        if self.keys.shape[1] < self.write.capacity:
            self.keys, self.values = (
                self._grown(self.keys, key_states),
                self._grown(self.values, value_states),
            )
        return self._put(self.keys, key_states), self._put(self.values, value_states)

    def _grown(self, old: Tensor | None, like: Tensor) -> Tensor:
        new = like.new_zeros(self._slots, self.write.capacity, like.shape[1], like.shape[3])
        if old is not None:
            new[:, : old.shape[1]] = old
        return new

    def _put(self, store: Tensor, states: Tensor) -> Tensor:
        rows, length = self.write.rows, self.write.length
        # One copy by a single index: what indexing by slot and position would cost many times over.
        store.flatten(0, 1).index_copy_(0, self.write.places, states.transpose(1, 2).flatten(0, 1))
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
    """The layers' caches.

    Args:
        layers: how many.
        slots: rows of each.
        device: of the keys and values.
    """

    def __init__(self, layers: int, slots: int, device: torch.device) -> None:
        self.slots = slots
        self._device = device
        self._capacity = 0
        self._slot_layers = [SlotLayer(slots) for _ in range(layers)]
        super().__init__(layers=list(self._slot_layers))

    def write_at(self, rows: NDArray[np.int64] | None, positions: NDArray[np.int64], length: int) -> None:
        """Say where the next forward pass writes.

        Args:
            rows: (n,) the slots, or None for all of them in order.
            positions: (n, Q) in each slot.
            length: how many positions attention looks at.
        """
        self._capacity = max(self._capacity, -(-int(positions.max() + 1) // _BLOCK) * _BLOCK)
        chosen = np.arange(self.slots) if rows is None else rows
        places = torch.from_numpy(chosen[:, None] * self._capacity + positions).flatten().to(self._device)
        where = None if rows is None else torch.from_numpy(rows).to(self._device)
        write = Write(where, places, length, self._capacity)
        for layer in self._slot_layers:
            layer.write = write
