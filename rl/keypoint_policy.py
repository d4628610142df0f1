"""The embedded keypoint model as a policy: a response is one token for each field of the affordance.

The network looks once at the picture and the instruction. Each field is then drawn on its own: a keypoint
among the S x S pixels of the network's picture, a scalar among whole millimetres or degrees, or nothing:

    pi(pixel c) = sigmoid(p / T) softmax(map / (m T))[c]              map: bicubic, from S/4 x S/4 cells
    pi(step b)  = sigmoid(p / T) softmax(-(b - mean)^2 / (2 s^2 T))[b]
    pi(nothing) = 1 - sigmoid(p / T)

with the network's presence logit p, heat-map and mean, the sampling temperature T, and the config's
m = `map_temperature` and s = `scalar_sigma`. Tokens are stored as they were drawn and scored as such, so a
stored log-probability is the one that `forward` computes again. The text is what they stand for, as the JSON
that `kalie/Manipulation-v0` reads; points lie in the middle of their pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..affordance.encoding import PLAIN_SCALARS, POINTS, UNITS, axis_angle, to_square
from ..affordance.heatmap import HeatmapKeypointModel, HeatmapOutput
from ..affordance.parse import SCALAR_STEPS, format_reply
from ..affordance.schema import KEYPOINT_NAMES, SCALAR_RANGES, Affordance, Keypoint, ScalarName
from ..affordance.shipped import weights_folder
from .base_policy import BasePolicy, Scores
from .batches import Row, TokenBatch, collate
from .decoder import Response, draw
from .envs.manipulation import instruction_in
from .keypoint_config import KeypointPolicyConfig
from .prompts import Prompt, PromptError
from .samples import prompt_row
from .types import Observation


class Steps(NamedTuple):
    """The whole steps that a scalar is drawn from.

    Attributes:
        name: of the scalar.
        low: the first one.
        number: of them.
        turn: steps after which a direction is the same again; 0 for a length.
    """

    name: ScalarName
    low: int
    number: int
    turn: int = 0

    @classmethod
    def of(cls, name: ScalarName) -> Self:
        """All steps of a scalar's range; a line's direction has each once."""
        low, high = (round(end / SCALAR_STEPS[name]) for end in SCALAR_RANGES[name])
        if name == "grasp_yaw":
            return cls(name, low + 1, high - low, high - low)
        return cls(name, low, high - low + 1)


# In the order of the network's presence logits.
STEPS = tuple(Steps.of(name) for name in (*PLAIN_SCALARS, "grasp_yaw"))
FIELDS = POINTS + len(STEPS)
"""Tokens of a response: the keypoints in schema order, then the scalars, the grasp's direction last."""


