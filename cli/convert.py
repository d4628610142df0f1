"""Make a data set from the JSON labels that KALIE published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ..affordance.kalie_format import Outside, import_kalie
from ._verb import Verb


@dataclass(frozen=True)
class ConvertConfig:
    """Keys of `kalie convert`.

    Attributes:
        data: the JSON file; the images that it names lie in its folder.
        to: folder of the data set, which must not hold one yet. Without masks it can be tuned on but not
            multiplied; docs/own_photos.md says how masks are found.
        outside: what becomes of a point outside the image; refuse, or absent.
    """

    data: Path
    to: Path
    outside: Outside = "refuse"


def main(cfg: ConvertConfig) -> None:
    """Read everything, then write the data set."""
    photos = import_kalie(cfg.data, cfg.outside)
    photos.save(cfg.to)
    Console(highlight=False).print(f"{cfg.to}: {len(photos)} photos")


VERB = Verb(
    ConvertConfig,
    main,
    examples=(
        "kalie convert data=kalie/data_jsonformat.json to=photos/kalie",
        "kalie convert data=kalie/train.json to=photos/kalie_train outside=absent",
    ),
)
