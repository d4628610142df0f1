"""Run one episode: see, predict, plan, move, judge; with a video."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from ..affordance.heatmap import BASE_WEIGHTS, HeatmapKeypointModel
from ..core.files import write_json
from ..core.report import Report, Video
from ..core.runs import Run, RunConfig
from ..sim.benchmark import Predictor, from_model, from_oracle
from ..sim.episode import act
from ..sim.objects import Split
from ..sim.registry import task
from ..sim.staging import stage
from ..sim.task import TaskName
from ..sim.world import World
from ._arms import registry
from ._verb import Verb

FRAMES_PER_SECOND = 10


@dataclass(frozen=True)
class RunVerbConfig:
    """Keys of `kalie run`.

    Attributes:
        task: which task.
        split: whose families and look.
        seed: of the scene.
        weights: folder of a tuned model; base is the shipped one, oracle the true keypoints.
        objects: a .py file or a folder with object families of your own; see examples/objects.
        run: where results go.
    """

    task: TaskName = "sweep"
    split: Split = "test"
    seed: int = 0
    weights: str = "oracle"
    objects: Path | None = None
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must not be negative")


def predictor(weights: str) -> Predictor:
    """The oracle, or a model that is loaded."""
    if weights == "oracle":
        return from_oracle()
    return from_model(HeatmapKeypointModel.load(BASE_WEIGHTS if weights == "base" else Path(weights)))


def main(cfg: RunVerbConfig) -> None:
    """Run it, write `episode.json` and a report with the video."""
    predict, families = predictor(cfg.weights), registry(cfg.objects)
    with Run.open("run", cfg.run, cfg, seeds=[cfg.seed]) as run:
        world = World()
        with run.stage("stage"):
            staged = stage(world, task(cfg.task), cfg.split, cfg.seed, families)
        with run.stage("predict"):
            prediction = predict(staged)
        frames = [staged.frame.rgb]
        with run.stage("act"):
            episode = act(world, staged, prediction, film=frames.append)
        write_json(run.path / "episode.json", asdict(episode))
        ending = "success" if episode.success else f"failure: {episode.reason}"
        caption = f"“{episode.instruction}” — {ending}"
        report = Report(f"One episode of {cfg.task}")
        report.section("Video").videos([Video(frames, caption, fps=FRAMES_PER_SECOND)])
        report.write(run.path / "report" / "index.html")
        run.add_row("success", float(episode.success), task=cfg.task, split=cfg.split)
        Console().print(caption)


VERB = Verb(
    RunVerbConfig, main, examples=("kalie run task=sweep seed=3", "kalie run task=drawer weights=base")
)
