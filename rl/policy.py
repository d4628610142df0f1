"""The policy: a language model, or one that sees, that answers observations and scores answers.

Scoring is exact: the log-probability of a stored response equals the one it was sampled with, temperature and
end token included, and does not depend on the batch it is scored in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional

from .base_policy import WEIGHTS, BasePolicy, Scores, load_weights
from .batches import Row, TokenBatch, collate
from .images import Image
from .losses import entropy as entropy_of
from .models import Language, LanguageConfig, load_language
from .prompts import ChatRenderer, Conversation

# Settings of a few model families that change logits after the head, which `Policy` computes itself.
_LOGIT_SETTINGS = ("final_logit_softcapping", "logits_scaling", "logit_scale")

_THREE_POSITIONS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


class Policy(BasePolicy):
    """A language model as a policy.

    Args:
        language: from `load_language`.
        config: how prompts are made.

    Attributes:
        end_ids: the tokens that end a response.
        forbidden: tokens that are never sampled and have probability 0: image placeholders.
    """

    def __init__(self, language: Language, config: LanguageConfig) -> None:
        super().__init__()
        self.network = language.network.eval()
        self.tokenizer: Any = language.tokenizer
        self.images = language.images
        self.config = config
        self.end_ids = _end_ids(self._plain_network, self.tokenizer)
        self.forbidden = [] if self.images is None else [self.images.token]
        self.pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.end_ids[0]
        self.renderer = ChatRenderer(self.tokenizer, self.images, self.end_ids, config.system)
        _refuse_logit_settings(self._plain_network)

    @classmethod
    def load(cls, config: LanguageConfig, seed: int) -> Policy:
        """The policy of a config; weights that are drawn come from `seed`."""
        policy = cls(load_language(config, seed), config)
        if config.weights is not None:
            load_weights(policy, config.weights / WEIGHTS)
        return policy

    @property
    def _plain_network(self) -> Any:  # noqa: ANN401
        """The Hugging Face model itself, whose layers hold the adapter if there is one."""
        return self.network.get_base_model() if isinstance(self.network, PeftModel) else self.network

    @cached_property
    def backbone(self) -> Any:  # noqa: ANN401
        """Ids to hidden states."""
        return self._plain_network.base_model

    @cached_property
    def head(self) -> Any:  # noqa: ANN401
        """Hidden states to logits."""
        return self._plain_network.get_output_embeddings()

    @property
    def rotates_in_three(self) -> bool:
        """Whether positions have three coordinates: time, row and column of an image."""
        return self._plain_network.config.model_type in _THREE_POSITIONS

    @property
    def window(self) -> int:
        """As the config says."""
        return self.config.window

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
        if not entropy:
            return Scores(-functional.cross_entropy(logits, batch.tokens, reduction="none"), None, states)
        every = logits.log_softmax(-1)
        log_probs = every.gather(-1, batch.tokens[:, None]).squeeze(-1)
        finite = every.clamp_min(torch.finfo(every.dtype).min) if self.forbidden else every
        return Scores(log_probs, entropy_of(finite), states)

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


def language_of(policy: BasePolicy) -> Policy:
    """The policy, which must be a language model.

    Raises:
        TypeError: it is none; `registry.check_job` has let a wrong pair pass.
    """
    if not isinstance(policy, Policy):
        raise TypeError(f"a {type(policy).__name__} is no language model")
    return policy


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
