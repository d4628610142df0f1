"""Make base weights for the embedded model, from generic pointing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from ..core.progress import progress_bar
from ..core.runs import Run, RunConfig
from ..sim.pointing import PretrainConfig, pretrain
from ._verb import Verb


@dataclass(frozen=True)
class PretrainVerbConfig:
    """Keys of `kalie pretrain`.

    Attributes:
        pointing: scenes, optimisation and augmentation.
        weights: folder that also gets the weights, e.g. affordance/weights/base; null for the run's alone.
        run: where the run is written; run.resume=true goes on after an interruption.
    """

    pointing: PretrainConfig = field(default_factory=PretrainConfig)
    weights: Path | None = None
    run: RunConfig = field(default_factory=RunConfig)


def main(cfg: PretrainVerbConfig) -> None:
    """Draw the scenes, train, and write float16 weights to the run's folder `weights`."""
    with Run.open("pretrain", cfg.run, cfg, seeds=[cfg.pointing.seed]) as run:
        with (
            run.stage("pretrain"),
            progress_bar("drawing scenes") as drawn,
            progress_bar("training") as trained,
        ):
            model = pretrain(
                cfg.pointing,
                run.path,
                {"draw": drawn, "train": trained},
                lambda step, figures: run.log(figures, step),
            )
        model.half().save_pretrained(run.path / "weights")
        if cfg.weights is not None:
            shutil.copytree(run.path / "weights", cfg.weights, dirs_exist_ok=True)


VERB = Verb(
    PretrainVerbConfig,
    main,
    examples=("kalie pretrain", "kalie pretrain pointing.scenes=200 pointing.training.steps=50"),
)
