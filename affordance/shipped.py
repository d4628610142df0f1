"""The weights of the embedded keypoint model that come with kalie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SHIPPED: Mapping[str, Path] = {name: Path(__file__).parent / "weights" / name for name in ("base", "tasks")}
"""Folders by name: `base`, where tuning starts, knows generic pointing; `tasks` is `base` tuned on labelled
photos of the training objects of the five simulated tasks."""
BASE_WEIGHTS = SHIPPED["base"]


def weights_folder(weights: str | Path | None) -> Path:
    """The folder that a path or a shipped name means, the name first; `base` if null."""
    weights = weights or "base"
    return SHIPPED.get(str(weights), Path(weights))
