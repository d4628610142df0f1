"""Make a data set from your own labelled photos, or from the JSON labels that KALIE published."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from rich.console import Console

from ..affordance.dataset import MANIFEST, AffordanceDataset
from ..affordance.kalie_format import Outside, import_kalie
from ..affordance.labels import LabelledImage
from ..affordance.photo_folder import import_folder
from ..core.progress import ProgressCallback, progress_bar
from ..perception.camera_files import load_intrinsics, load_transform
from ..perception.frame import DepthArray, FloatArray, FrameError, ImageArray, Intrinsics, RgbdFrame
from ..perception.segmentation import TabletopConfig, TextPrompt
from ..perception.segmenters import (
    SEGMENTERS,
    NamedSegmenter,
    SegmenterConfig,
    build_segmenter,
    check_names,
    check_reads_text,
    photo_frame,
)
from ._verb import Verb


@dataclass(frozen=True)
class NoSegmenter:
    """No masks."""


@dataclass(frozen=True)
class ConvertConfig:
    """Keys of `kalie convert`.

    Attributes:
        data: a folder of your own photos, each with its label and its depth beside it, or KALIE's JSON
            file, in whose folder the images lie that it names; see docs/own_photos.md.
        to: folder of the data set, which must not hold one yet.
        outside: what becomes of a point outside the image in KALIE's JSON; refuse, or absent.
        segmenter: finds the masks, without which a data set can be tuned on but not multiplied: tabletop in
            photos with depth, the others by names.
        names: what they look for in your own photos, e.g. [brush,crumb]; KALIE's JSON names it itself.
        calibration: folder with the intrinsics.json and extrinsics.json of the camera, for tabletop.
    """

    data: Path
    to: Path
    outside: Outside = "refuse"
    segmenter: NoSegmenter | SegmenterConfig = field(default_factory=NoSegmenter)
    names: tuple[str, ...] = ()
    calibration: Path | None = None

    def __post_init__(self) -> None:
        tabletop = isinstance(self.segmenter, TabletopConfig)
        if tabletop and self.calibration is None:
            raise ValueError("calibration: a value is required with segmenter=tabletop, which sees depth")
        if not tabletop and self.calibration is not None:
            raise ValueError(f"calibration={self.calibration} is of segmenter=tabletop")
        if self.names and isinstance(self.segmenter, NoSegmenter):
            raise ValueError(f"names={list(self.names)} is what a segmenter looks for; choose segmenter=")


def main(cfg: ConvertConfig) -> None:
    """Read everything, then write the data set."""
    if (cfg.to / MANIFEST).exists():  # Before masks are found, which takes a while.
        raise ValueError(f"to={cfg.to} holds a data set already")
    with progress_bar("reading photos") as progress:
        photos = _own(cfg, progress) if cfg.data.is_dir() else _published(cfg, progress)
    with progress_bar("writing photos") as progress:
        photos.save(cfg.to, progress)
    Console(highlight=False).print(f"{cfg.to}: {len(photos)} photos")


def _own(cfg: ConvertConfig, progress: ProgressCallback) -> AffordanceDataset:
    """Photos of one's own, masked as configured."""
    if cfg.outside != "refuse":
        raise ValueError(f"outside={cfg.outside} is of KALIE's JSON; {cfg.data} is a folder")
    if isinstance(cfg.segmenter, NoSegmenter):
        return import_folder(cfg.data, progress=progress)
    check_names(cfg.segmenter, cfg.names, "names")
    segmenter = NamedSegmenter(build_segmenter(cfg.segmenter), cfg.names)
    camera = None if cfg.calibration is None else Camera.load(cfg.calibration)

    def find_masks(rgb: ImageArray, depth: DepthArray | None) -> ImageArray:
        frame = photo_frame(rgb) if camera is None else camera.frame(rgb, depth)
        return segmenter.segment(frame).instance_map()

    return import_folder(cfg.data, find_masks, progress)


@dataclass(frozen=True)
class Camera:
    """A calibrated RGB-D camera."""

    intrinsics: Intrinsics
    base_from_camera: FloatArray

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `kalie calibrate` wrote. Raises CalibrationError naming the file at fault."""
        base_from_camera = load_transform(folder / "extrinsics.json", "base_from_camera")
        return cls(load_intrinsics(folder / "intrinsics.json"), base_from_camera)

    def frame(self, rgb: ImageArray, depth: DepthArray | None) -> RgbdFrame:
        """A photo and its depth as a frame. Raises FrameError when they do not fit, or there is no depth."""
        if depth is None:
            raise FrameError("has no depth (.npy) beside it, which segmenter=tabletop needs")
        return RgbdFrame(rgb, depth, self.intrinsics, self.base_from_camera)


def _published(cfg: ConvertConfig, progress: ProgressCallback) -> AffordanceDataset:
    """KALIE's photos; what a segmenter looks for in each is named there."""
    if isinstance(cfg.segmenter, TabletopConfig) or cfg.names:
        raise ValueError(f"{cfg.data}: KALIE's photos have no depth and name their objects; see segmenter=")
    if isinstance(cfg.segmenter, NoSegmenter):
        return import_kalie(cfg.data, cfg.outside, progress)
    check_reads_text(cfg.segmenter)
    photos = import_kalie(cfg.data, cfg.outside)
    segmenter = build_segmenter(cfg.segmenter)
    masked: list[LabelledImage] = []
    for photo in photos:
        names = photo.provenance.details["objects"]
        if not isinstance(names, list) or not names:
            raise ValueError(f"{cfg.data}: entry {photo.id}: objects must name what to look for")
        prompts = [TextPrompt(str(name)) for name in names]
        found = segmenter.segment(photo_frame(photo.rgb), prompts)
        masked.append(replace(photo, masks=found.instance_map()))
        progress(len(masked), len(photos))
    return AffordanceDataset(tuple(masked))


VERB = Verb(
    ConvertConfig,
    main,
    examples=(
        "kalie convert data=kalie/train.json to=data/kalie_train outside=absent",
        "kalie convert data=kalie/data_jsonformat.json to=data/kalie segmenter=grounded_sam",
        "kalie convert data=photos to=data/photos segmenter=tabletop calibration=calibration",
        "kalie convert data=photos to=data/photos segmenter=grounded_sam names=[brush,crumb]",
    ),
    groups={"segmenter": {"none": NoSegmenter, **SEGMENTERS}},
)
