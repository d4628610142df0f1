"""A labelled image: what an annotator makes and what synthesis multiplies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .schema import Affordance

Source = Literal["photo", "synthetic", "rendered"]


@dataclass(frozen=True)
class Provenance:
    """Where an image comes from.

    Attributes:
        source: photo, synthetic or rendered.
        parent: id of the photo it descends from (its own id for a photo); splits keep parents together.
        seed: of the random draws that made it.
        details: JSON-able facts, e.g. the transforms and appearance descriptions applied.
    """

    source: Source
    parent: str
    seed: int = 0
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelledImage:
    """Image + instruction + affordance (+ masks).

    Attributes:
        id: unique in its data set; a plain file-name stem.
        rgb: uint8 (H, W, 3).
        instruction: the free-form text.
        affordance: the label.
        masks: uint8 (H, W) instance ids, 0 = background, 1.. = objects; None when unknown.
        provenance: photo, synthetic or rendered, and its parent.
        group: object instance set the photo shows (validation is split by it), e.g. "flat_brush/0".
    """

    id: str
    rgb: NDArray[np.uint8]
    instruction: str
    affordance: Affordance
    provenance: Provenance
    masks: NDArray[np.uint8] | None = None
    group: str = ""
