"""Make base weights for the embedded model, from generic pointing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from ..core.loggers import LOGGERS, LoggerConfig
from ..core.progress import progress_bar
from ..core.report import Report
from ..core.runs import Run, RunConfig
from ..sim.pointing import PretrainConfig, pretrain
from ._pages import show_curves
from ._verb import Verb


@dataclass(frozen=True)
class PretrainVerbConfig:
    """Keys of `kalie pretrain`.

    Attributes:
        pointing: scenes, optimisation and augmentation.
        weights: folder that also gets the weights, e.g. affordance/weights/base; null for the run's alone.
        logger: where the figures of training go besides metrics.jsonl.
        run: where the run is written; run.resume=true goes on after an interruption.
    """

    pointing: PretrainConfig = field(default_factory=PretrainConfig)
    weights: Path | None = None
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    run: RunConfig = field(default_factory=RunConfig)


def main(cfg: PretrainVerbConfig) -> None:
    """Draw the scenes, train, and write float16 weights to the run's folder `weights`."""
    seeds = [cfg.pointing.seed]
    with Run.open("pretrain", cfg.run, cfg, seeds, logger=cfg.logger, may_change=["logger"]) as run:
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
        report = Report("Pre-training", subtitle=f"generic pointing in {cfg.pointing.scenes} drawn scenes")
        show_curves(report.section("Training"), run.path / "metrics.jsonl")
        report.write(run.path / "report" / "index.html")
        if cfg.weights is not None:
            shutil.copytree(run.path / "weights", cfg.weights, dirs_exist_ok=True)


VERB = Verb(
    PretrainVerbConfig,
    main,
    examples=("kalie pretrain", "kalie pretrain pointing.scenes=200 pointing.training.steps=50"),
    groups={"logger": LOGGERS},
)
