"""Images, instructions and answers as the tensors of a vision-language model.

A training row is [padding | prompt with image | answer, end | padding]: prompts are padded on the left and
answers on the right, so that the answers of a batch stand in the same last columns and a prompt is followed
by exactly the tokens that generation would have to produce, never by a re-tokenised join of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers.processing_utils import ProcessorMixin

from .parse import ReplyFormat

PromptStyle = Literal["chat", "prefix"]
# Labels of tokens that are no part of an answer; the cross-entropy leaves them out.
IGNORED = -100
# What the fields beside the ids hold for an answer's tokens: seen, and after PaliGemma's prefix.
_ANSWER_FILL = {"attention_mask": 1, "token_type_ids": 1, "mm_token_type_ids": 0}

TASK = """You see a robot's table from above. The robot has one arm with a two-finger gripper.
Its task: {instruction}
Say where it has to act. Every point is {pair} in {units} of the picture: x from 0 (left) to {right} \
(right), y from 0 (top) to {bottom} (bottom). Write null for a point that the task does not need.
grasp: where the fingers close.
function: the part of the grasped thing that does the work.
target: what that part must reach.
pre_contact: a free spot to pass through before.
post_contact: a free spot to pass through after.
Heights pre_height, target_height, post_height and gripper_width are in millimetres, grasp_yaw and \
tool_tilt in degrees; leave out those that do not matter.
Reply with one JSON object and nothing else, in this form:
{{"grasp": {pair}, "function": {pair}, "target": {pair}, "pre_contact": {pair}, "post_contact": {pair}}}"""


def task_text(instruction: str, reply: ReplyFormat) -> str:
    """What the model is asked, in words."""
    units = "fractions" if reply.units == "fraction" else reply.units
    last = {"thousandths": 999, "percent": 99.9, "fraction": 0.999}.get(reply.units)
    return TASK.format(
        instruction=instruction.strip(),
        pair="[x, y]" if reply.order == "xy" else "[y, x]",
        units=units,
        right=reply.width - 1 if last is None else last,
        bottom=reply.height - 1 if last is None else last,
    )


class PromptError(ValueError):
    """An instruction or image that cannot be put to the model; the message says which and why."""


@dataclass(frozen=True)
class TextBatch:
    """B prompts with their answers.

    Attributes:
        inputs: what the network's forward takes, e.g. input_ids (B, T), attention_mask (B, T), pixel_values.
        labels: (B, T) the ids of answer tokens with their end token; `IGNORED` everywhere else.
        answer_columns: A, the last columns of `labels`, which hold all answers.
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor
    answer_columns: int

    @property
    def answer_tokens(self) -> int:
        """How many tokens have a loss."""
        return int((self.labels != IGNORED).sum())

    def to(self, device: torch.device) -> TextBatch:
        """The batch on a device."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return replace(self, inputs=inputs, labels=self.labels.to(device))


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over the labelled tokens.

    Args:
        logits: (B, T, V); those of column t predict the token of column t + 1.
        labels: (B, T); `IGNORED` where nothing is to be learnt.
    """
    predicted, wanted = logits[:, :-1].float(), labels[:, 1:]
    return functional.cross_entropy(
        predicted.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def batch_loss(network: nn.Module, batch: TextBatch) -> Tensor:
    """`answer_loss` of a batch; the vocabulary's logits are computed only where answers stand."""
    kept = batch.answer_columns + 1
    logits = network(**batch.inputs, logits_to_keep=kept, use_cache=False).logits
    return answer_loss(logits, batch.labels[:, -kept:])


class PromptEncoder:
    """Puts images and instructions into the form that a model expects.

    Args:
        processor: of the model, from `core.hub_processor`.
        style: "chat" for the model's own chat template, "prefix" for image, text, newline (PaliGemma).
        image_size: images are squeezed to squares of this many pixels.
        dtype: of the pixel values.
        reply: how points are to be written; thousandths as [x, y] by default.
    """

    def __init__(
        self,
        processor: ProcessorMixin,
        style: PromptStyle,
        image_size: int,
        dtype: torch.dtype = torch.float32,
        reply: ReplyFormat | None = None,
    ) -> None:
        # The parts are attributes that the base class does not declare.
        self.processor: Any = processor
        self.tokenizer: Any = self.processor.tokenizer
        self.style = style
        self.image_size = image_size
        self.dtype = dtype
        self.reply = reply or ReplyFormat()

    def prompts(self, images: Sequence[NDArray[np.uint8]], instructions: Sequence[str]) -> dict[str, Tensor]:
        """Inputs for generation, padded on the left.

        Args:
            images: uint8 (H, W, 3) each.
            instructions: as many.

        Raises:
            PromptError: an instruction holds one of the model's control tokens.
        """
        texts = [self._prompt(text) for text in instructions]
        squares = [[self._square(image)] for image in images]
        inputs = self.processor(text=texts, images=squares, padding=True, return_tensors="pt")
        inputs["pixel_values"] = inputs["pixel_values"].to(self.dtype)
        # PaliGemma's processor adds labels that ignore every token; ours are made in `training`.
        return {name: value for name, value in inputs.items() if name != "labels"}

    def training(
        self, images: Sequence[NDArray[np.uint8]], instructions: Sequence[str], answers: Sequence[str]
    ) -> TextBatch:
        """Prompts followed by their answers; see the module's description."""
        inputs = self.prompts(images, instructions)
        ids = [
            [*self.tokenizer(answer, add_special_tokens=False).input_ids, self.tokenizer.eos_token_id]
            for answer in answers
        ]
        columns = max(map(len, ids))
        prompt = inputs["input_ids"]
        is_answer = torch.tensor([[column < len(row) for column in range(columns)] for row in ids])
        tokens = torch.full((len(ids), columns), self.tokenizer.pad_token_id)
        tokens[is_answer] = torch.tensor([token for row in ids for token in row])
        inputs["input_ids"] = torch.cat([prompt, tokens], dim=1)
        for name, value in _ANSWER_FILL.items():
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], value * is_answer.to(inputs[name].dtype)], dim=1)
        labels = torch.cat([torch.full_like(prompt, IGNORED), tokens.where(is_answer, IGNORED)], dim=1)
        return TextBatch(inputs, labels, columns)

    def _prompt(self, instruction: str) -> str:
        """The whole text before the answer, with the image's placeholder."""
        for token in (*self.tokenizer.all_special_tokens, self.processor.image_token):
            if token in instruction:
                raise PromptError(f"instruction {instruction!r} holds the model's control token {token!r}")
        text = task_text(instruction, self.reply)
        if self.style == "prefix":
            return self.processor.image_token + text
        content = [{"type": "image"}, {"type": "text", "text": text}]
        return self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self.processor.chat_template,
            add_generation_prompt=True,
            tokenize=False,
        )

    def _square(self, rgb: NDArray[np.uint8]) -> Image.Image:
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise PromptError(f"image: expected uint8 (H, W, 3), got {rgb.dtype} {rgb.shape}")
        side = self.image_size
        return Image.fromarray(rgb).resize((side, side), Image.Resampling.BICUBIC)
