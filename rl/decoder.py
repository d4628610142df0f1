"""Sampling responses in process: slots that are decoded together, each at its own place in its own episode.

Slots that wait for a prompt are filled together as soon as enough of them do, while the others go on; none
waits for the longest response. A response depends on its prompt and its own random draws alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .policy import Policy
from .prompts import Ids, Prompt
from .slot_model import SlotModel


class Response(NamedTuple):
    """A sampled response.

    Attributes:
        ids: int64 (R,), the end token included if there was one.
        log_probs: float32 (R,), under the policy at the sampling temperature.
    """

    ids: Ids
    log_probs: NDArray[np.float32]


@dataclass
class _Writing:
    """A response under way.

    Attributes:
        prompt: that it answers.
        uniforms: (max_new_tokens,) what each token is drawn with.
        ids: its tokens so far.
        log_probs: of these.
    """

    prompt: Prompt
    uniforms: NDArray[np.float32]
    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)

    def response(self) -> Response:
        return Response(np.array(self.ids, dtype=np.int64), np.array(self.log_probs, dtype=np.float32))


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
        self._end = frozenset(policy.end_ids)
        self._waiting: dict[int, _Writing] = {}
        self._active: dict[int, _Writing] = {}

    @property
    def tokens_read(self) -> int:
        """Prompt tokens computed so far."""
        return self._model.tokens_read

    def restart(self) -> None:
        """Forget everything read, and every response under way: the policy's weights have changed."""
        self._model.forget()
        self._waiting, self._active = {}, {}

    def submit(self, slot: int, prompt: Prompt, rng: np.random.Generator) -> None:
        """Ask a slot for a response; every draw comes from `rng`."""
        if slot in self._waiting or slot in self._active or not 0 <= slot < self.slots:
            raise ValueError(f"slot {slot} is busy, or there is none such")
        draws = rng.random(self._max_new, dtype=np.float32)
        self._waiting[slot] = _Writing(prompt, draws)

    @torch.inference_mode()
    def poll(self) -> list[tuple[int, Response]]:
        """Decode until at least one response is finished: those, with their slots, in the slots' order.

        Raises:
            RuntimeError: none is outstanding.
        """
        if not self._waiting and not self._active:
            raise RuntimeError("no response was asked for")
        done: list[int] = []
        while not done:
            if self._waiting and (not self._active or len(self._waiting) >= self._refill):
                done = self._read()
            else:
                done = self._step()
        return [(slot, self._active.pop(slot).response()) for slot in done]

    def _read(self) -> list[int]:
        """Read the waiting prompts and draw each one's first token; the slots that are finished."""
        slots = sorted(self._waiting)
        hidden = self._model.read(slots, [self._waiting[slot].prompt for slot in slots])
        for slot in slots:
            self._active[slot] = self._waiting.pop(slot)
        return self._draw(slots, hidden)

    def _step(self) -> list[int]:
        """One more token for every response under way; the slots that are finished."""
        slots = sorted(self._active)
        return self._draw(slots, self._model.step(slots, [self._active[slot].ids[-1] for slot in slots]))

    def _draw(self, slots: list[int], hidden: Tensor) -> list[int]:
        uniforms = np.array([self._active[s].uniforms[len(self._active[s].ids)] for s in slots])
        tokens, log_probs = draw(self._policy.logits(hidden, self._temperature), uniforms, self._temperature)
        self.tokens_sampled += len(slots)
        done = []
        for slot, token, log_prob in zip(slots, tokens.tolist(), log_probs.tolist(), strict=True):
            writing = self._active[slot]
            writing.ids.append(token)
            writing.log_probs.append(log_prob)
            if token in self._end or len(writing.ids) == self._max_new:
                done.append(slot)
        return done


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
