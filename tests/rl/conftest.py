"""What the tests of rl share: a tiny tabular text environment, policies and generators."""

from __future__ import annotations

import pytest

from kalie.rl.models import TinyLMConfig
from kalie.rl.policy import Policy


@pytest.fixture(scope="module")
def policy() -> Policy:
    """An untrained text policy, small."""
    return Policy.load(TinyLMConfig(hidden=32, layers=1, heads=2, window=0), seed=0)
