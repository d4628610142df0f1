"""Multiply labelled photos: affordance-aware data synthesis."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from ..affordance.dataset import AffordanceDataset
from ..core.chat import ChatConfig
from ..core.progress import progress_bar
from ..core.runs import Run, RunConfig
from ..synthesis.checks import NoJudge
from ..synthesis.compose import for_task
from ..synthesis.describe import WordList, describe_with_chat
from ..synthesis.diffusion import DiffusionConfig
from ..synthesis.pipeline import SynthesisConfig, SynthesisReport, Words, synthesise
from ..synthesis.repaint import ProceduralConfig
from ._verb import Verb


@dataclass(frozen=True, kw_only=True)
class SynthesizeConfig(SynthesisConfig):
    """Keys of `kalie synthesize`.

    Attributes:
        photos: data set of labelled photos with masks.
        task: whose rules the free-space keypoints obey; empty for those in compose.binding.
        describer: the built-in word list, or a chat model that words the appearances.
        include_photos: whether the data set written holds the photos as well.
        seed: of everything random.
        run: where the run is written.
        count: synthetic images in all, spread evenly over the photos.
        compose: what is drawn.
        repainter: procedural or diffusion, with its settings.
        judge: none, or a vision-language model that is asked whether an image is usable.
        draws: most draws per image; after half of them objects move less and less.
        workers: processes.
        batch: images whose objects are repainted together (worth it for diffusion on a GPU).
    """

    photos: Path
    task: Literal["", "sweep", "drawer", "towel", "pour", "unplug"] = ""
    describer: WordList | ChatConfig = field(default_factory=WordList)
    include_photos: bool = True
    seed: int = 0
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must not be negative")


def main(cfg: SynthesizeConfig) -> None:
    """Write the synthetic images one by one to `images/`, then all of them as a data set to `dataset/`."""
    photos = AffordanceDataset.load(cfg.photos)
    config = _synthesis(cfg)
    with Run.open("synthesize", cfg.run, cfg, seeds=[cfg.seed], may_change=("workers", "batch")) as run:
        words: Words | None = None
        if isinstance(cfg.describer, ChatConfig):
            with run.stage("describe"):
                words = describe_with_chat(photos.items, cfg.describer)
        with run.stage("synthesise"), progress_bar("synthesising") as progress:
            images = synthesise(
                photos.items, config, cfg.seed, folder=run.path / "images", words=words, progress=progress
            )
        with run.stage("write"):
            kept = photos.items if cfg.include_photos else ()
            AffordanceDataset((*kept, *images)).save(run.path / "dataset")
        report = SynthesisReport.of(images)
        run.add_row("images", report.kept)
        for reason, count in Counter(report.rejected).items():
            run.add_row("rejected_draws", count, reason=reason)


def _synthesis(cfg: SynthesizeConfig) -> SynthesisConfig:
    """The part of the verb's config that the library takes, with what the task asks for."""
    config = SynthesisConfig(**{item.name: getattr(cfg, item.name) for item in fields(SynthesisConfig)})
    if not cfg.task:
        return config
    return replace(config, compose=for_task(config.compose, cfg.task))


VERB = Verb(
    SynthesizeConfig,
    main,
    examples=(
        "kalie synthesize photos=photos/sweep task=sweep count=500 workers=2",
        "kalie synthesize photos=photos/sweep task=sweep compose.mode=geometry_only",
        "kalie synthesize photos=photos/sweep repainter=diffusion batch=8",
        "kalie synthesize photos=photos/sweep judge=chat judge.url=http://localhost:8000/v1 judge.model=NAME",
    ),
    groups={
        "repainter": {"procedural": ProceduralConfig, "diffusion": DiffusionConfig},
        "describer": {"words": WordList, "chat": ChatConfig},
        "judge": {"none": NoJudge, "chat": ChatConfig},
    },
)
