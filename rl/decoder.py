"""Sampling responses in process: slots that are decoded together, each at its own place in its own episode.

Slots that wait for a prompt are filled together as soon as enough of them do, while the others go on; none
waits for the longest response. A response depends on its prompt and its own random draws alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .policy import Policy
from .prompts import Ids, Prompt
from .slot_model import Indices, SlotModel


class Response(NamedTuple):
    """A sampled response.

    Attributes:
        ids: int64 (R,), the end token included if there was one.
        log_probs: float32 (R,), under the policy at the sampling temperature.
    """

    ids: Ids
    log_probs: NDArray[np.float32]


class SlotDecoder:
    """Decodes up to `slots` responses at a time; see `generation.Generator`.

    Args:
        policy: that is sampled from; after its weights have changed, call `restart`.
        slots: how many at a time.
        max_new_tokens: longest response.
        temperature: of the sampling; 0 takes the most probable token.
        refill: share of the slots that must wait for a prompt before those prompts are read.
        reuse: whether slots keep what they have read from turn to turn.
    """

    def __init__(
        self,
        policy: Policy,
        slots: int,
        max_new_tokens: int,
        temperature: float,
        refill: float = 0.25,
        reuse: bool = True,
    ) -> None:
        self.slots = slots
        self.tokens_sampled = 0
        self._policy = policy
        self._model = SlotModel(policy, slots, reuse)
        self._max_new = max_new_tokens
        self._temperature = temperature
        self._refill = max(1, round(refill * slots))
        self._end = np.array(policy.end_ids)
        self._waiting: dict[int, Prompt] = {}
        self._active = np.zeros(slots, dtype=np.bool_)
        # Of each slot's response: what its tokens are drawn with, they, their log-probabilities, how many.
        self._uniforms = np.zeros((slots, max_new_tokens), dtype=np.float32)
        self._tokens: Ids = np.zeros((slots, max_new_tokens), dtype=np.int64)
        self._log_probs = np.zeros((slots, max_new_tokens), dtype=np.float32)
        self._counts = np.zeros(slots, dtype=np.int64)

    @property
    def tokens_read(self) -> int:
        """Prompt tokens computed so far."""
        return self._model.tokens_read

    def restart(self) -> None:
        """Forget everything read, and every response under way: the policy's weights have changed."""
        self._model.forget()
        self._waiting = {}
        self._active[:] = False

    def submit(self, slot: int, prompt: Prompt, rng: np.random.Generator) -> None:
        """Ask a slot for a response; every draw comes from `rng`."""
        if slot in self._waiting or not 0 <= slot < self.slots or self._active[slot]:
            raise ValueError(f"slot {slot} is busy, or there is none such")
        self._uniforms[slot] = rng.random(self._max_new, dtype=np.float32)
        self._counts[slot] = 0
        self._waiting[slot] = prompt

    @torch.inference_mode()
    def poll(self) -> list[tuple[int, Response]]:
        """Decode until at least one response is finished: those, with their slots, in the slots' order.

        Raises:
            RuntimeError: none is outstanding.
        """
        if not self._waiting and not self._active.any():
            raise RuntimeError("no response was asked for")
        done: list[int] = []
        while not done:
            if self._waiting and (not self._active.any() or len(self._waiting) >= self._refill):
                done = self._read()
            else:
                done = self._step()
        self._active[done] = False
        return [(slot, self._response(slot)) for slot in done]

    def _read(self) -> list[int]:
        """Read the waiting prompts and draw each one's first token; the slots that are finished."""
        slots = np.array(sorted(self._waiting))
        hidden = self._model.read(slots, [self._waiting[slot] for slot in slots.tolist()])
        self._waiting = {}
        self._active[slots] = True
        return self._draw(slots, hidden)

    def _step(self) -> list[int]:
        """One more token for every response under way; the slots that are finished."""
        slots = np.flatnonzero(self._active)
        return self._draw(slots, self._model.step(slots, self._tokens[slots, self._counts[slots] - 1]))

    def _draw(self, slots: Indices, hidden: Tensor) -> list[int]:
        places = slots, self._counts[slots]
        logits = self._policy.logits(hidden, self._temperature)
        tokens, log_probs = draw(logits, self._uniforms[places], self._temperature)
        drawn = tokens.cpu().numpy()
        self._tokens[places], self._log_probs[places] = drawn, log_probs.cpu().numpy()
        self._counts[slots] += 1
        self.tokens_sampled += len(slots)
        over = (drawn[:, None] == self._end).any(axis=1) | (places[1] + 1 == self._max_new)
        return slots[over].tolist()

    def _response(self, slot: int) -> Response:
        written = slot, slice(self._counts[slot])
        return Response(self._tokens[written].copy(), self._log_probs[written].copy())


def draw(logits: Tensor, uniforms: NDArray[np.float32], temperature: float) -> tuple[Tensor, Tensor]:
    """Tokens by inversion of the cumulative distribution, and their log-probabilities.

    Args:
        logits: (n, V), divided by the temperature.
        uniforms: (n,) in [0, 1).
        temperature: 0 takes the most probable token.
    """
    log_probs = logits.log_softmax(dim=-1)
    if temperature == 0.0:
        tokens = log_probs.argmax(dim=-1, keepdim=True)
    else:
        cumulative = log_probs.exp().cumsum(dim=-1, dtype=torch.float64)
        wanted = torch.from_numpy(uniforms).to(cumulative.device, torch.float64)[:, None]
        # The first token whose cumulative probability exceeds the draw: one of probability 0 never does.
        tokens = torch.searchsorted(cumulative, wanted * cumulative[:, -1:], right=True)
    return tokens[:, 0], log_probs.gather(1, tokens)[:, 0]
