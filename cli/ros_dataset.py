"""Make a data set of labelled images from recordings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from ..affordance.dataset import MANIFEST, DatasetWriter
from ..affordance.labels import LabelledImage
from ..core.progress import ProgressCallback, progress_bar
from ..perception.segmentation import TabletopConfig, TabletopSegmenter
from ._ros_env import enter_ros
from ._verb import Verb

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RosDatasetConfig:
    """Keys of `kalie ros dataset`.

    Attributes:
        bag: an MCAP file, or a folder of them; one that was cut off or damaged gives what can be read of it.
        out: folder of the data set, which must not hold one yet.
        labels: executed takes the affordances of goals that succeeded; predicted takes every one that the
            affordance node published, right or wrong.
        instruction: for labels before which none was recorded; empty to leave them out.
        image: topic of the colour images.
        depth: topic of the depth images registered to them, for the masks.
        info: topic of their camera info.
        base: the robot's base frame.
        segmenter: of the masks, which synthesis needs; exclude the parked arm where it is in view.
    """

    bag: Path
    out: Path
    labels: Literal["executed", "predicted"] = "executed"
    instruction: str = ""
    image: str = "/camera/color/image_raw"
    depth: str = "/camera/aligned_depth_to_color/image_raw"
    info: str = "/camera/color/camera_info"
    base: str = "panda_link0"
    segmenter: TabletopConfig = field(default_factory=TabletopConfig)


def main(cfg: RosDatasetConfig) -> None:
    """Label what can be labelled, and say what could not be."""
    enter_ros()
    from kalie_ros.labelling import Labeller, Sources

    if (cfg.out / MANIFEST).exists():
        raise ValueError(f"out={cfg.out} holds a data set already")
    paths = recordings(cfg.bag)
    sources = Sources(cfg.labels, cfg.image, cfg.depth, cfg.info, cfg.base, cfg.instruction)
    segmenter = TabletopSegmenter(cfg.segmenter)
    labeller = Labeller(sources, segmenter)  # pyright: ignore[reportArgumentType]  the same class by another name
    with progress_bar("labelling") as progress:
        images = labelled(labeller, paths, progress)
        first = next(images, None)
        if first is not None:
            with DatasetWriter(cfg.out) as writer:
                for image in chain([first], images):
                    writer.extend([image])
    tally = labeller.tally
    console = Console(highlight=False)
    for what, reasons in (("labels left out", tally.left_out), ("images without masks", tally.unmasked)):
        for reason, count in sorted(reasons.items()):
            console.print(f"{count} {what}: {escape(reason)}", soft_wrap=True)
    if first is None:
        raise ValueError(f"{cfg.bag}: no labelled image in {len(paths)} recordings, {tally.labels} labels")
    console.print(f"{cfg.out}: {tally.images} photos of {tally.labels} labels", soft_wrap=True)


def recordings(path: Path) -> list[Path]:
    """The files to read.

    Raises:
        ValueError: there are none.
    """
    found = sorted(path.rglob("*.mcap")) if path.is_dir() else [path]
    if not found:
        raise ValueError(f"bag={path}: no .mcap file in it")
    return found


def labelled(
    labeller: Any,  # noqa: ANN401 - a Labeller, known only with ROS
    paths: list[Path],
    progress: ProgressCallback,
) -> Iterator[LabelledImage]:
    """The labelled images of all recordings; of those that are damaged, a warning says what is lost."""
    from kalie_ros.bag import BagError, BagReader

    for path in paths:
        try:
            with BagReader(path) as bag:
                for image in labeller.images(bag):
                    progress(labeller.tally.images, labeller.tally.labels)
                    yield image
                if bag.losses:
                    log.warning("%s is cut off or damaged; lost: %s", path, "; ".join(bag.losses))
        except BagError as error:
            if len(paths) == 1:
                raise
            log.warning("%s", error)


VERB = Verb(
    RosDatasetConfig,
    main,
    examples=(
        "kalie ros dataset bag=outputs/ros_up/latest/recordings out=photos/robot",
        "kalie ros dataset bag=episode.mcap out=photos/one labels=predicted instruction='sweep it away'",
    ),
)
