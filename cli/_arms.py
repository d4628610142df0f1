"""What each arm of the benchmark learns from: the one place where photos, synthesis and fine-tuning meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..affordance.finetune import FinetuneConfig, finetune
from ..affordance.heatmap import HeatmapKeypointModel
from ..affordance.labels import LabelledImage
from ..affordance.models import HeatmapModelConfig, ModelConfig
from ..affordance.training import Log
from ..perception.segmentation import TabletopConfig
from ..perception.segmenters import SegmenterConfig
from ..sim.annotate import Photographer
from ..sim.benchmark import ArmName, Predictor, from_chance, from_model, from_oracle
from ..sim.objects import Split
from ..sim.registry import Registry, task
from ..sim.task import TaskName
from ..sim.user_objects import load_families
from ..sim.world import World
from ..synthesis.compose import ComposeConfig, Mode, for_task
from ..synthesis.pipeline import SynthesisConfig, synthesise
from ._models import scene_predictor

# Photos of these seeds are never test scenes, whose seeds start at a million.
_RENDERED_SEED = 7_000
_SYNTHESIS: dict[ArmName, tuple[Mode, int | None]] = {
    "geometry_only": ("geometry_only", None),
    "appearance_only": ("appearance_only", None),
    "full": ("full", None),
    "full_10": ("full", 10),
    "full_1": ("full", 1),
}
LEARNING: tuple[ArmName, ...] = (
    "photos",
    "photos_augmented",
    "geometry_only",
    "appearance_only",
    "full",
    "full_10",
    "full_1",
    "rendered",
)
Progress = Callable[[int, int], None]
Stage = Callable[[str], AbstractContextManager[Progress | None]]


@dataclass(frozen=True)
class Budget:
    """What every learning arm may spend; the number of images is the same for all that multiply them.

    Attributes:
        photos: labelled photos of the one training instance.
        images: images in all, photos included, of the arms with synthesis and of `rendered`.
        finetune: start weights, steps and augmentation, the same for all.
    """

    photos: int = 50
    images: int = 550
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)

    def __post_init__(self) -> None:
        if not 1 <= self.photos < self.images:
            raise ValueError(f"photos={self.photos} must be at least 1 and fewer than images={self.images}")

    def check_arms(self, arms: Sequence[ArmName]) -> None:
        """Refuse arms with more photos than there may be images. Raises ValueError naming the arm."""
        for arm in arms:
            photos = _SYNTHESIS[arm][1] if arm in _SYNTHESIS else None
            if photos is not None and photos >= self.images:
                raise ValueError(f"images={self.images} must be more than the {photos} photos of arm {arm}")


def registry(objects: Path | None) -> Registry:
    """The project's families, and those of a user's file or folder."""
    return Registry() if objects is None else Registry(load_families(objects))


def photograph(
    world: World,
    name: TaskName,
    count: int,
    seed: int,
    split: Split = "train",
    families: Registry | None = None,
) -> list[LabelledImage]:
    """Labelled photos of a task, with the clicks of a human annotator."""
    photographer = Photographer(world, task(name), split, families or Registry())
    return photographer.photograph(count, seed)


def multiply(
    photos: list[LabelledImage],
    name: TaskName,
    images: int,
    seed: int,
    mode: Mode = "full",
    workers: int = 1,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> list[LabelledImage]:
    """The photos and as many synthetic children as make `images` in all; `folder` keeps them one by one."""
    compose = for_task(ComposeConfig(mode=mode), name)
    config = SynthesisConfig(count=images - len(photos), compose=compose, workers=workers)
    return [*photos, *synthesise(photos, config, seed, folder=folder, progress=progress)]


def training_set(
    world: World,
    name: TaskName,
    arm: ArmName,
    seed: int,
    budget: Budget,
    families: Registry | None = None,
    workers: int = 1,
) -> list[LabelledImage]:
    """What a learning arm is trained on.

    Raises:
        ValueError: the arm learns nothing.
    """
    if arm == "rendered":
        return photograph(world, name, budget.images, _RENDERED_SEED + seed, "test", families)
    if arm in ("photos", "photos_augmented"):
        return photograph(world, name, budget.photos, seed, families=families)
    if arm not in _SYNTHESIS:
        raise ValueError(f"arm {arm} does not learn")
    mode, fewer = _SYNTHESIS[arm]
    photos = photograph(world, name, fewer or budget.photos, seed, families=families)
    return multiply(photos, name, budget.images, seed, mode, workers)


def learn(
    arm: ArmName,
    samples: list[LabelledImage],
    seed: int,
    budget: Budget,
    progress: Progress | None = None,
    log: Log | None = None,
) -> HeatmapKeypointModel:
    """The base model tuned on an arm's images; only these differ (and `photos` goes unaugmented)."""
    config = replace(budget.finetune, training=replace(budget.finetune.training, seed=seed))
    if arm == "photos":
        config = replace(config, augment=None)
    return finetune(HeatmapKeypointModel.load(), samples, config=config, progress=progress, log=log).eval()


@dataclass(frozen=True)
class ZeroShot:
    """What arm `zero_shot` answers with, as it is."""

    model: ModelConfig = field(default_factory=HeatmapModelConfig)
    segmenter: SegmenterConfig = field(default_factory=TabletopConfig)


def predictor(
    world: World,
    name: TaskName,
    arm: ArmName,
    seed: int,
    budget: Budget,
    families: Registry | None = None,
    zero_shot: ZeroShot | None = None,
) -> Predictor:
    """Where an arm's keypoints come from, learning included."""
    if arm == "oracle":
        return from_oracle()
    if arm == "random":
        return from_chance(seed)
    if arm == "zero_shot":
        asked = zero_shot or ZeroShot()
        return scene_predictor(asked.model, asked.segmenter)
    samples = training_set(world, name, arm, seed, budget, families)
    return from_model(learn(arm, samples, seed, budget))
