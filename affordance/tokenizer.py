"""The embedded model's tokenizer: a small WordPiece vocabulary that this project trains itself.

Every letter is a piece, so an unseen word becomes a few pieces and never "unknown".
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

PAD, UNKNOWN = "[PAD]", "[UNK]"


def build_tokenizer(vocabulary: Sequence[str]) -> Tokenizer:
    """A lower-casing WordPiece tokenizer over pieces in the order of their ids; the first one pads."""
    tokenizer = Tokenizer(
        models.WordPiece(vocab={piece: index for index, piece in enumerate(vocabulary)}, unk_token=UNKNOWN)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.enable_padding(pad_id=0, pad_token=PAD)
    return tokenizer


def train_vocabulary(corpus: Iterable[str], size: int = 2048) -> tuple[str, ...]:
    """At most `size` WordPiece pieces in the order of their ids; the same corpus gives the same ones."""
    symbols = list(string.ascii_lowercase + string.digits)
    # One word per symbol makes it a continuation piece as well.
    every_symbol_inside_a_word = [f"a{symbol}" for symbol in symbols]
    tokenizer = build_tokenizer([PAD, UNKNOWN])
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=1,
        special_tokens=[PAD, UNKNOWN],
        initial_alphabet=symbols + list(string.punctuation),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*corpus, *every_symbol_inside_a_word], trainer)
    pieces = tokenizer.get_vocab()
    return tuple(sorted(pieces, key=pieces.__getitem__))
