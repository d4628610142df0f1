"""Generators: what turns prompts into sampled responses, in process or on a server.

The config group `generator`: `hf` decodes with the policy's own weights, `openai` asks any server that speaks
the OpenAI protocol (vLLM, SGLang, `transformers serve`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np

from ..core.chat import ChatConfig
from ..core.config import ConfigError
from ..core.ranges import above, at_least, within
from .base_policy import BasePolicy
from .decoder import Response, SlotDecoder
from .models import AgentModelConfig, ModelConfig
from .policy import Policy
from .prompts import Prompt

Capability = Literal["token_ids", "log_probs", "own_weights"]
"""What a generator gives with a response: the very ids that were sampled; their log-probabilities under the
sampling temperature; responses of the weights that are being trained."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """What every generator has.

    Attributes:
        slots: responses that are sampled at a time.
        max_new_tokens: longest response.
        temperature: of the sampling; 0 takes the most probable token.
    """

    slots: int = 32
    max_new_tokens: int = 384
    temperature: float = 1.0

    def __post_init__(self) -> None:
        at_least(self, 1, "slots", "max_new_tokens")
        at_least(self, 0, "temperature")


@dataclass(frozen=True, kw_only=True)
class HFGeneratorConfig(SamplingConfig):
    """In process, with the policy's own weights.

    Attributes:
        refill: share of the slots that must wait for a prompt before those prompts are read.
        reuse_cache: whether keys and values are kept from turn to turn.
    """

    refill: float = 0.25
    reuse_cache: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, 0, 1, "refill")


@dataclass(frozen=True, kw_only=True)
class OpenAIGeneratorConfig(SamplingConfig):
    """A server that speaks the OpenAI protocol.

    Attributes:
        url: base address that ends in /v1.
        model: name the server knows the model by; with adapters, what their names begin with.
        weights: what it samples with: adapter, the policy's LoRA adapter, which is sent to it whenever it has
            changed (vLLM's runtime adapters); or server, whatever weights it has.
        adapters: folder of the adapters, which the server reads too, under the same path.
        protocol: completions (token ids in and out: vLLM, SGLang) or chat (text only: any server).
        log_probs: what the server gives: none, raw (before the temperature: vLLM's default) or processed.
        api_key_variable: environment variable that holds the key; empty for none.
        timeout_s: seconds to wait for one response.
        attempts: tries before giving up.
    """

    url: str = "http://127.0.0.1:8000/v1"
    model: str = "policy"
    weights: Literal["adapter", "server"] = "adapter"
    adapters: Path = Path("outputs/adapters")
    protocol: Literal["completions", "chat"] = "completions"
    log_probs: Literal["none", "raw", "processed"] = "raw"
    api_key_variable: str = ""
    timeout_s: float = 120.0
    attempts: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        above(self, 0, "timeout_s")
        at_least(self, 1, "attempts")
        if self.protocol == "chat" and self.log_probs == "processed":
            raise ValueError("protocol=chat gives text only, so log_probs=processed is not possible")

    @property
    def server(self) -> ChatConfig:
        """How the server is reached."""
        return ChatConfig(self.url, self.model, self.api_key_variable, self.timeout_s, self.attempts)


GeneratorConfig: TypeAlias = HFGeneratorConfig | OpenAIGeneratorConfig
GENERATORS: dict[str, type] = {"hf": HFGeneratorConfig, "openai": OpenAIGeneratorConfig}
"""The choices of the config group `generator`."""


class Generator(Protocol):
    """Samples responses; each slot holds one at a time."""

    slots: int

    @property
    def tokens_sampled(self) -> int:
        """Response tokens sampled so far."""
        ...

    @property
    def tokens_read(self) -> int:
        """Prompt tokens that were computed, not remembered."""
        ...

    def restart(self) -> None:
        """Forget what was read: the policy's weights have changed."""
        ...

    def submit(self, slot: int, prompt: Prompt, rng: np.random.Generator) -> None:
        """Ask a slot for a response; every draw comes from `rng`."""
        ...

    def poll(self) -> list[tuple[int, Response]]:
        """Wait until at least one response is finished: those, with their slots."""
        ...


def capabilities(config: GeneratorConfig) -> frozenset[Capability]:
    """What a generator of this config gives with a response."""
    if isinstance(config, HFGeneratorConfig):
        return frozenset({"token_ids", "log_probs", "own_weights"})
    given: set[Capability] = {"own_weights"} if config.weights == "adapter" else set()
    if config.protocol == "completions":
        given.add("token_ids")
        if config.log_probs == "processed" or (config.log_probs == "raw" and config.temperature == 1.0):
            given.add("log_probs")
    return frozenset(given)


_REMEDY: dict[Capability, str] = {
    "token_ids": "generator.protocol=completions, or generator=hf",
    "log_probs": "generator.log_probs=processed with a server that gives them, generator.temperature=1 with "
    "raw ones, or generator=hf",
    "own_weights": "generator.weights=adapter, or generator=hf",
}


def check_capabilities(config: GeneratorConfig, needs: Iterable[Capability], who: str) -> None:
    """Refuse a generator that does not give what somebody needs.

    Raises:
        ConfigError: naming what is missing and what would give it.
    """
    for need in needs:
        if need not in capabilities(config):
            kind = "openai" if isinstance(config, OpenAIGeneratorConfig) else "hf"
            raise ConfigError(
                f"generator={kind} does not give the {need.replace('_', ' ')} that {who} needs; "
                f"use {_REMEDY[need]}"
            )


def check_server(generator: GeneratorConfig, model: ModelConfig) -> None:
    """Refuse a server that is to sample with an adapter which the model has not, or what it cannot be sent.

    Raises:
        ConfigError: see there.
    """
    if not isinstance(generator, OpenAIGeneratorConfig):
        return
    if model.sees and generator.protocol == "completions":
        raise ConfigError(
            "generator.protocol=completions sends no images, and the model reads them; use "
            "generator.protocol=chat, or generator=hf"
        )
    if generator.weights == "adapter" and not (isinstance(model, AgentModelConfig) and model.lora_rank):
        raise ConfigError(
            "generator=openai is sent the policy's LoRA adapter, but model.lora_rank=0; set it, or use "
            "generator.weights=server (not for training by reinforcement) or generator=hf"
        )


def make_generator(config: GeneratorConfig, policy: BasePolicy) -> Generator:
    """The generator of a config; a policy that is no language model answers in one pass."""
    if not isinstance(policy, Policy):
        from .keypoint_policy import KeypointGenerator, KeypointPolicy

        assert isinstance(policy, KeypointPolicy)  # noqa: S101  there is no third kind
        return KeypointGenerator(policy, config.slots, config.temperature)
    if isinstance(config, HFGeneratorConfig):
        return SlotDecoder(
            policy,
            config.slots,
            config.max_new_tokens,
            config.temperature,
            config.refill,
            config.reuse_cache,
        )
    from .openai import OpenAIGenerator

    return OpenAIGenerator(config, policy)


def respond_all(
    generator: Generator, prompts: Sequence[Prompt], rngs: Sequence[np.random.Generator]
) -> list[Response]:
    """One response to each of any number of prompts."""
    todo = iter(enumerate(zip(prompts, rngs, strict=True)))
    running: dict[int, int] = {}
    responses: dict[int, Response] = {}
    free = list(range(generator.slots))[::-1]
    while len(responses) < len(prompts):
        while free and (item := next(todo, None)) is not None:
            index, (prompt, rng) = item
            running[free[-1]] = index
            generator.submit(free.pop(), prompt, rng)
        for slot, response in generator.poll():
            responses[running.pop(slot)] = response
            free.append(slot)
    return [responses[index] for index in range(len(prompts))]
