"""A policy's network with slots: each remembers the keys and values of what it has read and written.

hidden = model.read([0, 3], [prompt_a, prompt_b])    # only what differs from what the slots know is computed
hidden = model.step([0, 3], [token_a, token_b])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .images import Image
from .policy import Policy
from .prompts import Ids, Prompt
from .slot_cache import SlotCache, Write


@dataclass
class _Slot:
    """What a slot knows.

    Attributes:
        ids: the tokens whose keys and values are in the cache; `written` more follow them.
        written: tokens of `step` since `ids` was read.
        images: those shown by `ids`.
        shift: how far three-coordinate positions run ahead of the token count.
    """

    ids: Ids = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    written: list[int] = field(default_factory=list)
    images: tuple[Image, ...] = ()
    shift: int = 0

    @property
    def length(self) -> int:
        return len(self.ids) + len(self.written)

    def known(self) -> Ids:
        return np.concatenate([self.ids, np.array(self.written, dtype=np.int64)])


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
        self.tokens_read = 0
        self.forget()

    def forget(self) -> None:
        """Drop everything: the weights have changed."""
        self._cache = SlotCache(self._layers, self._count)
        self._slots = [_Slot() for _ in range(self._count)]

    def read(self, slots: Sequence[int], prompts: Sequence[Prompt]) -> Tensor:
        """Read prompts from where they are new; the last hidden states, (n, hidden)."""
        starts = [self._known_prefix(self._slots[s], p) for s, p in zip(slots, prompts, strict=True)]
        news = [prompt.ids[start:] for prompt, start in zip(prompts, starts, strict=True)]
        lengths = np.array([len(new) for new in news])
        self.tokens_read += int(lengths.sum())
        ids = np.full((len(slots), int(lengths.max())), self._policy.pad, dtype=np.int64)
        for row, new in enumerate(news):
            ids[row, : len(new)] = new
        positions = np.array(starts)[:, None] + np.arange(ids.shape[1])
        seen = max(len(prompt.ids) for prompt in prompts)
        for slot, prompt in zip(slots, prompts, strict=True):
            self._slots[slot] = _Slot(prompt.ids, [], prompt.images)
        turned = self._three_coordinates(slots, prompts, positions)
        pixels = self._new_pixels(prompts, news)
        hidden = self._forward(list(slots), ids, positions, seen, turned, pixels)
        return hidden[torch.arange(len(slots)), torch.from_numpy(lengths - 1)]

    def step(self, slots: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Write one more token in each slot; the hidden states, (n, hidden)."""
        whole = 2 * len(slots) > self._count
        rows = list(range(self._count)) if whole else list(slots)
        ids = np.full((len(rows), 1), self._policy.pad, dtype=np.int64)
        # Of a slot with nothing to write, the place after its last token is overwritten: nobody reads it.
        positions = np.array([[self._slots[row].length] for row in rows])
        shifts = np.array([[self._slots[row].shift] for row in rows])
        places = list(slots) if whole else list(range(len(slots)))
        ids[places, 0] = tokens
        seen = max(self._slots[slot].length for slot in slots) + 1
        for slot, token in zip(slots, tokens, strict=True):
            self._slots[slot].written.append(token)
        turned = torch.from_numpy(positions + shifts)
        hidden = self._forward(None if whole else rows, ids, positions, seen, turned, {})
        return hidden[places, 0]

    def _forward(
        self,
        rows: list[int] | None,
        ids: Ids,
        positions: NDArray[np.int64],
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
        mask = (torch.arange(seen, device=device) <= where[..., None])[:, None]
        chosen = None if rows is None else torch.tensor(rows, device=device)
        self._cache.write_at(Write(chosen, where, seen, int(positions.max()) + 1))
        out = self._policy.backbone(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=mask,
            position_ids=turned.to(device),
            past_key_values=self._cache,
            use_cache=True,
            **{name: value.to(device) for name, value in pixels.items()},
        )
        return out.last_hidden_state

    def _known_prefix(self, slot: _Slot, prompt: Prompt) -> int:
        """How many leading tokens of a prompt the slot knows; never all of them, nor half an image."""
        if not self._reuse:
            return 0
        known = slot.known()
        most = min(len(known), len(prompt.ids) - 1)
        differing = np.flatnonzero(known[:most] != prompt.ids[:most])
        common = int(differing[0]) if differing.size else most
        images = self._policy.images
        if images is None:
            return common
        same = 0
        for mine, wanted in zip(slot.images, prompt.images, strict=False):
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

    def _three_coordinates(
        self, slots: Sequence[int], prompts: Sequence[Prompt], positions: NDArray[np.int64]
    ) -> Tensor:
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
            self._slots[slot].shift = int(whole.max()) + 1 - len(prompt.ids)
        return out
