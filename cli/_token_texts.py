"""The texts of single tokens of a run's responses, as far as the run's tokenizer is on this machine."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ..core.config import ConfigError

log = logging.getLogger(__name__)


class TokenTexts:
    """Texts of token ids. The tokenizer is loaded when it is first asked for.

    Args:
        run: folder of a run of `kalie train` or `kalie eval`.
    """

    def __init__(self, run: Path) -> None:
        self._run = run

    def pieces(self, ids: Sequence[int]) -> list[str] | None:
        """The text that each token adds to those before it; None without the tokenizer."""
        if self._tokenizer is None:
            return None
        lengths = (len(self._decode(ids[:count])) for count in range(len(ids) + 1))
        # A character of several tokens is a longer placeholder until its last one is there.
        ends = itertools.accumulate(lengths, max)
        whole = self._decode(ids)
        return [whole[start:end] for start, end in itertools.pairwise(ends)]

    def whole(self, ids: Sequence[int]) -> str | None:
        """All of them as one text, special tokens included; None without the tokenizer."""
        return None if self._tokenizer is None else self._decode(ids)

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401  a Hugging Face tokenizer, or None
        # Models are imported only here: the list of episodes does not wait for them.
        from ..rl.models import load_tokenizer
        from .eval import training_of

        try:
            return load_tokenizer(training_of(_training(self._run)).model)
        except (ConfigError, OSError) as error:
            log.info("tokens are shown without their texts: %s", error)
            return None


def _training(run: Path) -> Path:
    """The training run itself, or the one that an evaluation was of."""
    file = run / "config.yaml"
    plain = yaml.safe_load(file.read_text("utf-8")) if file.is_file() else {}
    return Path(plain["run"]) if isinstance(plain.get("run"), str) else run
