"""The policy: a language model, or one that sees, that answers observations and scores answers.

Scoring is exact: the log-probability of a stored response equals the one it was sampled with, temperature and
end token included, and does not depend on the batch it is scored in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from ..core.checkpoint import load_tensors
from .batches import Row, TokenBatch, collate
from .images import Image
from .models import AgentModelConfig, Language, ModelConfig, load_language
from .prompts import ChatRenderer, Conversation

# Settings of a few model families that change logits after the head, which `Policy` computes itself.
_LOGIT_SETTINGS = ("final_logit_softcapping", "logits_scaling", "logit_scale")

_THREE_POSITIONS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


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


class Policy(nn.Module):
    """A language model as a policy.

    Args:
        language: from `load_language`.
        config: how prompts are made.

    Attributes:
        end_ids: the tokens that end a response.
        forbidden: tokens that are never sampled and have probability 0: image placeholders.
    """

    def __init__(self, language: Language, config: AgentModelConfig) -> None:
        super().__init__()
        self.network = language.network.eval()
        self.tokenizer: Any = language.tokenizer
        self.images = language.images
        self.config = config
        self.end_ids = _end_ids(self._plain_network, self.tokenizer)
        self.forbidden = [] if self.images is None else [self.images.token]
        self.pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.end_ids[0]
        self.renderer = ChatRenderer(self.tokenizer, self.images, self.end_ids, config.system)
        self._reference: dict[str, Tensor] | None = None
        _refuse_logit_settings(self._plain_network)

    @classmethod
    def load(cls, config: ModelConfig, seed: int) -> Policy:
        """The policy of a config; weights that are drawn come from `seed`."""
        policy = cls(load_language(config, seed), config)
        if config.weights is not None:
            policy.load_trained(load_tensors(config.weights / "policy.safetensors"))
        return policy

    @property
    def _plain_network(self) -> Any:  # noqa: ANN401
        """The Hugging Face model itself, whose layers hold the adapter if there is one."""
        return self.network.get_base_model() if isinstance(self.network, PeftModel) else self.network

    @property
    def backbone(self) -> Any:  # noqa: ANN401
        """Ids to hidden states."""
        return self._plain_network.base_model

    @property
    def head(self) -> Any:  # noqa: ANN401
        """Hidden states to logits."""
        return self._plain_network.get_output_embeddings()

    @property
    def rotates_in_three(self) -> bool:
        """Whether positions have three coordinates: time, row and column of an image."""
        return self._plain_network.config.model_type in _THREE_POSITIONS

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        return int(self.head.weight.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.weight.device

    def conversation(self) -> Conversation:
        """A new episode's prompts."""
        config = self.config
        return Conversation(self.renderer, config.window, config.max_prompt_tokens, self.end_ids)

    def text(self, ids: Sequence[int]) -> str:
        """A response as text, without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def batch(self, rows: Sequence[Row]) -> TokenBatch:
        """Rows as a batch on the policy's device; an image that several rows show is encoded once."""
        if self.images is None:
            return collate(rows, self.pad, None).to(self.device)
        known: dict[int, Mapping[str, Tensor]] = {}
        images = self.images

        def encode(image: Image) -> Mapping[str, Tensor]:
            if id(image) not in known:
                known[id(image)] = images.encode(image)
            return known[id(image)]

        return collate(rows, self.pad, images, encode).to(self.device)

    def forward(self, batch: TokenBatch, temperature: float = 1.0, entropy: bool = False) -> Scores:
        """Score the response tokens of a batch.

        Args:
            batch: from `batch`.
            temperature: that the logits are divided by; 0 stands for greedy and scores like 1.
            entropy: whether to compute it too.
        """
        extra = self.extra_inputs(batch.input_ids) if batch.pixels else {}
        hidden = self.backbone(
            input_ids=batch.input_ids, use_cache=False, **batch.pixels, **extra
        ).last_hidden_state
        states = hidden[batch.rows, batch.columns - 1]
        logits = self.logits(states, temperature)
        log_probs = -functional.cross_entropy(logits, batch.tokens, reduction="none")
        return Scores(log_probs, _entropy(logits) if entropy else None, states)

    def logits(self, states: Tensor, temperature: float = 1.0) -> Tensor:
        """Logits (…, V) in float32, divided by the temperature, forbidden tokens at -inf."""
        logits = self.head(states).float()
        if temperature not in (0.0, 1.0):
            logits = logits / temperature
        if self.forbidden:
            logits[..., self.forbidden] = -torch.inf
        return logits

    def extra_inputs(self, ids: Tensor) -> dict[str, Tensor]:
        """What some families want beside ids and pixels: where images stand."""
        if self.images is None or not self.rotates_in_three:
            return {}
        return {"mm_token_type_ids": (ids == self.images.token).int()}

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


def _entropy(logits: Tensor) -> Tensor:
    log_probs = logits.log_softmax(-1)
    return -(log_probs.exp() * log_probs.masked_fill(log_probs == -torch.inf, 0.0)).sum(-1)


def _end_ids(network: Any, tokenizer: Any) -> list[int]:  # noqa: ANN401
    """The end tokens that the model's generation config and its tokenizer name."""
    configured = network.generation_config.eos_token_id
    named = configured if isinstance(configured, list) else [configured]
    return sorted({int(token) for token in (*named, tokenizer.eos_token_id) if token is not None})


def _refuse_logit_settings(network: Any) -> None:  # noqa: ANN401
    values = network.config.get_text_config().to_dict()
    for name in _LOGIT_SETTINGS:
        if values.get(name) not in (None, 1.0):
            raise ValueError(f"models with {name}={values[name]} are not supported")
