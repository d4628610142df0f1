"""The tokenizer of the tiny models: bytes, digits and JSON punctuation one by one, common words whole.

It is built here, so the embedded models need no download. Every text has ids, and comes back from them
exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

PAD, END, SYSTEM, USER, ASSISTANT, IMAGE = (
    "<|pad|>",
    "<|end|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|image|>",
)
SPECIAL = (PAD, END, SYSTEM, USER, ASSISTANT, IMAGE)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'system' %}<|system|>{% elif message.role == 'user' %}<|user|>"
    "{% else %}<|assistant|>{% endif %}"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|image|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

WORDS = """
a about above action actions add after again all an and animal answer any are around arm as ask at away back
bag be before below between big black blackjack blue book box brown bus but button buy by can card cards
carry city choose click close cold come command control cook correct count country cup current dealer
description desk distance do does done door down drawer drink drop each eat east either electronic empty end
equal equals everything examine exit exactly expression face false far feature features find finished first
five fly food for formula four from function furniture game get give go goal good grasp green ground guess
hand hands has have held hit hold hot house if image in inside instruction into invalid inventory is it item
its json just key keypoint lamp larger last least left less letter light like list line lines living long
look made make man many map may metal more most move must name need next no north not nothing now number
numbers object of off on once one only open options or order other out outside over page part pass people
pick place plan player please plus point points position pour possible press previous price primitive
product push put question questions reach read red reply result return reward right road room safe same say
score search see seen sell shop short should show shows side size small smaller some south stand start state
step stop sum sweep symbol table take target task text than that the them then there these they thing think
thought thoughts three tidy time times to too top total towel toward treasure true try turn twenty two under
unplug until up use used user using value valid wall want was water way wear west what when where which
white will win with wood word words work world write wrong yes yellow yet you your zero
"""
"""What the environments' prompts are made of; others are spelt, unless the model's config names them."""

_SPELT, _WHOLE = -10.0, -5.0
"""Log-probabilities: a word as one token always beats its letters."""


def tiny_tokenizer(further: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """The tokenizer with its chat template; text is never changed by the round trip through ids.

    Args:
        further: words that are kept whole beside `WORDS`.
    """
    pieces = [(token, 0.0) for token in SPECIAL]
    pieces += [(byte, _SPELT) for byte in sorted(pre_tokenizers.ByteLevel.alphabet())]
    words = [form for word in [*WORDS.split(), *further] for form in _forms(word) if len(form) > 1]
    pieces += [(word, _WHOLE) for word in dict.fromkeys(words)]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT, IMAGE],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _forms(word: str) -> tuple[str, str, str]:
    """A word alone, capitalised, and after a space (which the byte alphabet writes as Ġ)."""
    return word, word.capitalize(), f"Ġ{word}"
