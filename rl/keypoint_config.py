"""The config of the keypoint model as a policy, apart from the model, so that choosing it costs no import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..core.ranges import above


@dataclass(frozen=True, kw_only=True)
class KeypointPolicyConfig:
    """The embedded keypoint model, which answers env=manipulation; see `keypoint_policy`.

    Attributes:
        window: a prompt shows the present turn alone.
        sees: images.
        weights: folder of a keypoint model (what `kalie finetune` or an earlier run wrote as `model`), or the
            name of shipped weights (base, tasks); base if null.
        map_temperature: that heat-maps are divided by, besides generator.temperature. The model learned maps
            as wide as a cell, 3 % of the picture, however sure it is; 0.1 makes answers a third as wide.
        scalar_sigma: standard deviation of the sampled scalars, millimetres and degrees.
        device: of torch, e.g. "cuda"; of a trainer with several processes, its own.
    """

    window: ClassVar[int] = 1
    sees: ClassVar[bool] = True
    weights: Path | None = None
    map_temperature: float = 0.1
    scalar_sigma: float = 3.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        above(self, 0, "map_temperature", "scalar_sigma")
