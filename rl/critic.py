"""Critics: a value on the policy's own hidden state, and the twin critic of whole utterances."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, BertConfig, PreTrainedModel

from ..core.ranges import at_least
from .base_policy import BasePolicy, Scores
from .batches import Row, TokenBatch
from .policy import Policy
from .prompts import Ids

IdsLike = Sequence[Ids]
ItemT = TypeVar("ItemT")
MOST_REMEMBERED, READ_TOGETHER = 100_000, 64
LEAST_LOG_PROB = -8.0


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Judged(NamedTuple):
    """Scores of a policy with values of a critic beside it.

    Attributes:
        scores: see `Policy.forward`.
        values: (U,) of the states before each turn, or (N,) before each response token.
    """

    scores: Scores
    values: Tensor


class ActorCritic(nn.Module):
    """A policy with a value head on its last hidden state, as one module that trainers can wrap.

    Args:
        policy: the actor.
        hidden: widths of the head's hidden layers.
        per: whether there is a value per turn (before its first token) or per token.
        moves_policy: whether the value's gradient goes on into the policy.
    """

    def __init__(
        self,
        policy: BasePolicy,
        hidden: Sequence[int],
        per: Literal["turn", "token"],
        moves_policy: bool = False,
    ) -> None:
        super().__init__()
        self.policy = policy
        # In float32 whatever the policy's weights are: values are regressed.
        self.value = mlp([policy.hidden_size, *hidden, 1]).to(policy.device)
        self._per = per
        self._moves_policy = moves_policy

    def forward(self, batch: TokenBatch, temperature: float = 1.0, entropy: bool = False) -> Judged:
        """Score the response tokens, and value what came before them."""
        scores: Scores = self.policy(batch, temperature, entropy)
        states = scores.states[batch.starts] if self._per == "turn" else scores.states
        states = states if self._moves_policy else states.detach()
        return Judged(scores, self.value(states.float()).squeeze(-1))

    def values_in(self, row: Row) -> int:
        """How many values there are for a row."""
        return len(row.spans) if self._per == "turn" else sum(end - start for start, end in row.spans)


POLICY = "policy"


@dataclass(frozen=True)
class CriticConfig:
    """The encoder of an utterance critic.

    Attributes:
        source: "policy" for a copy of the policy's network as it is when the critic is made, which has learnt
            to read the game; an encoder on the Hugging Face hub whose tokens are the policy's; or empty for
            a small one, made here, with the policy's own tokens.
        hidden: width of the small one.
        layers: of the small one.
        heads: of its attention.
        max_tokens: a history longer than this loses its beginning.
        encoder_rate: learning rate of the encoder, in multiples of the heads'; 0 keeps it as it began, which
            suits one that has learnt the game: each text is then read once an update.
        prefix: of source=policy, what every utterance begins with: a state is read up to the end of it, where
            there is something to decide. Before words that never differ, a policy need not have made out how
            the game stands; a critic that is blind to that takes an utterance for the cause of the state in
            which it is mostly said.
    """

    source: str = ""
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    max_tokens: int = 512
    encoder_rate: float = 1.0
    prefix: str = ""

    def __post_init__(self) -> None:
        at_least(self, 1, "hidden", "layers", "heads", "max_tokens")
        at_least(self, 0, "encoder_rate")
        if not self.encoder_rate and not self.source:
            raise ValueError(
                "encoder_rate=0 is for an encoder that has learnt; one made here has not: set source"
            )
        if self.hidden % self.heads:
            raise ValueError(f"hidden={self.hidden} must be a multiple of heads={self.heads}")
        if self.prefix and self.source != POLICY:
            raise ValueError(f"prefix={self.prefix!r} is for source={POLICY}")


class UtteranceValues(NamedTuple):
    """Values of B transitions: two independent estimates each, (2, B)."""

    q: Tensor
    v: Tensor

    @property
    def advantages(self) -> Tensor:
        """min_k Q_k - min_k V_k, (B,)."""
        return self.q.min(dim=0).values - self.v.min(dim=0).values


class Encoder(nn.Module):
    """Histories and utterances to numbers that heads can judge, float32.

    Args:
        network: ids to hidden states.
        pad: id of the padding token.
        limit: a longer history loses its beginning.
        widths: how many numbers there are of a state, and of an utterance.
    """

    def __init__(self, network: nn.Module, pad: int, limit: int, widths: tuple[int, int]) -> None:
        super().__init__()
        self.network: Any = network
        self._pad, self._limit = pad, limit
        self.widths = widths

    def states(self, states: IdsLike) -> Tensor:
        """Of B states, (B, widths[0])."""
        raise NotImplementedError

    def utterances(self, states: IdsLike, utterances: IdsLike) -> Tensor:
        """Of B utterances in their states, (B, widths[1])."""
        raise NotImplementedError


class ApartEncoder(Encoder):
    """States and utterances as separate texts, by their first tokens' hidden states (ArCHer's own way).

    The network attends both ways; an utterance longer than the limit loses its beginning, too.
    """

    def states(self, states: IdsLike) -> Tensor:
        """See `Encoder.states`."""
        return self._first(states)

    def utterances(self, states: IdsLike, utterances: IdsLike) -> Tensor:
        """See `Encoder.utterances`; the states do not matter."""
        return self._first(utterances)

    def _first(self, sequences: IdsLike) -> Tensor:
        cut = [ids[-self._limit :] for ids in sequences]
        ids, lengths = padded(cut, self._pad)
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        device = self.network.device
        out = self.network(input_ids=ids.to(device), attention_mask=mask.long().to(device))
        return out.last_hidden_state[:, 0].float()


class TogetherEncoder(Encoder):
    """An utterance after its state, as the policy reads them, by the hidden states of their ends.

    A state is read with the prefix that every utterance begins with. An utterance ends where the text of the
    answer to it would begin: a model that has learnt conversations expects an answer there. Its
    log-probability under the copied policy is a number more, which no hidden state tells: each expects the
    next token before that is known. The network attends to what came before.

    Args:
        policy: whose network is copied.
        limit: a longer history loses its beginning.
        prefix: of every utterance; may be empty.
    """

    def __init__(self, policy: Policy, limit: int, prefix: str) -> None:
        widths = (policy.hidden_size, policy.hidden_size + 1)
        super().__init__(copy.deepcopy(policy.backbone), policy.pad, limit, widths)
        self.head: Any = copy.deepcopy(policy.head).requires_grad_(False)
        self._prefix = np.array(policy.renderer.text_ids(prefix), dtype=np.int64)
        self._opening = policy.renderer.opening()

    def states(self, states: IdsLike) -> Tensor:
        """See `Encoder.states`."""
        rows = [np.concatenate([ids[-self._limit :], self._prefix]) for ids in states]
        hidden, lengths = self._read(rows)
        return hidden[torch.arange(len(rows)), lengths - 1]

    def utterances(self, states: IdsLike, utterances: IdsLike) -> Tensor:
        """See `Encoder.utterances`."""
        before = [ids[-self._limit :] for ids in states]
        pairs = list(zip(before, utterances, strict=True))
        rows = [np.concatenate([state, said, self._opening.after(said)]) for state, said in pairs]
        hidden, lengths = self._read(rows)
        likely = [
            self._log_prob(hidden[index, len(state) - 1 : len(state) - 1 + len(said)], said)
            for index, (state, said) in enumerate(pairs)
        ]
        return torch.cat([hidden[torch.arange(len(rows)), lengths - 1], torch.stack(likely)[:, None]], dim=1)

    def _read(self, rows: IdsLike) -> tuple[Tensor, Tensor]:
        """Hidden states (B, T, width) of rows, and the rows' lengths (B,)."""
        ids, lengths = padded(rows, self._pad)
        # Padding comes last, and nothing looks ahead: no mask is needed.
        out = self.network(input_ids=ids.to(self.network.device), use_cache=False)
        return out.last_hidden_state.float(), lengths

    def _log_prob(self, hidden: Tensor, said: Ids) -> Tensor:
        """Of an utterance, from the states before each of its tokens; no less than `LEAST_LOG_PROB`."""
        logits = self.head(hidden.to(self.head.weight.dtype)).float()
        tokens = torch.from_numpy(said).to(logits.device)
        each = logits.log_softmax(-1).gather(1, tokens[:, None])
        return each.sum().clamp(min=LEAST_LOG_PROB)


