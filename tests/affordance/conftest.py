"""Tiny random vision-language models of the real classes, saved as checkpoints that load like real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForImageTextToText,
    Idefics3Config,
    LlavaConfig,
    PaliGemmaConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    SmolVLMConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.parse import ReplyFormat, format_reply
from kalie.affordance.schema import Affordance, Keypoint
from kalie.affordance.text import TextModelConfig
from kalie.affordance.text_batch import task_text

SIDE = 56
WORDS = (
    "sweep",
    "the",
    "crumbs",
    "into",
    "tray",
    "hang",
    "towel",
    "on",
    "rack",
    "pull",
    "plug",
    "pour",
    "red",
)
IDEFICS_TOKENS = ["<fake_token_around_image>", "<image>", "<global-img>"]
QWEN_TOKENS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
# The families' own turn markers and the place of the image, as their chat templates have them.
IDEFICS_CHAT = (
    "<|im_start|>{% for message in messages %}{{ message.role | capitalize }}:"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
QWEN_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA_CHAT = (
    "{% for message in messages %}USER: {% for part in message.content %}"
    "{% if part.type == 'image' %}<image>\n{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
# Large enough that a frozen random vocabulary can be told apart through small adapters.
SPREAD = 0.2
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": SPREAD,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 14,
    "initializer_range": SPREAD,
}


def affordance(index: int) -> Affordance:
    rng = np.random.default_rng(index)
    grasp, function, target, pre, post = (Keypoint(*rng.uniform(0.1, 0.9, 2)) for _ in range(5))
    return Affordance(
        grasp, function, target, pre, post if index % 2 else None, pre_height=0.05, grasp_yaw=0.3
    )


def sample(index: int) -> LabelledImage:
    rng = np.random.default_rng(100 + index)
    rgb = np.kron(rng.integers(0, 255, (4, 4, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    words = " ".join(rng.choice(WORDS, 3 + index))
    return LabelledImage(f"photo{index}", rgb, words, affordance(index), Provenance("photo", f"photo{index}"))


@pytest.fixture(scope="session")
def samples() -> list[LabelledImage]:
    return [sample(index) for index in range(4)]


def tokenizer(special: list[str], start: str, end: str, padding: str) -> PreTrainedTokenizerFast:
    """Byte pairs learnt from the prompt and a few answers; every digit is a token, as in the real ones."""
    roles = {"bos_token": start, "eos_token": end, "pad_token": padding}
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[*roles.values(), *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = [
        task_text("", ReplyFormat()),
        " ".join(WORDS),
        *(format_reply(affordance(index)) for index in range(8)),
    ]
    core.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, additional_special_tokens=special, **roles)


def _text(tokens: PreTrainedTokenizerFast, **more: object) -> dict[str, object]:
    ids = {"pad_token_id": tokens.pad_token_id, "bos_token_id": tokens.bos_token_id}
    return {**TEXT, "vocab_size": len(tokens), **ids, "eos_token_id": tokens.eos_token_id, **more}


def _idefics(folder: Path, family: str) -> None:
    tokens = tokenizer(IDEFICS_TOKENS, "<|im_start|>", "<end_of_utterance>", "<pad>")
    tokens.chat_template = IDEFICS_CHAT
    config_class = {"idefics3": Idefics3Config, "smolvlm": SmolVLMConfig}[family]
    config = config_class(
        text_config={"model_type": "llama", **_text(tokens)},
        vision_config={**VISION},
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokens.pad_token_id,
    )
    processor_class = {"idefics3": Idefics3ImageProcessorPil, "smolvlm": SmolVLMImageProcessorPil}[family]
    side = {"longest_edge": SIDE}
    processor_class(size=side, max_image_size=side).save_pretrained(folder)
    _save(folder, config, tokens, {"image_seq_len": 4})


def _qwen(folder: Path) -> None:
    tokens = tokenizer(QWEN_TOKENS, "<|im_start|>", "<|im_end|>", "<|endoftext|>")
    tokens.chat_template = QWEN_CHAT
    ids: dict[str, Any] = {
        name: tokens.convert_tokens_to_ids(token)
        for name, token in zip(
            ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id"),
            QWEN_TOKENS,
            strict=True,
        )
    }
    vision = {"depth": 2, "hidden_size": 32, "num_heads": 4, "intermediate_size": 48, "out_hidden_size": 64}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    config = Qwen2_5_VLConfig(
        text_config=_text(tokens, rope_parameters=rope),
        vision_config={**vision, "fullatt_block_indexes": [1], "initializer_range": SPREAD},
        **ids,
    )
    Qwen2VLImageProcessorPil(min_pixels=SIDE**2, max_pixels=SIDE**2).save_pretrained(folder)
    _save(folder, config, tokens, {})


def _paligemma(folder: Path) -> None:
    tokens = tokenizer(["<image>"], "<bos>", "<eos>", "<pad>")
    config = PaliGemmaConfig(
        text_config={"model_type": "gemma", **_text(tokens, head_dim=16)},
        vision_config={"model_type": "siglip_vision_model", **VISION, "vision_use_head": False},
        image_token_id=tokens.convert_tokens_to_ids("<image>"),  # pyright: ignore[reportCallIssue]
        projection_dim=64,
        hidden_size=64,
    )
    processor = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    processor.image_seq_length = 16  # pyright: ignore[reportAttributeAccessIssue]  what the processor of both asks
    processor.save_pretrained(folder)
    _save(folder, config, tokens, {})


def _llava(folder: Path) -> None:
    tokens = tokenizer(["<image>"], "<s>", "</s>", "<pad>")
    tokens.chat_template = LLAVA_CHAT
    config = LlavaConfig(
        text_config={"model_type": "llama", **_text(tokens)},
        vision_config={"model_type": "clip_vision_model", **VISION, "projection_dim": 32},
        image_token_index=cast(int, tokens.convert_tokens_to_ids("<image>")),
        image_seq_length=16,
    )
    size = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size=size, crop_size=size).save_pretrained(folder)
    _save(
        folder,
        config,
        tokens,
        {"patch_size": 14, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"},
    )


def _save(
    folder: Path, config: object, tokens: PreTrainedTokenizerFast, processor: dict[str, object]
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(config)
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(processor))


BUILDERS: dict[str, Callable[[Path], None]] = {
    "idefics3": lambda folder: _idefics(folder, "idefics3"),
    "smolvlm": lambda folder: _idefics(folder, "smolvlm"),
    "qwen2_5_vl": _qwen,
    "paligemma": _paligemma,
    "llava": _llava,
}


@pytest.fixture(scope="session")
def tiny_vlm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TextModelConfig]:
    """The config of a tiny model of a family; its checkpoint is made once."""
    made: dict[str, TextModelConfig] = {}

    def get(family: str) -> TextModelConfig:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            BUILDERS[family](folder)
            made[family] = TextModelConfig(
                str(folder),
                prompt="prefix" if family == "paligemma" else "chat",
                image_size=SIDE,
                max_new_tokens=160,
            )
        return made[family]

    return get
