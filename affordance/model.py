"""What every keypoint model offers: images and instructions in, affordances with confidence out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from .schema import Affordance, KeypointName


@dataclass(frozen=True)
class Prediction:
    """One answer. An unusable answer has `affordance=None` and says why in `error`; it is never guessed.

    Attributes:
        affordance: the parsed answer, or None when invalid.
        confidence: per keypoint, in [0, 1].
        error: why the answer is invalid, empty when it is valid.
        text: the raw reply of a text model, empty for a heat-map model.
    """

    affordance: Affordance | None
    confidence: Mapping[KeypointName, float] = field(default_factory=dict)
    error: str = ""
    text: str = ""

    @property
    def valid(self) -> bool:
        """Whether there is an affordance."""
        return self.affordance is not None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        affordance = None if self.affordance is None else self.affordance.to_json()
        return {
            "affordance": affordance,
            "confidence": dict(self.confidence),
            "error": self.error,
            "text": self.text,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` made.

        Raises:
            InvalidKeypoints: naming the key at fault.
        """
        found = data["affordance"]
        affordance = None if found is None else Affordance.from_json(found)
        return cls(affordance, data["confidence"], data["error"], data["text"])


class KeypointModel(Protocol):
    """Predicts keypoint affordances."""

    def predict(self, images: Sequence[NDArray[np.uint8]], instructions: Sequence[str]) -> list[Prediction]:
        """One prediction per (image, instruction) pair.

        Args:
            images: uint8 (H, W, 3) RGB, any size.
            instructions: as many as images.
        """
        ...