class RememberingEncoder(nn.Module):
    """An encoder that keeps its weights, and what it has read until `forget`; copies of it are itself.

    Args:
        encoder: whose weights shall stay.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._encoder = encoder.requires_grad_(False)
        self.widths = encoder.widths
        self._states: dict[bytes, Tensor] = {}
        self._utterances: dict[tuple[bytes, bytes], Tensor] = {}

    def __deepcopy__(self, memo: object) -> RememberingEncoder:
        return self

    def forget(self) -> None:
        """Forget everything: results differ in their last bits with what was read beside them."""
        self._states.clear()
        self._utterances.clear()

    @torch.no_grad()
    def states(self, states: IdsLike) -> Tensor:
        """See `Encoder.states`."""
        self._make_room()
        keys = [ids.tobytes() for ids in states]
        new = {key: ids for key, ids in zip(keys, states, strict=True) if key not in self._states}
        for part in _similar(list(new.values()), len):
            read = self._encoder.states(part)
            self._states |= zip((ids.tobytes() for ids in part), read, strict=True)
        return torch.stack([self._states[key] for key in keys])

    @torch.no_grad()
    def utterances(self, states: IdsLike, utterances: IdsLike) -> Tensor:
        """See `Encoder.utterances`."""
        self._make_room()
        pairs = list(zip(states, utterances, strict=True))
        keys = [(state.tobytes(), said.tobytes()) for state, said in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self._utterances}
        for part in _similar(list(new.items()), lambda item: len(item[1][0])):
            read = self._encoder.utterances(*zip(*(pair for _, pair in part), strict=True))
            self._utterances |= zip((key for key, _ in part), read, strict=True)
        return torch.stack([self._utterances[key] for key in keys])

    def _make_room(self) -> None:
        if len(self._states) + len(self._utterances) > MOST_REMEMBERED:
            self.forget()


def _similar(items: list[ItemT], length: Callable[[ItemT], int]) -> Iterator[list[ItemT]]:
    """Parts to read together, of similar length, so that little is padding."""
    items.sort(key=length)
    for first in range(0, len(items), READ_TOGETHER):
        yield items[first : first + READ_TOGETHER]


def padded(sequences: IdsLike, pad: int) -> tuple[Tensor, Tensor]:
    """Ids (B, T) with padding on the right, and lengths (B,)."""
    tensors = [torch.from_numpy(np.ascontiguousarray(ids)) for ids in sequences]
    lengths = torch.tensor([len(ids) for ids in tensors])
    return pad_sequence(tensors, batch_first=True, padding_value=pad), lengths


class UtteranceCritic(nn.Module):
    """The twin critic of ArCHer: one encoder; heads Q1, Q2 on state and utterance, V1, V2 on the state.

    Heads are Linear-ReLU-Linear-ReLU-Linear of the encoder's width.

    Args:
        encoder: of states and utterances.
    """

    def __init__(self, encoder: Encoder | RememberingEncoder) -> None:
        super().__init__()
        self.encoder: Any = encoder
        width, more = encoder.widths
        self.q_heads = nn.ModuleList(mlp([width + more, width, width, 1]) for _ in range(2))
        self.v_heads = nn.ModuleList(mlp([width, width, width, 1]) for _ in range(2))

    def forget(self) -> None:
        """Forget what an encoder remembers, so that what follows depends on nothing before it."""
        if isinstance(self.encoder, RememberingEncoder):
            self.encoder.forget()

    def forward(self, states: IdsLike, utterances: IdsLike | None) -> UtteranceValues:
        """Values of B states and, if given, of B utterances in them.

        Args:
            states: token ids of each history, (P,) int64.
            utterances: token ids of each utterance; None leaves `q` empty.
        """
        before: Tensor = self.encoder.states(states)
        v = torch.stack([head(before).squeeze(-1) for head in self.v_heads])
        if utterances is None:
            return UtteranceValues(v.new_zeros(2, 0), v)
        both = torch.cat([before, self.encoder.utterances(states, utterances)], dim=-1)
        return UtteranceValues(torch.stack([head(both).squeeze(-1) for head in self.q_heads]), v)


def make_critic(config: CriticConfig, policy: Policy, seed: int) -> UtteranceCritic:
    """The critic of a config, on the policy's device.

    Args:
        config: of its encoder.
        policy: whose tokens it reads, and whose network it copies where the config says so.
        seed: of the weights that are drawn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.source == POLICY:
            encoder: Encoder = TogetherEncoder(policy, config.max_tokens, config.prefix)
        else:
            network = _bidirectional(config, len(policy.tokenizer), policy.pad)
            width = int(network.config.hidden_size)
            encoder = ApartEncoder(network, policy.pad, config.max_tokens, (width, width))
        stays = config.encoder_rate == 0
        critic = UtteranceCritic(RememberingEncoder(encoder) if stays else encoder)
    return critic.to(policy.device)


def _bidirectional(config: CriticConfig, vocabulary: int, pad: int) -> PreTrainedModel:
    if config.source:
        return AutoModel.from_pretrained(config.source, use_safetensors=True)
    made = BertConfig(
        vocab_size=vocabulary,
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=2 * config.hidden,
        max_position_embeddings=config.max_tokens,
        pad_token_id=pad,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return AutoModel.from_config(made, add_pooling_layer=False)


def target_of(critic: UtteranceCritic) -> UtteranceCritic:
    """A frozen copy, to be moved by `polyak`."""
    return copy.deepcopy(critic).requires_grad_(False)


@torch.no_grad()
def polyak(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Target <- (1 - tau) target + tau online, every weight and buffer."""
    for old, new in zip(target.parameters(), online.parameters(), strict=True):
        old.lerp_(new, tau)
    for old, new in zip(target.buffers(), online.buffers(), strict=True):
        old.copy_(new)
