"""Generators: slots, caches and servers do not change what is sampled."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from kalie.core.chat import ChatError
from kalie.core.config import ConfigError
from kalie.rl.decoder import SlotDecoder, draw
from kalie.rl.generation import (
    HFGeneratorConfig,
    OpenAIGeneratorConfig,
    check_capabilities,
    make_generator,
    respond_all,
)
from kalie.rl.models import TinyLMConfig, TinyVLMConfig
from kalie.rl.openai import OpenAIGenerator
from kalie.rl.policy import Policy
from kalie.rl.prompts import Prompt
from kalie.rl.types import Observation

from ..affordance.chat_server import Server, says, serve

LM = TinyLMConfig(hidden=32, layers=2, heads=2, window=0)
VLM = TinyVLMConfig(hidden=32, layers=2, heads=2, window=0, vision_layers=1, image_size=32)


def observation(policy: Policy, rng: np.random.Generator, words: int) -> Observation:
    images = (rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),) if policy.images else ()
    return Observation("the number is 7 " * words, images)


def talk(policy: Policy, decoder: SlotDecoder, turns: int, slots: int) -> list[list[list[int]]]:
    """The responses of every slot in a conversation of some turns."""
    shown = [np.random.default_rng(10 + slot) for slot in range(slots)]
    draws = [np.random.default_rng(slot) for slot in range(slots)]
    conversations = [policy.conversation() for _ in range(slots)]
    said: list[list[list[int]]] = [[] for _ in range(slots)]
    for slot in range(slots):
        decoder.submit(slot, conversations[slot].observe(observation(policy, shown[slot], slot)), draws[slot])
    while any(len(responses) < turns for responses in said):
        for slot, response in decoder.poll():
            said[slot].append(response.ids.tolist())
            conversations[slot].respond(said[slot][-1])
            if len(said[slot]) < turns:
                prompt = conversations[slot].observe(observation(policy, shown[slot], 1))
                decoder.submit(slot, prompt, draws[slot])
    return said


@pytest.mark.parametrize("config", [LM, VLM], ids=["lm", "vlm"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_cache_kept_across_turns_gives_the_tokens_of_reading_everything_again(
    config: TinyLMConfig, temperature: float
) -> None:
    policy = Policy.load(config, 0)
    kept = SlotDecoder(policy, 3, 6, temperature)
    again = SlotDecoder(policy, 3, 6, temperature, reuse=False)
    assert talk(policy, kept, 8, 3) == talk(policy, again, 8, 3)
    assert kept.tokens_read < again.tokens_read / 3


def test_greedy_tokens_are_those_of_generate(policy: Policy) -> None:
    prompt = policy.conversation().observe(Observation("say a letter"))
    (response,) = respond_all(SlotDecoder(policy, 4, 12, 0.0), [prompt], [np.random.default_rng(0)])
    network: Any = policy.network
    wanted = network.generate(
        torch.from_numpy(prompt.ids)[None], max_new_tokens=12, do_sample=False, pad_token_id=policy.pad
    )
    assert response.ids.tolist() == wanted[0, len(prompt.ids) :].tolist()


def test_a_response_does_not_depend_on_slots_neighbours_or_refilling(policy: Policy) -> None:
    prompts = [policy.conversation().observe(Observation("go " * n)) for n in range(12)]
    found = []
    for slots, refill in ((1, 0.25), (4, 0.0), (4, 1.0), (12, 0.25)):
        decoder = SlotDecoder(policy, slots, 9, 1.0, refill)
        rngs = [np.random.default_rng(n) for n in range(12)]
        found.append([r.ids.tolist() for r in respond_all(decoder, prompts, rngs)])
    assert found[0] == found[1] == found[2] == found[3]


def test_another_image_in_the_same_place_is_read_anew() -> None:
    policy = Policy.load(VLM, 0)
    decoder = SlotDecoder(policy, 1, 1, 0.0)
    first = policy.conversation().observe(observation(policy, np.random.default_rng(0), 1))
    other = policy.conversation().observe(observation(policy, np.random.default_rng(1), 1))
    assert first.ids.tolist() == other.ids.tolist()
    for prompt in (first, other):
        (response,) = respond_all(decoder, [prompt], [np.random.default_rng(0)])
        (fresh,) = respond_all(SlotDecoder(policy, 1, 1, 0.0), [prompt], [np.random.default_rng(0)])
        assert response.log_probs == pytest.approx(fresh.log_probs, abs=1e-5)
    read = decoder.tokens_read
    respond_all(decoder, [other], [np.random.default_rng(0)])
    assert decoder.tokens_read == read + 1


def test_after_restart_new_weights_are_used() -> None:
    policy = Policy.load(TinyLMConfig(hidden=32, layers=1, heads=2), 0)
    decoder = SlotDecoder(policy, 1, 4, 1.0)
    prompt = policy.conversation().observe(Observation("say a"))
    respond_all(decoder, [prompt], [np.random.default_rng(0)])
    with torch.no_grad():
        for weight in policy.trained().values():
            weight.mul_(1.5)
    decoder.restart()
    (response,) = respond_all(decoder, [prompt], [np.random.default_rng(0)])
    (fresh,) = respond_all(SlotDecoder(policy, 1, 4, 1.0), [prompt], [np.random.default_rng(0)])
    assert response.log_probs == pytest.approx(fresh.log_probs, abs=1e-6)


def test_draws_follow_the_distribution_and_never_hit_probability_zero() -> None:
    probabilities = torch.tensor([0.1, 0.0, 0.6, 0.3, 0.0])
    count = 20_000
    uniforms = np.linspace(0, 1, count, endpoint=False, dtype=np.float32)
    uniforms[-1] = np.nextafter(np.float32(1), np.float32(0))
    tokens, log_probs = draw(probabilities.log().expand(count, 5), uniforms, 1.0)
    shares = torch.bincount(tokens, minlength=5) / count
    torch.testing.assert_close(shares, probabilities, atol=1e-3, rtol=0)
    torch.testing.assert_close(log_probs.exp(), probabilities[tokens])
    greedy, _ = draw(probabilities.log()[None], np.zeros(1, np.float32), 0.0)
    assert greedy.tolist() == [2]


def test_responses_end_with_the_end_token_or_at_the_limit(policy: Policy) -> None:
    prompts = [policy.conversation().observe(Observation("x"))] * 40
    rngs = [np.random.default_rng(n) for n in range(40)]
    responses = respond_all(SlotDecoder(policy, 40, 300, 3.0), prompts, rngs)
    ended = [response.ids[-1] in policy.end_ids for response in responses]
    assert any(ended)
    for response, end in zip(responses, ended, strict=True):
        assert not set(response.ids[:-1].tolist()) & set(policy.end_ids)
        assert end or len(response.ids) == 300


def test_when_a_busy_slot_is_asked_again_expect_an_error(policy: Policy) -> None:
    decoder = SlotDecoder(policy, 1, 3, 1.0)
    prompt = policy.conversation().observe(Observation("x"))
    decoder.submit(0, prompt, np.random.default_rng(0))
    with pytest.raises(ValueError, match="slot 0 is busy"):
        decoder.submit(0, prompt, np.random.default_rng(0))


def asking(server: Server, **more: Any) -> OpenAIGeneratorConfig:  # noqa: ANN401  anything
    """How a server of a test is asked, with its own weights unless told otherwise."""
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return OpenAIGeneratorConfig(**{"url": url, "attempts": 1, "slots": 2, "weights": "server", **more})


def completion(ids: list[int], log_probs: list[float] | None, reason: str = "stop") -> bytes:
    choice = {"text": "", "token_ids": ids, "finish_reason": reason}
    return json.dumps({"choices": [{**choice, "logprobs": {"token_logprobs": log_probs}}]}).encode()


def test_a_server_gets_prompt_ids_and_its_sampled_ids_and_log_probs_are_taken(policy: Policy) -> None:
    prompt = policy.conversation().observe(Observation("x"))
    end = policy.end_ids[0]
    with serve(completion([65, 66, end], [-1.0, -2.0, -0.5])) as server:
        (response,) = respond_all(
            make_generator(asking(server), policy), [prompt], [np.random.default_rng(0)]
        )
    assert server.asked[0]["prompt"] == prompt.ids.tolist()
    assert server.asked[0]["temperature"] == 1.0
    assert response.ids.tolist() == [65, 66, end]
    assert response.log_probs.tolist() == [-1.0, -2.0, -0.5]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (completion([65, 66], [-1.0, -2.0]), "end token is missing"),
        (completion([65], [-1.0, -2.0], "length"), "2 log-probs for 1 tokens"),
        (json.dumps({"choices": [{"text": "a"}]}).encode(), "lacks token ids"),
        (b"[]", "not a JSON object"),
    ],
)
def test_when_a_server_leaves_out_what_was_promised_expect_an_error(
    policy: Policy, reply: bytes, message: str
) -> None:
    prompt = policy.conversation().observe(Observation("x"))
    with serve(reply) as server, pytest.raises(ChatError, match=message):
        respond_all(OpenAIGenerator(asking(server), policy), [prompt], [np.random.default_rng(0)])


def test_a_chat_server_gets_the_conversation_with_its_images() -> None:
    policy = Policy.load(VLM, 0)
    conversation = policy.conversation()
    prompt: Prompt | None = None
    for turn in range(2):
        prompt = conversation.observe(observation(policy, np.random.default_rng(turn), 1))
        conversation.respond([65], "+")
    assert prompt is not None
    with serve(says("the answer")) as server:
        config = asking(server, protocol="chat", log_probs="none")
        (response,) = respond_all(make_generator(config, policy), [prompt], [np.random.default_rng(0)])
    roles = [message["role"] for message in server.asked[0]["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert server.asked[0]["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png")
    assert policy.text(response.ids.tolist()) == "the answer"
    assert all(math.isnan(value) for value in response.log_probs)


def test_when_an_algorithm_needs_what_a_generator_cannot_give_expect_a_config_error() -> None:
    check_capabilities(HFGeneratorConfig(), ("token_ids", "log_probs", "own_weights"), "algorithm=ppo")
    check_capabilities(OpenAIGeneratorConfig(), ("token_ids", "log_probs", "own_weights"), "algorithm=ppo")
    for config, need in (
        (OpenAIGeneratorConfig(protocol="chat", log_probs="none"), "token_ids"),
        (OpenAIGeneratorConfig(temperature=0.5), "log_probs"),
        (OpenAIGeneratorConfig(log_probs="none"), "log_probs"),
        (OpenAIGeneratorConfig(weights="server"), "own_weights"),
    ):
        with pytest.raises(ConfigError, match=f"generator=openai does not give the {need.replace('_', ' ')}"):
            check_capabilities(config, [need], "algorithm=archer")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="protocol=chat"):
        OpenAIGeneratorConfig(protocol="chat", log_probs="processed")
