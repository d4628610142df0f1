"""Multiply labelled photos: affordance-aware data synthesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from ..affordance.dataset import AffordanceDataset, DatasetWriter
from ..affordance.labels import LabelledImage
from ..core.chat import ChatConfig
from ..core.config import flatten, to_primitive
from ..core.presets import Presets, presets
from ..core.progress import progress_bar
from ..core.ranges import at_least
from ..core.report import Report
from ..core.runs import Run, RunConfig
from ..synthesis.binding import TASK_BINDINGS
from ..synthesis.checks import NoJudge
from ..synthesis.compose import ComposeConfig, for_task
from ..synthesis.describe import WordList, describe_with_chat
from ..synthesis.diffusion import DiffusionConfig
from ..synthesis.pipeline import SynthesisConfig, SynthesisReport, Words, synthesise
from ..synthesis.repaint import ProceduralConfig
from ._pages import show_children
from ._verb import Verb


def _task_presets() -> Presets:
    """What each task changes in `compose`, by dotted key."""
    plain = _compose_keys(ComposeConfig())
    by_task = {task: _compose_keys(for_task(ComposeConfig(), task)) for task in TASK_BINDINGS}
    return {
        task: {key: value for key, value in keys.items() if value != plain[key]}
        for task, keys in by_task.items()
    }


def _compose_keys(config: ComposeConfig) -> dict[str, object]:
    return flatten({"compose": to_primitive(config)})


@dataclass(frozen=True, kw_only=True)
class SynthesizeConfig(SynthesisConfig):
    """Keys of `kalie synthesize`.

    Attributes:
        photos: data set of labelled photos with masks.
        allow_partial: whether one that was cut off mid-write is used as far as it goes.
        task: whose rules the free-space keypoints obey, and what is cut, added and strewn; it changes keys of
            compose, where those given here win.
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
    allow_partial: bool = False
    task: Literal["", "sweep", "drawer", "towel", "pour", "unplug"] = field(
        default="", metadata=presets(_task_presets())
    )
    describer: WordList | ChatConfig = field(default_factory=WordList)
    include_photos: bool = True
    seed: int = 0
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "seed")


def main(cfg: SynthesizeConfig) -> None:
    """Write the synthetic images one by one to `images/`, then all of them as a data set to `dataset/`."""
    photos = AffordanceDataset.load(cfg.photos, cfg.allow_partial)
    config = SynthesisConfig(**{item.name: getattr(cfg, item.name) for item in fields(SynthesisConfig)})
    with Run.open("synthesize", cfg.run, cfg, seeds=[cfg.seed], may_change=("workers", "batch")) as run:
        words: Words | None = None
        if isinstance(cfg.describer, ChatConfig):
            with run.stage("describe"), progress_bar("describing") as progress:
                folder = run.path / "descriptions"
                words = describe_with_chat(photos.items, cfg.describer, folder=folder, progress=progress)
        with run.stage("synthesise"), progress_bar("synthesising") as progress:
            images = synthesise(
                photos.items, config, cfg.seed, folder=run.path / "images", words=words, progress=progress
            )
        with (
            run.stage("write"),
            DatasetWriter(run.path / "dataset", resume=True) as writer,
            progress_bar("writing") as progress,
        ):
            written = {item.id for item in writer.kept}
            whole = (*photos.items, *images) if cfg.include_photos else images
            writer.extend([item for item in whole if item.id not in written], progress)
        _report(run, photos.items, images)


def _report(run: Run, photos: Sequence[LabelledImage], images: Sequence[LabelledImage]) -> None:
    """Put counts into the summary, and write the report."""
    counts = SynthesisReport.of(images)
    run.add_row("images", counts.kept)
    for reason, count in counts.rejected.items():
        run.add_row("rejected_draws", count, reason=reason)
    report = Report("Synthetic images", subtitle=f"{counts.kept} from {len(photos)} labelled photos")
    show_children(report.section("Images"), photos, images)
    rows = [["kept", counts.kept], *([f"rejected: {reason}", n] for reason, n in counts.rejected.items())]
    report.section("Draws").table(["what became of it", "draws"], rows)
    report.write(run.path / "report" / "index.html")


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
