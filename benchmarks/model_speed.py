"""Time of one prediction, segmentation and reply, of one fine-tuning run, and of one whole benchmark episode.

    python benchmarks/model_speed.py [--out FILE] [--quick]

A prediction is held against its limit of 60 ms and stands beside the bare forward pass of the same network on
one image (it looks at the image's mirrors too); finding the objects of a depth image is held against 30 ms;
reading long and hostile text replies against 10 ms; a fine-tuning run against 90 s; an episode (stage, see,
predict, plan, move, judge) against 2 s. Wall time. An episode predicts with the model, as the benchmark does,
and then moves with the true keypoints: most answers of the base model are no plan, and moving with those
takes no time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace

import numpy as np
import torch
from _measure import Measured, against_limit, in_turns, parser, report, wall_seconds

from kalie.affordance.finetune import FinetuneConfig, finetune
from kalie.affordance.heatmap import HeatmapKeypointModel
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.parse import format_reply, parse_reply
from kalie.affordance.schema import Affordance, InvalidKeypoints, Keypoint
from kalie.core.one_object import MAX_CHARACTERS
from kalie.perception.segmentation import TabletopSegmenter
from kalie.sim.benchmark import TASKS, from_model, scene_seed
from kalie.sim.episode import act, oracle
from kalie.sim.registry import task
from kalie.sim.staging import stage
from kalie.sim.task import TaskName
from kalie.sim.world import World

PREDICT_SECONDS, FINETUNE_SECONDS, EPISODE_SECONDS = 0.06, 90.0, 2.0
SEGMENT_SECONDS, REPLY_SECONDS = 0.03, 0.01
INSTRUCTION = "sweep the trash off the left edge"


def predictions(model: HeatmapKeypointModel, repeats: int) -> list[Measured]:
    """One picture of 256 x 256, from pixels to keypoints."""
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    size = model.config.image_size
    square, ids = torch.zeros(1, 3, size, size), model.token_ids([INSTRUCTION])

    def predict() -> None:
        model.predict([image], [INSTRUCTION])

    def bare() -> None:
        with torch.inference_mode():
            model(square, ids)

    return [
        against_limit("one prediction", wall_seconds(predict, repeats), PREDICT_SECONDS),
        in_turns(
            "one prediction",
            lambda count: sum(wall_seconds(predict, count)),
            "one bare forward pass",
            lambda count: sum(wall_seconds(bare, count)),
            None,
            repeats,
        ),
    ]


def segmentation(repeats: int) -> Measured:
    """The objects of one test scene with clutter, from depth alone."""
    with closing(World()) as world:
        frame = stage(world, task("sweep"), "test", scene_seed(9, 0)).frame
    segmenter = TabletopSegmenter()
    seconds = wall_seconds(lambda: segmenter.segment(frame), repeats)
    return against_limit("one segmentation", seconds, SEGMENT_SECONDS)


def replies(repeats: int) -> list[Measured]:
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
        against_limit(name, wall_seconds(lambda text=text: read(text), repeats), REPLY_SECONDS)
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
            replace(Affordance(grasp_yaw=0.1), **points),
            Provenance("photo", f"noise-{index}"),
        )
        for index in range(count)
    ]


def finetuning(model: HeatmapKeypointModel, steps: int) -> Measured:
    """The default run on 550 images; a shorter one is scaled up to its steps."""
    config = FinetuneConfig()
    default = config.training.steps
    config = replace(config, training=replace(config.training, steps=steps))
    images = noise_images(550)
    begin = time.perf_counter()
    finetune(model, images, config=config)
    seconds = (time.perf_counter() - begin) * default / steps
    return against_limit(f"fine-tuning, {default} steps on 550 images", [seconds], FINETUNE_SECONDS)


def episodes(model: HeatmapKeypointModel, names: Sequence[TaskName], repeats: int) -> list[Measured]:
    """Whole episodes on test scenes; see this module's description."""
    predict, measured = from_model(model), []
    with closing(World()) as world:
        for name in names:
            numbers = iter(range(repeats + 10))

            def episode(name: TaskName = name, numbers: Iterator[int] = numbers) -> None:
                staged = stage(world, task(name), "test", scene_seed(9, next(numbers)))
                predict(staged)
                act(world, staged, oracle(staged))

            seconds = wall_seconds(episode, repeats)
            measured.append(against_limit(f"one episode, {name}", seconds, EPISODE_SECONDS))
    return measured


def main() -> None:
    """Measure and report."""
    options = parser(__doc__).parse_args()
    repeats = 2 if options.quick else 30
    model = HeatmapKeypointModel.load()
    measured = [*predictions(model, repeats), segmentation(repeats), *replies(repeats)]
    measured += episodes(model, TASKS[:1] if options.quick else TASKS, 1 if options.quick else 10)
    measured.append(finetuning(model, 1 if options.quick else FinetuneConfig().training.steps))
    report(measured, options.out)


if __name__ == "__main__":
    main()
