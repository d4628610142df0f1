"""A policy's network with slots: each remembers the keys and values of what it has read and written.

slots = np.array([0, 3])
hidden = model.read(slots, [prompt_a, prompt_b])    # only what differs from what the slots know is computed
hidden = model.step(slots, np.array([token_a, token_b]))
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .images import Image
from .policy import Policy
from .prompts import Ids, Prompt
from .slot_cache import SlotCache

Indices = NDArray[np.int64]


class SlotModel:
    """The policy's network over slots.

    Args:
        policy: whose network it is.
        slots: how many.
        reuse: whether slots keep what they know from one prompt to the next.
    """

    def __init__(self, policy: Policy, slots: int, reuse: bool = True) -> None:
        self._policy = policy
        self._count = slots
        self._reuse = reuse
        self._layers = int(policy.backbone.config.get_text_config().num_hidden_layers)
        self._dtype = policy.head.weight.dtype
        self.tokens_read = 0
        self.forget()

    def forget(self) -> None:
        """Drop everything: the weights have changed."""
        self._cache = SlotCache(self._layers, self._count, self._policy.device)
        # The tokens whose keys and values are in the cache, the first `_lengths` of each slot's row.
        self._ids: Ids = np.zeros((self._count, 0), dtype=np.int64)
        self._lengths: Indices = np.zeros(self._count, dtype=np.int64)
        # How far three-coordinate positions run ahead of the token count.
        self._shifts: Indices = np.zeros(self._count, dtype=np.int64)
        self._images: list[tuple[Image, ...]] = [()] * self._count

    def read(self, slots: Indices, prompts: Sequence[Prompt]) -> Tensor:
        """Read prompts from where they are new; the last hidden states, (n, hidden)."""
        starts = [self._known_prefix(slot, prompt) for slot, prompt in zip(slots, prompts, strict=True)]
        news = [prompt.ids[start:] for prompt, start in zip(prompts, starts, strict=True)]
        lengths = np.array([len(new) for new in news])
        self.tokens_read += int(lengths.sum())
        ids = np.full((len(slots), int(lengths.max())), self._policy.pad, dtype=np.int64)
        for row, new in enumerate(news):
            ids[row, : len(new)] = new
        positions = np.array(starts)[:, None] + np.arange(ids.shape[1])
        for slot, prompt in zip(slots, prompts, strict=True):
            self._remember(slot, prompt)
        turned = self._three_coordinates(slots, prompts, positions)
        pixels = self._new_pixels(prompts, news)
        seen = max(len(prompt.ids) for prompt in prompts)
        hidden = self._forward(slots, ids, positions, seen, turned, pixels)
        return hidden[torch.arange(len(slots)), torch.from_numpy(lengths - 1)]

    def step(self, slots: Indices, tokens: Ids) -> Tensor:
        """Write one more token, of (n,), in each of n slots; the hidden states, (n, hidden)."""
        whole = 2 * len(slots) > self._count
        rows = np.arange(self._count) if whole else slots
        places = slots if whole else np.arange(len(slots))
        ids = np.full((len(rows), 1), self._policy.pad, dtype=np.int64)
        ids[places, 0] = tokens
        # Of a slot with nothing to write, the place after its last token is overwritten: nobody reads it.
        positions = self._lengths[rows, None]
        turned = torch.from_numpy(positions + self._shifts[rows, None])
        seen = int(self._lengths[slots].max()) + 1
        self._make_room(seen)
        self._ids[slots, self._lengths[slots]] = tokens
        self._lengths[slots] += 1
        hidden = self._forward(None if whole else rows, ids, positions, seen, turned, {})[:, 0]
        return hidden if len(slots) == len(rows) else hidden[torch.from_numpy(places)]

    def _remember(self, slot: int | np.int64, prompt: Prompt) -> None:
        """Note that a slot knows a prompt."""
        length = len(prompt.ids)
        self._make_room(length)
        self._ids[slot, :length] = prompt.ids
        self._lengths[slot] = length
        self._images[slot] = prompt.images

    def _make_room(self, length: int) -> None:
        """For so many tokens in every slot."""
        if self._ids.shape[1] < length:
            more = np.zeros((self._count, length), dtype=np.int64)  # as many again, and those
            self._ids = np.concatenate([self._ids, more], axis=1)

    def _forward(
        self,
        rows: Indices | None,
        ids: Ids,
        positions: Indices,
        seen: int,
        turned: Tensor,
        pixels: dict[str, Tensor],
    ) -> Tensor:
        """One pass of the network; hidden states (n, Q, hidden) on the CPU's indices.

        Args:
            rows: the slots, or None for all.
            ids: (n, Q).
            positions: (n, Q) in the cache.
            seen: how many positions of the cache are looked at.
            turned: positions as the rotary embedding takes them.
            pixels: of images whose placeholders are in `ids`.
        """
        device = self._policy.device
        where = torch.from_numpy(positions).to(device)
        hidden = torch.arange(seen, device=device) > where[:, None, :, None]
        # What is added to the scores: every kind of attention takes that, and no layer has to convert it.
        mask = torch.zeros(hidden.shape, dtype=self._dtype, device=device).masked_fill_(hidden, -torch.inf)
        self._cache.write_at(rows, positions, seen)
        out = self._policy.backbone(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=mask,
            position_ids=turned.to(device),
            past_key_values=self._cache,
            use_cache=True,
            **{name: value.to(device) for name, value in pixels.items()},
        )
        return out.last_hidden_state

    def _known_prefix(self, slot: int | np.int64, prompt: Prompt) -> int:
        """How many leading tokens of a prompt the slot knows; never all of them, nor half an image."""
        if not self._reuse:
            return 0
        most = min(int(self._lengths[slot]), len(prompt.ids) - 1)
        differing = np.flatnonzero(self._ids[slot, :most] != prompt.ids[:most])
        common = int(differing[0]) if differing.size else most
        images = self._policy.images
        if images is None:
            return common
        same = 0
        for mine, wanted in zip(self._images[slot], prompt.images, strict=False):
            if mine is not wanted:
                break
            same += 1
        places = np.flatnonzero(prompt.ids == images.token)
        size = images.placeholder.count(images.token)
        whole = min(same, int((places < common).sum()) // size) * size
        return min(common, int(places[whole])) if whole < len(places) else common

    def _new_pixels(self, prompts: Sequence[Prompt], news: Sequence[Ids]) -> dict[str, Tensor]:
        """The images that stand in the new parts of the prompts, which are each one's last."""
        images = self._policy.images
        if images is None:
            return {}
        size = images.placeholder.count(images.token)
        shown: list[Image] = []
        for prompt, new in zip(prompts, news, strict=True):
            count = int((new == images.token).sum()) // size
            shown += prompt.images[len(prompt.images) - count :]
        return images.collate([images.encode(image) for image in shown])

    def _three_coordinates(self, slots: Indices, prompts: Sequence[Prompt], positions: Indices) -> Tensor:
        """Positions for the rotary embedding, (n, Q), or (3, n, Q) where a model has three coordinates."""
        images = self._policy.images
        if images is None or not self._policy.rotates_in_three:
            return torch.from_numpy(positions)
        out = torch.from_numpy(positions).expand(3, *positions.shape).clone()
        for row, (slot, prompt) in enumerate(zip(slots, prompts, strict=True)):
            ids = torch.from_numpy(prompt.ids)[None]
            grid = images.collate([images.encode(image) for image in prompt.images])
            whole, _ = self._policy.backbone.get_rope_index(
                ids, (ids == images.token).int(), image_grid_thw=grid.get("image_grid_thw")
            )
            start = int(positions[row, 0])
            part = whole[:, 0, start:]
            out[:, row, : part.shape[1]] = part
            self._shifts[slot] = int(whole.max()) + 1 - len(prompt.ids)
        return out
