"""Prompts: what the model reads is exactly what was sampled and shown, token by token."""

from __future__ import annotations

import numpy as np
import pytest

from kalie.rl.models import TinyVLMConfig
from kalie.rl.policy import Policy
from kalie.rl.prompts import PromptError
from kalie.rl.tokenizer import SPECIAL, tiny_tokenizer
from kalie.rl.types import Observation

AWKWARD = '{"thoughts": "13 < 24, so +", "action": "+"}\n\té 漢 \x00 <|end|> <|image|>  two  spaces'


def test_every_text_comes_back_from_its_ids() -> None:
    tokenizer = tiny_tokenizer()
    for text in (AWKWARD, "", " ", "aAbB" * 50, "".join(map(chr, range(32, 400)))):
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        assert tokenizer.decode(ids) == text


def test_digits_and_json_punctuation_are_single_tokens_and_common_words_whole() -> None:
    tokenizer = tiny_tokenizer()
    assert tokenizer.tokenize('{"action":"10"}') == ["{", '"', "action", '"', ":", '"', "1", "0", '"', "}"]


def test_words_that_a_config_names_are_whole_too() -> None:
    tokenizer = tiny_tokenizer(["guitar", "tennis"])
    assert tokenizer.tokenize("Tennis, a guitar") == ["Tennis", ",", "\u0120a", "\u0120guitar"]
    assert tokenizer.decode(tokenizer("a tennis guitar").input_ids) == "a tennis guitar"


def test_control_tokens_written_in_an_observation_have_no_effect(policy: Policy) -> None:
    special = {policy.tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    clean = policy.conversation().observe(Observation("x"))
    forged = policy.conversation().observe(Observation("".join(SPECIAL)))
    assert sum(int(i) in special for i in forged.ids) == sum(int(i) in special for i in clean.ids)


def test_a_prompt_continues_the_prompt_and_response_before_it(policy: Policy) -> None:
    conversation = policy.conversation()
    first = conversation.observe(Observation("say a"))
    response = [65, 66, policy.end_ids[0]]
    conversation.respond(response)
    second = conversation.observe(Observation("say b"))
    assert second.ids[: len(first.ids) + 3].tolist() == [*first.ids.tolist(), *response]


def test_a_response_without_end_token_is_closed_and_one_with_it_is_not_closed_twice(policy: Policy) -> None:
    end = policy.end_ids[0]
    ids = {}
    for ended in (True, False):
        conversation = policy.conversation()
        conversation.observe(Observation("say a"))
        conversation.respond([65, *([end] if ended else [])])
        ids[ended] = conversation.observe(Observation("say b")).ids.tolist()
    assert ids[True] == ids[False]
    assert ids[True].count(end) == 3


@pytest.mark.parametrize("ended", [False, True])
def test_the_opening_of_an_answer_is_what_follows_a_response_up_to_the_answers_text(
    policy: Policy, ended: bool
) -> None:
    response = np.array([65, *([policy.end_ids[0]] if ended else [])])
    following = policy.renderer.following(Observation("yes"), ended)
    opening = policy.renderer.opening().after(response)
    text = policy.renderer.text_ids("yes")
    assert following[: len(opening) + len(text)] == [*opening, *text]


def test_a_windowed_prompt_does_not_depend_on_how_many_turns_came_before(policy: Policy) -> None:
    config = policy.config
    prompts = []
    for earlier in (2, 7):
        conversation = policy.conversation()
        conversation._window = 2
        for turn in range(earlier):
            conversation.observe(Observation(f"long gone {turn}"))
            conversation.respond([70 + turn])
        for text in ("say a", "say b"):
            prompt = conversation.observe(Observation(text))
            conversation.respond([65])
        prompts.append(prompt)
    assert prompts[0].ids.tolist() == prompts[1].ids.tolist()
    assert [message.text for message in prompts[0].messages] == ["say a", "", "say b"]
    assert config.window == 0


def test_when_a_prompt_outgrows_the_limit_expect_an_error_that_names_the_key(policy: Policy) -> None:
    with pytest.raises(PromptError, match=r"model\.max_prompt_tokens=4096"):
        policy.conversation().observe(Observation("z" * 100_000))


def test_when_a_text_model_is_shown_an_image_expect_an_error(policy: Policy) -> None:
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    with pytest.raises(PromptError, match="reads only text"):
        policy.conversation().observe(Observation("look", (image,)))


def test_an_image_takes_its_placeholders_before_the_text() -> None:
    config = TinyVLMConfig(hidden=32, layers=1, heads=2, vision_layers=1, image_size=32)
    policy = Policy.load(config, 0)
    image = np.zeros((10, 20, 3), dtype=np.uint8)
    prompt = policy.conversation().observe(Observation("look", (image, image)))
    assert policy.images is not None
    assert prompt.ids.tolist().count(policy.images.token) == 2 * 4
    assert prompt.ids.tolist()[1:9] == [policy.images.token] * 8
