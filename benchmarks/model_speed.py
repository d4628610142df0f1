"""Time of one prediction, segmentation and reply, of one fine-tuning run, and of one whole benchmark episode.

    python benchmarks/model_speed.py [--repeats 30] [--steps N] [--out FILE]

A prediction is held against its limit of 60 ms and against the bare forward pass of the same network; finding
the objects of a depth image against 30 ms; reading long and hostile text replies against 10 ms; a fine-tuning
run against 90 s; an episode (stage, see, predict, plan, move, judge) against 2 s. Prints medians and ratios
to the yardsticks, and writes them with `--out`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from kalie.affordance.finetune import FinetuneConfig, finetune
from kalie.affordance.heatmap import HeatmapKeypointModel
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.parse import MAX_CHARACTERS, format_reply, parse_reply
from kalie.affordance.schema import Affordance, InvalidKeypoints, Keypoint
from kalie.perception.segmentation import TabletopSegmenter
from kalie.sim.benchmark import scene_seed
from kalie.sim.episode import act, oracle
from kalie.sim.registry import task
from kalie.sim.staging import stage
from kalie.sim.task import TaskName
from kalie.sim.world import World

PREDICT_SECONDS, FINETUNE_SECONDS, EPISODE_SECONDS = 0.06, 90.0, 2.0
SEGMENT_SECONDS, REPLY_SECONDS = 0.03, 0.01
INSTRUCTION = "sweep the trash off the left edge"


@dataclass(frozen=True)
class Row:
    """One measurement beside its yardstick, seconds; a ratio below 1 is faster than the yardstick."""

    what: str
    seconds: float
    yardstick: str
    yardstick_seconds: float
    ratio: float


def row(what: str, seconds: float, yardstick: str, yardstick_seconds: float) -> Row:
    """A row with its ratio."""
    return Row(what, seconds, yardstick, yardstick_seconds, seconds / yardstick_seconds)


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call, after two calls to warm up."""
    seconds = []
    for index in range(repeats + 2):
        begin = time.perf_counter()
        function()
        if index >= 2:
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def predictions(model: HeatmapKeypointModel, repeats: int) -> list[Row]:
    """One picture of 256 x 256, from pixels to keypoints."""
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    size = model.config.image_size
    square, ids = torch.zeros(1, 3, size, size), model.token_ids([INSTRUCTION])
    with torch.inference_mode():
        bare = median_seconds(lambda: model(square, ids), repeats)
    seconds = median_seconds(lambda: model.predict([image], [INSTRUCTION]), repeats)
    return [
        row("one prediction", seconds, "limit", PREDICT_SECONDS),
        row("one prediction", seconds, "bare forward pass", bare),
    ]


def segmentation(repeats: int) -> Row:
    """The objects of one test scene with clutter, from depth alone."""
    frame = stage(World(), task("sweep"), "test", scene_seed(9, 0)).frame
    segmenter = TabletopSegmenter()
    seconds = median_seconds(lambda: segmenter.segment(frame), repeats)
    return row("one segmentation", seconds, "limit", SEGMENT_SECONDS)


def replies(repeats: int) -> list[Row]:
    """The longest reply that is read, and texts that a scan with backtracking would stumble over."""
    good = format_reply(Affordance(grasp=Keypoint(0.3, 0.6)))
    texts = {
        "reply, longest": good + " " * (MAX_CHARACTERS - len(good)),
        "reply, open fences": "```json\n" * (MAX_CHARACTERS // 8),
        "reply, 1 MB": "a" * 10**6,
    }

    def read(text: str) -> None:
        with suppress(InvalidKeypoints):
            parse_reply(text)

    return [
        row(name, median_seconds(lambda text=text: read(text), repeats), "limit", REPLY_SECONDS)
        for name, text in texts.items()
    ]


def noise_images(count: int) -> list[LabelledImage]:
    """Labelled noise: the time of training does not depend on what is seen."""
    rng = np.random.default_rng(1)
    points = {name: Keypoint(0.3, 0.6) for name in ("grasp", "function", "target")}
    return [
        LabelledImage(
            f"noise-{index}",
            rng.integers(0, 256, (256, 256, 3), dtype=np.uint8),
            INSTRUCTION,
            Affordance(**points, grasp_yaw=0.1),
            Provenance("photo", f"noise-{index}"),
        )
        for index in range(count)
    ]


def finetuning(model: HeatmapKeypointModel, steps: int | None) -> Row:
    """The default run on 550 images; a shorter one is scaled up to its steps."""
    config = FinetuneConfig()
    default = config.training.steps
    steps = steps or default
    config = replace(config, training=replace(config.training, steps=steps))
    images = noise_images(550)
    begin = time.perf_counter()
    finetune(model, images, config=config)
    seconds = (time.perf_counter() - begin) * default / steps
    return row(f"fine-tuning, {default} steps", seconds, "limit", FINETUNE_SECONDS)


def episodes(model: HeatmapKeypointModel, names: tuple[TaskName, ...], repeats: int) -> list[Row]:
    """Whole episodes with oracle keypoints, the model's prediction being computed as well."""
    world, rows = World(), []
    for name in names:
        numbers = iter(range(repeats + 2))

        def episode(name: TaskName = name, numbers: Iterator[int] = numbers) -> None:
            staged = stage(world, task(name), "test", scene_seed(9, next(numbers)))
            model.predict([staged.frame.rgb], [staged.scene.instruction])
            act(world, staged, oracle(staged))

        rows.append(row(f"one episode, {name}", median_seconds(episode, repeats), "limit", EPISODE_SECONDS))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--steps", type=int, default=None, help="steps of fine-tuning actually run")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    model = HeatmapKeypointModel.load()
    rows = [*predictions(model, arguments.repeats), segmentation(arguments.repeats)]
    rows += replies(arguments.repeats)
    rows += episodes(model, ("sweep", "drawer", "towel", "pour", "unplug"), max(3, arguments.repeats // 5))
    rows.append(finetuning(model, arguments.steps))
    for item in rows:
        sys.stdout.write(
            f"{item.what:28} {item.seconds:10.4f} s   {item.ratio:6.2f} x {item.yardstick} "
            f"({item.yardstick_seconds:.4f} s)\n"
        )
    if arguments.out is not None:
        threads = torch.get_num_threads()
        arguments.out.write_text(
            json.dumps({"threads": threads, "rows": [asdict(item) for item in rows]}, indent=1)
        )


if __name__ == "__main__":
    main()