class KeypointPolicy(BasePolicy):
    """A keypoint model as a policy; its responses have `FIELDS` tokens, the last of a field for nothing.

    Args:
        network: the model; all but its first layers are trained.
        config: how answers are drawn.
    """

    pad = 0

    def __init__(self, network: HeatmapKeypointModel, config: KeypointPolicyConfig) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(True)
        self.network.backbone.freeze()
        self.config = config
        self.side = network.config.image_size

    @classmethod
    def load(cls, config: KeypointPolicyConfig) -> Self:
        """The policy of a config.

        Raises:
            FileNotFoundError: no keypoint model lies there.
            ValueError: what lies there is damaged, or another model.
        """
        network = HeatmapKeypointModel.load(weights_folder(config.weights))
        return cls(network, config).to(config.device)

    @property
    def window(self) -> int:
        """The present turn alone."""
        return self.config.window

    @property
    def hidden_size(self) -> int:
        """Width of what presence and scalars are read from."""
        return self.network.config.hidden_size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.device

    def conversation(self) -> KeypointDialogue:
        """A new episode's prompts."""
        return KeypointDialogue(self.network)

    def text(self, ids: Sequence[int]) -> str:
        """The affordance that a response stands for, as the JSON that the environment reads."""
        return format_reply(affordance_of(ids, self.side))

    def save(self, folder: Path) -> None:
        """Write the whole model, as `kalie finetune` does: `kalie run weights=FOLDER` reads it."""
        self.network.save_pretrained(folder)

    def batch(self, rows: Sequence[Row]) -> TokenBatch:
        """Rows of one response each as a batch on the policy's device."""
        if any(len(row.spans) != 1 or len(row.images) != 1 for row in rows):
            raise ValueError("a keypoint model answers one picture with one response")
        squares = torch.stack([to_square(row.images[0], self.side) for row in rows])
        return replace(collate(rows, self.pad, None), pixels={"images": squares}).to(self.device)

    def forward(self, batch: TokenBatch, temperature: float = 1.0, entropy: bool = False) -> Scores:
        """See `BasePolicy.forward`. States are the same for all tokens of a turn, and carry no gradient.

        A value is read from what the network knows; it must not bend that.
        """
        output = self._look(batch)
        fields = self.fields(output, temperature)
        where = (batch.rows, batch.columns - batch.columns[batch.starts][batch.turns])
        tokens = torch.zeros(batch.n_turns, FIELDS, dtype=torch.int64, device=self.device)
        log_probs = chosen(fields, tokens.index_put(where, batch.tokens))
        states = output.summary.detach()[batch.rows]
        return Scores(log_probs[where], entropies(fields)[where] if entropy else None, states)

    @torch.inference_mode()
    def answer(
        self, prompts: Sequence[Prompt], uniforms: NDArray[np.float32], temperature: float
    ) -> list[Response]:
        """Draw a response to each of B prompts.

        Args:
            prompts: from `conversation`.
            uniforms: (B, FIELDS) in [0, 1), what each token is drawn with.
            temperature: 0 takes what is most probable.
        """
        batch = self.batch([prompt_row(prompt, self.pad) for prompt in prompts])
        fields = self.fields(self._look(batch), temperature)
        if temperature:
            drawn = [draw(field, uniforms[:, k], temperature)[0] for k, field in enumerate(fields)]
        else:
            drawn = [most_probable(field) for field in fields]
        tokens = torch.stack(drawn, dim=1)
        log_probs = chosen(fields, tokens).cpu().numpy()
        return [Response(*pair) for pair in zip(tokens.cpu().numpy(), log_probs, strict=True)]

    def _look(self, batch: TokenBatch) -> HeatmapOutput:
        """The network's answers for U rows, whose ids before the response are the instruction's."""
        ends = batch.columns[batch.starts]
        ids = batch.input_ids[:, : int(ends.max())]
        words = ids.masked_fill(torch.arange(ids.shape[1], device=ids.device) >= ends[:, None], self.pad)
        return HeatmapOutput(*(part.float() for part in self.network(batch.pixels["images"], words)))

    def fields(self, output: HeatmapOutput, temperature: float) -> list[Tensor]:
        """Log-probabilities of each field's tokens, (B, n + 1); 0 stands for greedy and counts like 1."""
        heat = temperature or 1.0
        fine = functional.interpolate(output.heatmaps, size=self.side, mode="bicubic", align_corners=False)
        pixels = fine.flatten(2) / (self.config.map_temperature * heat)
        spread = self.config.scalar_sigma * math.sqrt(heat)
        steps = [_near(mean, step, spread) for mean, step in zip(_means(output), STEPS, strict=True)]
        there = (output.presence / heat).unbind(1)
        return [_or_nothing(*pair) for pair in zip([*pixels.unbind(1), *steps], there, strict=True)]


def _means(output: HeatmapOutput) -> list[Tensor]:
    """The network's scalars in steps, (B,) each."""
    plain = [
        output.scalars[:, index] * UNITS[name] / SCALAR_STEPS[name]
        for index, name in enumerate(PLAIN_SCALARS)
    ]
    return [*plain, axis_angle(output.values()) / SCALAR_STEPS["grasp_yaw"]]


def _near(means: Tensor, steps: Steps, spread: float) -> Tensor:
    """Logits (B, number) of a normal distribution over steps."""
    bins = torch.arange(steps.low, steps.low + steps.number, device=means.device)
    away = bins - means[:, None]
    if steps.turn:
        half = steps.turn / 2
        away = (away + half).remainder(steps.turn) - half
    return -0.5 * (away / spread).square()


def _or_nothing(logits: Tensor, there: Tensor) -> Tensor:
    """Log-probabilities (B, n + 1) from logits (B, n) of what it is and (B,) of its being there."""
    something = logits.log_softmax(dim=1) + functional.logsigmoid(there)[:, None]
    return torch.cat([something, functional.logsigmoid(-there)[:, None]], dim=1)


