"""What rollouts and algorithms need of any policy, whatever its tokens are.

A policy turns observations into prompts, responses into text, and scores the tokens of stored responses. Its
weights that are trained can be taken out, put back, kept as a reference, and saved.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from ..core.checkpoint import load_tensors, save_tensors
from .batches import Row, TokenBatch
from .prompts import Prompt
from .types import Observation

WEIGHTS = "policy.safetensors"
"""The trained weights of a language model in a run's folders `model` (the last) and `best`."""


class Scores(NamedTuple):
    """What a policy says of the N response tokens of a batch.

    Attributes:
        log_probs: (N,) of the tokens.
        entropy: (N,) of the distributions that they were drawn from; None where it was not asked for.
        states: (N, hidden) last hidden states that predicted the tokens; of a turn's first token it is the
            state of its last prompt token.
    """

    log_probs: Tensor
    entropy: Tensor | None
    states: Tensor


class Dialogue(Protocol):
    """One episode's observations and responses, and the prompt that they make."""

    def observe(self, observation: Observation) -> Prompt:
        """The prompt for the response to a new observation."""
        ...

    def respond(self, ids: Sequence[int], text: str = "") -> None:
        """Note the sampled response to the last observation."""
        ...


class BasePolicy(nn.Module):
    """A policy.

    Attributes:
        pad: the token that stands where none was sampled.
    """

    pad: int
    _reference: dict[str, Tensor] | None = None

    @property
    @abstractmethod
    def window(self) -> int:
        """How many turns a prompt shows, the present one included; 0 for the whole episode."""

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """Width of the states in `Scores`."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the weights are."""

    @abstractmethod
    def conversation(self) -> Dialogue:
        """A new episode's prompts."""

    @abstractmethod
    def text(self, ids: Sequence[int]) -> str:
        """A response as the text that the environment reads."""

    @abstractmethod
    def batch(self, rows: Sequence[Row]) -> TokenBatch:
        """Rows as a batch on the policy's device."""

    @abstractmethod
    def forward(self, batch: TokenBatch, temperature: float = 1.0, entropy: bool = False) -> Scores:
        """Score the response tokens of a batch.

        Args:
            batch: from `batch`.
            temperature: of the sampling; 0 stands for greedy and scores like 1.
            entropy: whether to compute it too.
        """

    def save(self, folder: Path) -> None:
        """Write the trained weights into a folder that `model.weights` can name."""
        save_tensors(folder / WEIGHTS, self.trained())

    def trained(self) -> dict[str, Tensor]:
        """The weights that training changes, by name: the adapter's where there is one."""
        return {name: weight.detach() for name, weight in self.named_parameters() if weight.requires_grad}

    def trained_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Copies of `trained` for NumPy, in float32, which holds the bfloat16 that NumPy lacks exactly.

        Copies even on a CPU: memory that NumPy shares cannot be divided among processes (trainer=fsdp).
        """
        return {name: w.to("cpu", torch.float32, copy=True).numpy() for name, w in self.trained().items()}

    @torch.no_grad()
    def load_trained(self, weights: Mapping[str, Tensor]) -> None:
        """Take over what `trained` returned, of this policy or another of the same config.

        Raises:
            ValueError: the names or shapes are not this policy's.
        """
        own = {name: weight for name, weight in self.named_parameters() if weight.requires_grad}
        if own.keys() != weights.keys():
            odd = sorted(own.keys() ^ weights.keys())
            raise ValueError(f"these weights are of another model: {len(odd)} names differ, such as {odd[0]}")
        for name, weight in own.items():
            if weight.shape != weights[name].shape:
                raise ValueError(
                    f"{name}: weights of shape {tuple(weights[name].shape)}, not {tuple(weight.shape)}"
                )
            weight.copy_(weights[name])

    def keep_reference(self) -> None:
        """Remember the present trained weights as those of the reference."""
        self._reference = {name: weight.clone() for name, weight in self.trained().items()}

    @torch.no_grad()
    def reference_scores(self, batch: TokenBatch, temperature: float = 1.0) -> Scores:
        """What `forward` gave with the weights that `keep_reference` remembered.

        Raises:
            RuntimeError: it was not called.
        """
        if self._reference is None:
            raise RuntimeError("the policy has no reference; call keep_reference first")
        return functional_call(self, self._reference, (batch, temperature))


def load_weights(policy: BasePolicy, path: Path) -> None:
    """Take over weights that `save_tensors` wrote.

    Raises:
        CheckpointError: the file is damaged, or no safetensors file.
        ValueError: the weights are of another model.
    """
    policy.load_trained(load_tensors(path))
