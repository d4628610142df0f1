"""The policy of a config, whichever kind it is."""

from __future__ import annotations

from .base_policy import BasePolicy
from .keypoint_config import KeypointPolicyConfig
from .models import ModelConfig
from .policy import Policy


def load_policy(config: ModelConfig, seed: int) -> BasePolicy:
    """The policy of a config; weights that are drawn come from `seed`.

    Raises:
        OSError: its weights cannot be had.
        ValueError: its weights are of another model.
    """
    if isinstance(config, KeypointPolicyConfig):
        from .keypoint_policy import KeypointPolicy

        return KeypointPolicy.load(config)
    return Policy.load(config, seed)