def chosen(fields: Sequence[Tensor], tokens: Tensor) -> Tensor:
    """Log-probabilities (B, FIELDS) of tokens (B, FIELDS)."""
    found = [field.gather(1, tokens[:, k : k + 1]) for k, field in enumerate(fields)]
    return torch.cat(found, dim=1)


def entropies(fields: Sequence[Tensor]) -> Tensor:
    """Entropies (B, FIELDS) of the fields' distributions."""
    return torch.stack([-(field.exp() * field).sum(dim=1) for field in fields], dim=1)


def most_probable(field: Tensor) -> Tensor:
    """Tokens (B,); whether there is something is decided first, as each of many pixels is improbable."""
    nothing = field.new_full((), field.shape[1] - 1, dtype=torch.int64)
    return torch.where(field[:, -1] > math.log(0.5), nothing, field[:, :-1].argmax(dim=1))


def affordance_of(ids: Sequence[int], side: int) -> Affordance:
    """What the `FIELDS` tokens of a response stand for.

    Args:
        ids: the tokens.
        side: S, pixels of the network's picture.
    """
    found: dict[str, Keypoint | float] = {}
    for name, token in zip(KEYPOINT_NAMES, ids[:POINTS], strict=True):
        if token < side * side:
            found[name] = Keypoint((token % side + 0.5) / side, (token // side + 0.5) / side)
    for steps, token in zip(STEPS, ids[POINTS:], strict=True):
        if token < steps.number:
            found[steps.name] = (steps.low + token) * SCALAR_STEPS[steps.name]
    return Affordance(**found)  # pyright: ignore[reportArgumentType]


class KeypointDialogue:
    """Prompts of an episode: the present turn's instruction and picture; nothing is remembered.

    Args:
        network: whose words the prompt's ids are.
    """

    def __init__(self, network: HeatmapKeypointModel) -> None:
        self._network = network

    def observe(self, observation: Observation) -> Prompt:
        """The prompt for the response to a new observation.

        Raises:
            PromptError: it is none of `kalie/Manipulation-v0`.
        """
        try:
            instruction = instruction_in(observation)
        except ValueError as error:
            raise PromptError(str(error)) from None
        shapes = [image.shape[:2] for image in observation.images]
        # The closing axis that the network reads is that of a square picture.
        if len(shapes) != 1 or shapes[0][0] != shapes[0][1]:
            raise PromptError(f"a keypoint model answers one square picture, not {shapes}")
        return Prompt(self._network.token_ids([instruction])[0].numpy(), observation.images)

    def respond(self, ids: Sequence[int], text: str = "") -> None:
        """Nothing to note."""


class KeypointGenerator:
    """Answers all prompts that wait in one pass; see `generation.Generator`.

    Args:
        policy: that is sampled from.
        slots: how many at a time.
        temperature: of the sampling; 0 takes what is most probable.
    """

    def __init__(self, policy: KeypointPolicy, slots: int, temperature: float) -> None:
        self.slots = slots
        self.tokens_sampled = 0
        self.tokens_read = 0
        self._policy = policy
        self._temperature = temperature
        self._waiting: dict[int, tuple[Prompt, NDArray[np.float32]]] = {}

    def restart(self) -> None:
        """Forget the prompts that wait."""
        self._waiting = {}

    def submit(self, slot: int, prompt: Prompt, rng: np.random.Generator) -> None:
        """Ask a slot for a response; every draw comes from `rng`."""
        if slot in self._waiting or not 0 <= slot < self.slots:
            raise ValueError(f"slot {slot} is busy, or there is none such")
        self._waiting[slot] = (prompt, rng.random(FIELDS, dtype=np.float32))

    def poll(self) -> list[tuple[int, Response]]:
        """The responses to all that was asked, with their slots, in the slots' order.

        Raises:
            RuntimeError: nothing was asked.
        """
        if not self._waiting:
            raise RuntimeError("no response was asked for")
        slots = sorted(self._waiting)
        prompts, uniforms = zip(*(self._waiting.pop(slot) for slot in slots), strict=True)
        responses = self._policy.answer(prompts, np.stack(uniforms), self._temperature)
        self.tokens_sampled += FIELDS * len(slots)
        self.tokens_read += sum(len(prompt.ids) for prompt in prompts)
        return list(zip(slots, responses, strict=True))
