"""The embedded model's tokenizer: a small WordPiece vocabulary that this project makes itself.

Every letter is a piece, so an unseen word becomes a few pieces and never "unknown".
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

PAD, UNKNOWN = "[PAD]", "[UNK]"
CONTINUES = "##"
ENDINGS = ("s", "es", "ed", "d", "ing", "er", "est", "ly", "y", "le")


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


def make_vocabulary(corpus: Iterable[str], size: int = 2048) -> tuple[str, ...]:
    """At most `size` pieces in the order of their ids: symbols, endings, then words, the commonest first."""
    symbols = [*string.ascii_lowercase, *string.digits]
    pieces = [PAD, UNKNOWN, *symbols, *string.punctuation]
    pieces += [CONTINUES + piece for piece in dict.fromkeys([*symbols, *ENDINGS])]
    counts: Counter[str] = Counter()
    splitter = build_tokenizer(pieces)
    for text in corpus:
        normal = splitter.normalizer.normalize_str(text)
        counts.update(word for word, _ in splitter.pre_tokenizer.pre_tokenize_str(normal))
    words = sorted(counts.keys() - set(pieces), key=lambda word: (-counts[word], word))
    return tuple([*pieces, *words][:size])
