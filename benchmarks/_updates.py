"""One optimiser step of a language model on the same rows: a bare loop of PyTorch, and the parts of `rl/`.

Three losses of response tokens, each as TRL's trainer of that name has it:

* sft: the mean negative log-likelihood of the tokens
* dpo: -log sigmoid(beta (log pi/pi_ref of the better response - that of the worse one)), mean over pairs
  (Rafailov et al. 2023, eq. 7); no algorithm of ours has this loss, so here it stands on our parts
* grpo: the clipped ratio times the advantage, mean over tokens
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from kalie.rl.algorithms.sft import cloning_loss
from kalie.rl.batches import Row
from kalie.rl.learner import Learner, Loss, OptimizerConfig
from kalie.rl.losses import clipped_policy_loss
from kalie.rl.policy import Policy, Scores
from kalie.rl.samples import Sample, batch_samples, tokens_of

Method = Literal["sft", "dpo", "grpo"]
BETA, CLIP, RATE, GRADIENT_CLIP = 0.1, 0.2, 1e-4, 1.0
# Steps until the rows come round again.
BATCHES = 4


@dataclass(frozen=True)
class Rows:
    """What all sides learn from; `batch` consecutive rows make a step, and the first follows the last.

    Attributes:
        batch: rows of a step; of dpo, rows 2i and 2i + 1 are the better and the worse response to one prompt.
        prompts: token ids.
        responses: token ids.
        advantages: of each response.
        old_log_probs: of each response's tokens, under the weights at the start.
    """

    batch: int
    prompts: list[list[int]]
    responses: list[list[int]]
    advantages: list[float]
    old_log_probs: list[list[float]]

    def step(self, index: int) -> range:
        """The rows of a step."""
        first = index * self.batch % len(self.prompts)
        return range(first, first + self.batch)

    def plain(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)


def draw_rows(method: Method, network: Any, length: int, batch: int, seed: int) -> Rows:  # noqa: ANN401
    """Rows of L/2 to L random tokens, half of them the response.

    Args:
        method: whose rows: of dpo two share a prompt.
        network: the model, with the weights at the start.
        length: L.
        batch: rows of a step.
        seed: of everything drawn.
    """
    rng = np.random.default_rng(seed)
    count, vocabulary = BATCHES * batch, int(network.config.vocab_size)
    sizes = rng.integers(length // 4, length // 2, size=count, endpoint=True)
    prompts = [rng.integers(vocabulary, size=size).tolist() for size in sizes]
    responses = [rng.integers(vocabulary, size=size).tolist() for size in sizes]
    if method == "dpo":
        prompts = [prompts[index - index % 2] for index in range(count)]
    advantages = rng.normal(size=count).tolist()
    with torch.no_grad():
        parts = [response_log_probs(network, [p], [r]) for p, r in zip(prompts, responses, strict=True)]
    return Rows(batch, prompts, responses, advantages, [part.tolist() for part in parts])


# ---- the bare loop ---------------------------------------------------------------------------------------


def response_log_probs(network: Any, prompts: Sequence[list[int]], responses: Sequence[list[int]]) -> Tensor:  # noqa: ANN401
    """Log-probabilities of all response tokens, one response after the other; logits of nothing else."""
    both = [torch.tensor(p + r) for p, r in zip(prompts, responses, strict=True)]
    ids = pad_sequence(both, batch_first=True)
    place = torch.arange(ids.shape[1])
    begin = torch.tensor([len(prompt) for prompt in prompts])[:, None]
    end = torch.tensor([len(one) for one in both])[:, None]
    chosen = (begin <= place) & (place < end)
    hidden = network.model(input_ids=ids, use_cache=False).last_hidden_state
    logits = network.lm_head(hidden[:, :-1][chosen[:, 1:]])
    return -functional.cross_entropy(logits, ids[chosen], reduction="none")


class Bare:
    """A loop as short as a correct one can be.

    Args:
        method: what loss.
        network: a model that it changes.
        rows: to learn from.
    """

    def __init__(self, method: Method, network: Any, rows: Rows) -> None:  # noqa: ANN401
        self.losses: list[float] = []
        self._method, self._network, self._rows = method, network, rows
        self._reference = copy.deepcopy(network) if method == "dpo" else None
        self._weights = list(network.parameters())
        self._optimizer = torch.optim.AdamW(self._weights, RATE, weight_decay=0.0, fused=True)

    def step(self) -> None:
        """One step."""
        loss = self._loss(self._rows.step(len(self.losses)))
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._weights, GRADIENT_CLIP)
        self._optimizer.step()
        self.losses.append(loss.item())

    def _loss(self, chosen: range) -> Tensor:
        rows = self._rows
        prompts, responses = rows.prompts[slice_of(chosen)], rows.responses[slice_of(chosen)]
        log_probs = response_log_probs(self._network, prompts, responses)
        if self._method == "sft":
            return -log_probs.mean()
        lengths = torch.tensor([len(response) for response in responses])
        if self._method == "dpo":
            with torch.no_grad():
                wanted = response_log_probs(self._reference, prompts, responses)
            sums = torch.stack([part.sum() for part in (log_probs - wanted).split(lengths.tolist())])
            return -functional.logsigmoid(BETA * (sums[0::2] - sums[1::2])).mean()
        advantages = torch.tensor(rows.advantages[slice_of(chosen)]).repeat_interleave(lengths)
        old = torch.tensor([value for part in rows.old_log_probs[slice_of(chosen)] for value in part])
        ratio = (log_probs - old).exp()
        return -torch.minimum(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages).mean()


def slice_of(chosen: range) -> slice:
    """The same places of a list."""
    return slice(chosen.start, chosen.stop)


# ---- ours ------------------------------------------------------------------------------------------------


class Ours:
    """The learner, the policy and the losses of `rl/`.

    Args:
        method: what loss.
        policy: that it changes.
        rows: to learn from.
    """

    def __init__(self, method: Method, policy: Policy, rows: Rows) -> None:
        self.losses: list[float] = []
        self._policy, self._rows = policy, rows
        config = OptimizerConfig(learning_rate=RATE, gradient_clip=GRADIENT_CLIP)
        self._learner = Learner(policy, config, Accelerator(cpu=True))
        losses: Mapping[Method, Callable[[list[Sample]], Loss]] = {
            "sft": self._cloning,
            "dpo": self._preference,
            "grpo": self._clipped,
        }
        self._loss = losses[method]
        self._weight = pairs_of if method == "dpo" else tokens_of
        if method == "dpo":
            policy.keep_reference()
        self._samples = [sample(rows, index) for index in range(len(rows.prompts))]

    def step(self) -> None:
        """One step."""
        chosen = self._samples[slice_of(self._rows.step(len(self.losses)))]
        self.losses.append(self._learner.step([chosen], self._loss, self._weight)["loss"])

    def _cloning(self, samples: list[Sample]) -> Loss:
        scores: Scores = self._learner.module(batch_samples(self._policy, samples).tokens)
        out = cloning_loss(scores.log_probs)
        return Loss(out.loss, tokens_of(samples), {"perplexity": out.perplexity})

    def _preference(self, samples: list[Sample]) -> Loss:
        batch = batch_samples(self._policy, samples).tokens
        scores: Scores = self._learner.module(batch)
        wanted = self._policy.reference_scores(batch).log_probs
        better, worse = batch.per_turn(scores.log_probs - wanted).view(-1, 2).unbind(1)
        return Loss(-functional.logsigmoid(BETA * (better - worse)).mean(), pairs_of(samples), {})

    def _clipped(self, samples: list[Sample]) -> Loss:
        batch = batch_samples(self._policy, samples)
        scores: Scores = self._learner.module(batch.tokens, entropy=True)
        assert scores.entropy is not None  # noqa: S101  asked for
        values = batch.values
        out = clipped_policy_loss(scores.log_probs, values["old_log_prob"], values["advantage"], CLIP)
        metrics = {"clipped": out.clipped, "drift": out.drift, "entropy": scores.entropy.mean()}
        return Loss(out.loss, tokens_of(samples), metrics)


def sample(rows: Rows, index: int) -> Sample:
    """A row as the algorithms take it."""
    prompt, response = rows.prompts[index], rows.responses[index]
    ids = np.array(prompt + response, dtype=np.int64)
    values = {
        "advantage": np.full(len(response), rows.advantages[index]),
        "old_log_prob": np.array(rows.old_log_probs[index]),
    }
    return Sample(Row(ids, (), ((len(prompt), len(ids)),)), values)


def pairs_of(samples: Sequence[Sample]) -> float:
    """How many pairs of responses samples hold."""
    return len(samples) / 2
