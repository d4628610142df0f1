"""The watch over a policy that collapses: it says the same, repeats itself, or forgets the form."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.ranges import at_least, within

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WatchConfig:
    """When a policy counts as collapsed.

    Attributes:
        entropy_below: nats per token, on average.
        repetition_above: share of a response's four-token runs that it had before.
        invalid_above: share of turns without an action.
        patience: updates in a row after which a warning is given.
        stop: whether training then ends, with the best policy so far as its result.
    """

    entropy_below: float = 0.005
    repetition_above: float = 0.5
    invalid_above: float = 0.9
    patience: int = 5
    stop: bool = False

    def __post_init__(self) -> None:
        at_least(self, 0, "entropy_below")
        at_least(self, 1, "patience")
        within(self, 0, 1, "repetition_above", "invalid_above")


class CollapseWatch:
    """Looks at every update's figures.

    Args:
        config: the limits.
    """

    def __init__(self, config: WatchConfig) -> None:
        self._config = config
        self._runs: dict[str, int] = {}

    def look(self, metrics: Mapping[str, float]) -> list[str]:
        """What has been wrong for long enough, in words; a warning is logged when it becomes so."""
        found = []
        for name, wrong in self._wrong(metrics).items():
            self._runs[name] = self._runs.get(name, 0) + 1 if wrong else 0
            if self._runs[name] >= self._config.patience:
                found.append(f"{name} for {self._runs[name]} updates")
            if self._runs[name] == self._config.patience:
                log.warning("the policy may have collapsed: %s", found[-1])
        return found

    def _wrong(self, metrics: Mapping[str, float]) -> dict[str, bool]:
        config = self._config
        rules = {
            "policy/entropy": (f"entropy below {config.entropy_below:g}", -1, config.entropy_below),
            "rollout/repetition": (
                f"repetition above {config.repetition_above:g}",
                1,
                config.repetition_above,
            ),
            "rollout/invalid": (f"invalid responses above {config.invalid_above:g}", 1, config.invalid_above),
        }
        return {
            text: sign * metrics[key] > sign * limit
            for key, (text, sign, limit) in rules.items()
            if key in metrics
        }

    def state_dict(self) -> dict[str, Any]:
        """How long each thing has been wrong."""
        return {"runs": dict(self._runs)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take everything over from `state_dict`."""
        self._runs = dict(state["runs"])
