"""Run one episode: see, predict, plan, move, judge; with a video."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from ..affordance.models import HeatmapModelConfig, ModelConfig
from ..core.files import write_json
from ..core.progress import progress_bar
from ..core.ranges import at_least
from ..core.report import Report, Video
from ..core.runs import Run, RunConfig
from ..perception.segmentation import TabletopConfig
from ..perception.segmenters import SegmenterConfig
from ..sim.episode import act
from ..sim.objects import Split
from ..sim.registry import task
from ..sim.staging import stage
from ..sim.task import TaskName
from ..sim.world import World
from ._arms import registry
from ._models import SCENE_GROUPS, OracleConfig, check_pair, scene_predictor
from ._verb import Verb

FRAMES_PER_SECOND = 10


@dataclass(frozen=True)
class RunVerbConfig:
    """Keys of `kalie run`.

    Attributes:
        task: which task.
        split: whose families and look.
        seed: of the scene.
        model: where keypoints come from; oracle is the true ones.
        weights: short for model=heatmap model.weights=FOLDER (or tasks or base, which come with kalie);
            oracle is short for model=oracle.
        segmenter: of model=moka, finds the objects; tabletop needs no names, the others model.objects.
        objects: a .py file or a folder with object families of your own; see examples/objects.
        run: where results go.
    """

    task: TaskName = "sweep"
    split: Split = "test"
    seed: int = 0
    model: OracleConfig | ModelConfig = field(default_factory=OracleConfig)
    weights: str = ""
    segmenter: SegmenterConfig = field(default_factory=TabletopConfig)
    objects: Path | None = None
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        at_least(self, 0, "seed")
        if self.weights and self.model != OracleConfig():
            raise ValueError(f"weights={self.weights} is short for a model; do not choose model= as well")
        check_pair(self.model, self.segmenter, TabletopConfig())

    @property
    def chosen(self) -> OracleConfig | ModelConfig:
        """The model that `weights` is short for, or else the one of the group."""
        if self.weights in ("", "oracle"):
            return self.model
        return HeatmapModelConfig(Path(self.weights))


def main(cfg: RunVerbConfig) -> None:
    """Run it, write `episode.json` and a report with the video."""
    predict, families = scene_predictor(cfg.chosen, cfg.segmenter), registry(cfg.objects)
    with Run.open("run", cfg.run, cfg, seeds=[cfg.seed]) as run:
        world = World()
        with run.stage("stage"):
            staged = stage(world, task(cfg.task), cfg.split, cfg.seed, families)
        with run.stage("predict"):
            prediction = predict(staged)
        frames = [staged.frame.rgb]
        with run.stage("act"), progress_bar("acting") as progress:
            episode = act(world, staged, prediction, film=frames.append, progress=progress)
        write_json(run.path / "episode.json", asdict(episode))
        ending = "success" if episode.success else f"failure: {episode.reason}"
        caption = f"“{episode.instruction}” — {ending}"
        report = Report(f"One episode of {cfg.task}")
        report.section("Video").videos([Video(frames, caption, fps=FRAMES_PER_SECOND)])
        report.write(run.path / "report" / "index.html")
        run.add_row("success", float(episode.success), task=cfg.task, split=cfg.split)
        Console().print(caption)


VERB = Verb(
    RunVerbConfig,
    main,
    examples=(
        "kalie run task=sweep seed=3",
        "kalie run task=drawer weights=tasks",
        "kalie run task=drawer model=text model.source=HuggingFaceTB/SmolVLM-256M-Instruct "
        "model.adapter=outputs/finetune/latest/model",
        "kalie run task=sweep model=moka model.chat.url=http://localhost:8000/v1 model.chat.model=NAME",
    ),
    groups={**SCENE_GROUPS, "model": {"oracle": OracleConfig, **SCENE_GROUPS["model"]}},
)
