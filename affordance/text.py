"""The text model: a vision-language model that answers the keypoints as JSON, in thousandths by default.

Any `AutoModelForImageTextToText`, on its own or with a LoRA adapter from `text_finetune`. An answer that the
strict parser refuses is asked for again, sampled, at most `attempts` times in all; what is still unusable is
an invalid prediction with the last text and the reason, never a guess.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, GenerationConfig

from ..core.files import check_sums, write_json, write_sums
from ..core.hub_processor import load_processor
from ..core.ranges import above, at_least
from .encoding import squeeze, turn_axis
from .model import Prediction
from .parse import Order, ReplyFormat, Units, parse_reply
from .schema import Affordance, InvalidKeypoints, KeypointName
from .text_batch import PromptEncoder, PromptStyle

# Every linear layer of language model and image encoder, by the names that the supported families use.
LINEAR_LAYERS = (
    *("q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "gate_proj", "up_proj", "down_proj"),
    *("fc1", "fc2", "attn.qkv", "attn.proj"),
)


@dataclass(frozen=True)
class TextModelConfig:
    """A vision-language model that answers in text.

    Attributes:
        source: any AutoModelForImageTextToText on the Hugging Face hub, or a folder.
        adapter: folder of a LoRA adapter that `kalie finetune` wrote; null for the model as it is.
        prompt: chat (the model's own chat template) or prefix (image, text, newline: PaliGemma).
        units: of the points in its answers; pixels are those of the square that it sees. The prompt asks for
            them, tuning teaches them, and anything else is refused, never guessed.
        order: whether a point is [x, y] or [y, x].
        image_size: images are squeezed to squares of this many pixels and not cut into tiles.
        dtype: of the weights.
        device: of torch, e.g. "cuda".
        lora_rank: of the adapter that fine-tuning makes.
        lora_alpha: its scale is alpha / rank.
        lora_layers: layers that get one, by the end of their names.
        max_new_tokens: longest answer; a full one takes about 150.
        attempts: replies asked for one answer; the first is greedy, the others are sampled.
        temperature: of those others.
        batch_size: images that are answered at once.
        seed: of the sampling.
    """

    source: str
    adapter: Path | None = None
    prompt: PromptStyle = "chat"
    units: Units = "thousandths"
    order: Order = "xy"
    image_size: int = 448
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "cpu"
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_layers: tuple[str, ...] = LINEAR_LAYERS
    max_new_tokens: int = 256
    attempts: int = 3
    temperature: float = 0.7
    batch_size: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, 1, "image_size", "lora_rank", "lora_alpha", "max_new_tokens", "attempts", "batch_size")
        at_least(self, 0, "seed")
        above(self, 0, "temperature")
        if not self.lora_layers:
            raise ValueError("lora_layers=[] must name one or more layers")

    @property
    def reply(self) -> ReplyFormat:
        """How points are written in an answer."""
        return ReplyFormat(self.units, self.order, self.image_size, self.image_size)


# What peft writes of an adapter, beside a README.
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")

# Beside them: how the model was asked when the adapter was tuned; asked otherwise, it would be misread.
ASKED_FILE = "asked.json"
ASKED = ("prompt", "units", "order", "image_size")


class Reply(NamedTuple):
    """One reply: its token ids without the end token, and each one's log-probability at temperature 1."""

    ids: list[int]
    log_probs: list[float]


class TextKeypointModel:
    """A `KeypointModel` that reads what a vision-language model writes.

    Args:
        network: the model, or that model with an adapter.
        encoder: of its prompts.
        config: how it is asked.
    """

    def __init__(self, network: nn.Module, encoder: PromptEncoder, config: TextModelConfig) -> None:
        # Generation is a mixin's; neither it nor peft's wrapper has types that say so.
        self.network: Any = network.eval()
        self.encoder = encoder
        self.config = config
        tokenizer = encoder.tokenizer
        # A checkpoint's own defaults (repetition penalties, sampling) would bend the digits.
        self.network.generation_config = GenerationConfig(
            max_new_tokens=config.max_new_tokens,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )

    @classmethod
    def load(cls, config: TextModelConfig) -> Self:
        """The model of a config, its adapter merged into the weights. Only safetensors are read.

        Raises:
            OSError: the model or the adapter cannot be had.
            ValueError: the adapter was tuned with another form of prompt or answer.
        """
        if config.adapter is not None:
            check_asked(config.adapter, config)
        auto: Any = AutoModelForImageTextToText
        dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[config.dtype]
        network = auto.from_pretrained(config.source, dtype=dtype, use_safetensors=True)
        if config.adapter is not None:
            network = load_adapter(network, config.adapter).merge_and_unload()
        processor = load_processor(config.source)
        encoder = PromptEncoder(processor, config.prompt, config.image_size, dtype, config.reply)
        return cls(network.to(config.device), encoder, config)

    def with_adapter(self, seed: int) -> Self:
        """This model with a fresh LoRA adapter, which changes no answer yet.

        The network is wrapped, not copied: from then on it belongs to the new model.
        """
        if self.config.adapter is not None:
            raise ValueError(f"adapter={self.config.adapter}: fine-tuning starts from a model without one")
        lora = LoraConfig(
            r=self.config.lora_rank,
            lora_alpha=self.config.lora_alpha,
            target_modules=list(self.config.lora_layers),
        )
        with seeded(seed, self.network.device):
            network = get_peft_model(self.network, lora)
        return type(self)(network, self.encoder, self.config)

    def merged(self) -> Self:
        """This model with its adapter merged into the weights: faster, and no longer an adapter to save.

        The network is taken over, not copied.
        """
        return type(self)(self.network.merge_and_unload(), self.encoder, self.config)

    def save_adapter(self, directory: Path) -> None:
        """Write the adapter in peft's own format (safetensors), whole or not at all.

        Raises:
            FileExistsError: something lies there already.
            TypeError: the model has no adapter.
        """
        if not isinstance(self.network, PeftModel):
            raise TypeError("this model has no adapter of its own to save")
        if directory.exists():
            raise FileExistsError(f"{directory}: exists already; an adapter is written to a new folder")
        directory.parent.mkdir(parents=True, exist_ok=True)
        temporary = directory.with_name(f".{directory.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            self.network.save_pretrained(str(temporary), safe_serialization=True)
            write_json(temporary / ASKED_FILE, {key: getattr(self.config, key) for key in ASKED})
            write_sums(temporary, (*ADAPTER_FILES, ASKED_FILE))
            temporary.replace(directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def predict(self, images: Sequence[NDArray[np.uint8]], instructions: Sequence[str]) -> list[Prediction]:
        """One prediction per (image, instruction) pair; see `affordance.model.KeypointModel`.

        Raises:
            PromptError: an instruction or image cannot be put to the model.
        """
        if len(images) != len(instructions):
            raise ValueError(f"{len(images)} images but {len(instructions)} instructions")
        out: list[Prediction] = []
        for first in range(0, len(images), self.config.batch_size):
            part = slice(first, first + self.config.batch_size)
            replies = self._ask(images[part], instructions[part])
            for rgb, text, reply in zip(images[part], instructions[part], replies, strict=True):
                prediction = self._read(reply, rgb)
                out.append(prediction if prediction.valid else self._ask_again(rgb, text, prediction))
        return out

    def _ask_again(self, rgb: NDArray[np.uint8], instruction: str, failed: Prediction) -> Prediction:
        """Sample further replies, one image at a time so that an answer does not depend on its batch."""
        for attempt in range(1, self.config.attempts):
            with seeded(self.config.seed + attempt, self.network.device):
                (reply,) = self._ask(
                    [rgb], [instruction], do_sample=True, temperature=self.config.temperature
                )
            failed = self._read(reply, rgb)
            if failed.valid:
                return failed
        count = self.config.attempts
        return replace(failed, error=f"no usable answer in {count} replies, the last: {failed.error}")

    @torch.inference_mode()
    def _ask(
        self, images: Sequence[NDArray[np.uint8]], instructions: Sequence[str], **sampling: bool | float
    ) -> list[Reply]:
        inputs = {k: v.to(self.network.device) for k, v in self.encoder.prompts(images, instructions).items()}
        out = self.network.generate(**inputs, **sampling, return_dict_in_generate=True, output_logits=True)
        written = out.sequences[:, inputs["input_ids"].shape[1] :]
        chosen = [
            logits.float().log_softmax(dim=-1).gather(1, written[:, step, None])
            for step, logits in enumerate(out.logits)
        ]
        return [self._cut(ids, row) for ids, row in zip(written, torch.cat(chosen, dim=1), strict=True)]

    def _cut(self, ids: Tensor, log_probs: Tensor) -> Reply:
        """A reply up to its end token."""
        tokens = ids.tolist()
        end = self.encoder.tokenizer.eos_token_id
        length = tokens.index(end) if end in tokens else len(tokens)
        return Reply(tokens[:length], log_probs.tolist()[:length])

    def _read(self, reply: Reply, rgb: NDArray[np.uint8]) -> Prediction:
        """The strictly parsed reply, with the closing axis as it is in the unsqueezed image."""
        ends = [len(self._text(reply.ids[: count + 1])) for count in range(len(reply.ids))]
        text = self._text(reply.ids)
        try:
            affordance = parse_reply(text, self.encoder.reply)
            affordance = _unsqueezed(affordance, width=rgb.shape[1], height=rgb.shape[0])
        except InvalidKeypoints as error:
            return Prediction(None, error=str(error), text=text)
        return Prediction(affordance, point_confidence(affordance, text, ends, reply.log_probs), text=text)

    def _text(self, ids: Sequence[int]) -> str:
        return self.encoder.tokenizer.decode(ids, skip_special_tokens=True)


def load_adapter(network: nn.Module, directory: Path) -> Any:  # noqa: ANN401  peft's classes are dynamic
    """A model with a saved adapter.

    Raises:
        FileNotFoundError: no safetensors adapter lies there; pickled ones are not read.
        DamagedFileError: a file is not as it was written.
    """
    for name in ADAPTER_FILES:
        if not (directory / name).is_file():
            raise FileNotFoundError(f"{directory}: no adapter here ({name} is missing)")
    check_sums(directory)
    return PeftModel.from_pretrained(network, directory)  # pyright: ignore[reportArgumentType]


def check_asked(adapter: Path, config: TextModelConfig) -> None:
    """Refuse an adapter that was tuned with another prompt or answer; one made elsewhere does not say.

    Raises:
        ValueError: the file, the key and both values.
    """
    path = adapter / ASKED_FILE
    if not path.is_file():
        return
    tuned = json.loads(path.read_text("utf-8"))
    for key in ASKED:
        if tuned[key] != getattr(config, key):
            asked = getattr(config, key)
            raise ValueError(
                f"{path}: the adapter was tuned with {key}={tuned[key]}, but {key}={asked} is set"
            )


def point_confidence(
    affordance: Affordance, text: str, ends: Sequence[int], log_probs: Sequence[float]
) -> Mapping[KeypointName, float]:
    """How probable the model found each point, given what it had written before it.

    Args:
        affordance: parsed from the text.
        text: the reply.
        ends: per token, how much text there is up to and with it.
        log_probs: per token.
    """
    starts = [0, *ends[:-1]]
    out: dict[KeypointName, float] = {}
    for name, _ in affordance.keypoints():
        found = re.search(rf'"{name}"\s*:\s*(\[[^\]]*\])', text)
        # A key that is written with escapes is not found; then the whole reply speaks for the point.
        first, last = found.span(1) if found else (0, len(text))
        inside = [p for a, b, p in zip(starts, ends, log_probs, strict=True) if a < last and b > first]
        out[name] = min(1.0, math.exp(sum(inside)))
    return out


def _unsqueezed(affordance: Affordance, width: int, height: int) -> Affordance:
    """Undo what squeezing the image to a square did to the closing axis; points are fractions and stay."""
    if affordance.grasp_yaw is None or width == height:
        return affordance
    angle = torch.tensor([affordance.grasp_yaw], dtype=torch.float64)
    turned = float(turn_axis(angle, torch.linalg.inv(squeeze(width, height)).double()[None]))
    return replace(affordance, grasp_yaw=max(min(turned, math.pi / 2), -math.pi / 2))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Libraries that draw from torch's global generators draw from this seed in the block, and only there."""
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(seed)
        yield
