"""Fine-tune a text model for one task: a LoRA adapter learns the answers, the model itself stays frozen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from ..core.checkpoint import CheckpointStore
from ..core.ranges import above, at_least
from .augment import AugmentConfig
from .encoding import Batch, decode, encode
from .finetune import ImageSource
from .labels import LabelledImage
from .parse import ReplyFormat, format_reply
from .text import TextKeypointModel, seeded
from .text_batch import PromptEncoder, TextBatch, batch_loss
from .training import (
    Log,
    NotFiniteLoss,
    Progress,
    learning_rate,
    resume,
    run_steps,
    step_generator,
)


@dataclass(frozen=True)
class TextTrainingConfig:
    """How the adapter is trained.

    Attributes:
        steps: optimiser steps.
        batch_size: images per step and process.
        micro_batch: of these, how many go through the network at once; the gradient is the same for any.
        learning_rate: at its peak, after the warm-up; it then falls along a cosine to zero.
        warmup: steps.
        weight_decay: of the adapter's matrices.
        gradient_clip: largest gradient norm.
        evaluate_every: steps between two looks at the validation set.
        patience: looks without progress after which training stops.
        precision: of the network's arithmetic.
        checkpoint_every: steps between two checkpoints, where there is a store for them.
        seed: of every random draw.
    """

    steps: int = 600
    batch_size: int = 16
    micro_batch: int = 4
    learning_rate: float = 2e-4
    warmup: int = 20
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    evaluate_every: int = 100
    patience: int = 4
    precision: Literal["no", "bf16"] = "no"
    checkpoint_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(
            self, 1, "steps", "batch_size", "micro_batch", "evaluate_every", "patience", "checkpoint_every"
        )
        at_least(self, 0, "warmup", "weight_decay", "seed")
        above(self, 0, "learning_rate", "gradient_clip")


@dataclass(frozen=True)
class TextFinetuneConfig:
    """How a text model is fine-tuned.

    Attributes:
        training: the optimisation.
        augment: how images are varied; None shows them as they are.
    """

    training: TextTrainingConfig = field(default_factory=TextTrainingConfig)
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)


class Lesson(NamedTuple):
    """An image with what is asked about it and the right answer."""

    rgb: NDArray[np.uint8]
    instruction: str
    answer: str


class LessonSource:
    """Draws lessons; the same images and variations that the embedded model is tuned on."""

    def __init__(
        self,
        samples: Sequence[LabelledImage],
        image_size: int,
        config: TextFinetuneConfig,
        reply: ReplyFormat | None = None,
    ) -> None:
        """Images are kept as squares, no larger than the largest image is; `reply`: see `format_reply`."""
        self.reply = reply
        self.images = ImageSource(samples, _side(samples, image_size), config.augment)

    def __call__(self, count: int, generator: Generator) -> list[Lesson]:
        """`count` lessons.

        Text cannot say where a point outside the image is: an image that lost one stays as it was.
        """
        drawn = self.images.draw(count, generator)
        varied = self.images.vary(drawn, generator)
        lost = (drawn.in_view & ~varied.in_view).any(dim=1).tolist()
        return [lesson(drawn if lost[row] else varied, row, self.reply) for row in range(count)]


def _side(samples: Sequence[LabelledImage], image_size: int) -> int:
    """Pixels of the squares that lose nothing which the model would see."""
    return min(image_size, max((max(sample.rgb.shape[:2]) for sample in samples), default=image_size))


def lesson(batch: Batch, row: int, reply: ReplyFormat | None = None) -> Lesson:
    """One row of a batch as a lesson; `reply`: see `format_reply`."""
    present = batch.presence[row] > 0.5
    side = batch.images.shape[-1]
    affordance = decode(batch.points[row], batch.values[row], present, width=side, height=side)
    rgb = batch.images[row].round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return Lesson(rgb, batch.instructions[row], format_reply(affordance, reply))


def collate(encoder: PromptEncoder, lessons: Sequence[Lesson]) -> TextBatch:
    """Lessons as a training batch."""
    images, instructions, answers = zip(*lessons, strict=True)
    return encoder.training(images, instructions, answers)


@dataclass
class TextTrainingState:
    """All that a step reads and changes.

    Attributes:
        network: the model with its adapter, whose weights are the only ones that gradients move.
        best: the adapter's weights at the best look at the validation set.
        best_loss: of that look.
        looks_since_best: looks at the validation set since then.
        step: steps done.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    best: dict[str, Tensor] = field(default_factory=dict)
    best_loss: float = math.inf
    looks_since_best: int = 0
    step: int = 0

    def adapter(self) -> dict[str, nn.Parameter]:
        """The trained weights by name."""
        return {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}

    @torch.no_grad()
    def set_adapter(self, weights: Mapping[str, Tensor]) -> None:
        """Take the trained weights over."""
        for name, weight in self.adapter().items():
            weight.copy_(weights[name])

    def state_dict(self) -> dict[str, Any]:
        """Everything as a tree for a checkpoint; the frozen weights are not in it."""
        return {
            "adapter": dict(self.adapter()),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "best_loss": self.best_loss,
            "looks_since_best": self.looks_since_best,
            "step": self.step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        self.set_adapter(state["adapter"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = dict(state["best"])
        self.best_loss = state["best_loss"]
        self.looks_since_best = state["looks_since_best"]
        self.step = state["step"]


def finetune_text(
    model: TextKeypointModel,
    samples: Sequence[LabelledImage],
    validation: Sequence[LabelledImage] = (),
    config: TextFinetuneConfig | None = None,
    store: CheckpointStore | None = None,
    progress: Progress | None = None,
    log: Log | None = None,
) -> TextKeypointModel:
    """The model with an adapter tuned on labelled images; `merged()` makes it fast, `save_adapter` keeps it.

    Args:
        model: the start, without an adapter; its network is wrapped, not copied.
        samples: photos and synthetic images.
        validation: of other object instances; the adapter is the one with the least loss on them. Without
            any, it is the last one.
        config: how.
        store: gets checkpoints; where it holds one, tuning goes on from there, bit for bit on a CPU.
        progress: called with (steps done, steps in all).
        log: called with the step and its figures.

    Raises:
        NotFiniteLoss: the loss became NaN or infinite; the message names the step.
    """
    config = config or TextFinetuneConfig()
    training = config.training
    source = LessonSource(samples, model.config.image_size, config, model.encoder.reply)
    tuned = model.with_adapter(training.seed)
    state = start(tuned.network, training)
    resume(state, store)
    # Some layers may have no part in the answer, such as the last one of LLaVA's image encoder.
    parallel = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(mixed_precision=training.precision, kwargs_handlers=[parallel])
    network, optimizer = accelerator.prepare(state.network, state.optimizer)
    run_steps(
        state,
        lambda: _step(state, network, optimizer, source, tuned.encoder, training, accelerator),
        lambda: _look(state, tuned.encoder, validation, training.micro_batch, accelerator.device),
        training,
        store,
        progress,
        log,
    )
    if state.best:
        state.set_adapter(state.best)
    tuned.network.eval()
    return tuned


def start(network: nn.Module, config: TextTrainingConfig) -> TextTrainingState:
    """A fresh state."""
    adapter = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(adapter, lr=config.learning_rate, weight_decay=config.weight_decay)
    return TextTrainingState(network, optimizer)


def _step(
    state: TextTrainingState,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    source: LessonSource,
    encoder: PromptEncoder,
    config: TextTrainingConfig,
    accelerator: Accelerator,
) -> dict[str, float]:
    """One optimiser step; returns its figures."""
    rate = learning_rate(state.step, config)
    for group in optimizer.param_groups:
        group["lr"] = rate
    generator = step_generator(config.seed, state.step, accelerator.process_index)
    lessons = source(config.batch_size, generator)
    optimizer.zero_grad(set_to_none=True)
    network.train()
    with seeded(generator.initial_seed(), accelerator.device):
        loss = accumulate(network, encoder, lessons, config.micro_batch, accelerator)
    if not math.isfinite(loss):
        raise NotFiniteLoss(f"step {state.step}: the loss is {loss}")
    accelerator.clip_grad_norm_(network.parameters(), config.gradient_clip)
    optimizer.step()
    return {"learning_rate": rate, "loss": loss}


def accumulate(
    network: nn.Module,
    encoder: PromptEncoder,
    lessons: Sequence[Lesson],
    micro_batch: int,
    accelerator: Accelerator,
) -> float:
    """Add the gradient of the mean loss per answer token of all lessons of all processes; returns that loss.

    Every token counts the same however the lessons are cut into micro-batches.
    """
    batches = list(_micro_batches(encoder, lessons, micro_batch))
    counted = torch.tensor(float(sum(batch.answer_tokens for batch in batches)), device=accelerator.device)
    # Data-parallel training averages gradients over processes: hence the mean count, not the sum.
    tokens = float(accelerator.reduce(counted, "mean"))  # pyright: ignore[reportArgumentType]
    total = 0.0
    for index, batch in enumerate(batches):
        last = index + 1 == len(batches)
        # Gradients travel between processes once, with the last micro-batch.
        with nullcontext() if last else accelerator.no_sync(network):
            loss = batch_loss(network, batch.to(accelerator.device)) / tokens
            accelerator.backward(loss)
        total += float(loss.detach())
    return total


def _micro_batches(
    encoder: PromptEncoder, lessons: Sequence[Lesson], micro_batch: int
) -> Iterator[TextBatch]:
    for first in range(0, len(lessons), micro_batch):
        yield collate(encoder, lessons[first : first + micro_batch])


@torch.no_grad()
def mean_loss(
    network: nn.Module,
    encoder: PromptEncoder,
    samples: Sequence[LabelledImage],
    micro_batch: int,
    device: torch.device,
) -> float:
    """Mean loss per answer token on labelled images as they are."""
    batch = encode(samples, _side(samples, encoder.image_size))
    lessons = [lesson(batch, row, encoder.reply) for row in range(len(samples))]
    total, tokens = 0.0, 0
    for part in _micro_batches(encoder, lessons, micro_batch):
        total += float(batch_loss(network, part.to(device)))
        tokens += part.answer_tokens
    return total / tokens


def _look(
    state: TextTrainingState,
    encoder: PromptEncoder,
    validation: Sequence[LabelledImage],
    micro_batch: int,
    device: torch.device,
) -> dict[str, float]:
    """Measure the loss on the validation set and keep the adapter if it is the best so far."""
    if not validation:
        return {}
    state.network.eval()
    loss = mean_loss(state.network, encoder, validation, micro_batch, device)
    state.looks_since_best += 1
    if loss < state.best_loss:
        state.best = {name: weight.detach().clone() for name, weight in state.adapter().items()}
        state.best_loss, state.looks_since_best = loss, 0
    return {"validation_loss": loss}
