"""The groups `model` and `segmenter`: which go together, and what predicts in the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from ..affordance.model import Prediction
from ..affordance.models import MODELS, ModelConfig, build_model
from ..affordance.moka import MokaConfig, MokaModel
from ..perception.frame import ImageArray
from ..perception.segmentation import Segmenter
from ..perception.segmenters import (
    PHOTO_SEGMENTERS,
    SEGMENTERS,
    NamedSegmenter,
    SegmenterConfig,
    build_segmenter,
    check_names,
)
from ..sim.benchmark import Predictor, from_model, from_oracle
from ..sim.staging import StagedScene


@dataclass(frozen=True)
class OracleConfig:
    """The true keypoints, which only the simulator knows."""


Groups = Mapping[str, Mapping[str, type]]
PHOTO_GROUPS: Groups = {"model": MODELS, "segmenter": PHOTO_SEGMENTERS}
"""Of verbs that predict in photos, which have no depth."""
SCENE_GROUPS: Groups = {"model": MODELS, "segmenter": SEGMENTERS}
"""Of verbs that predict in the simulator, whose frames have depth."""


def check_pair(model: object, segmenter: SegmenterConfig, default: SegmenterConfig) -> None:
    """Refuse a segmenter that is chosen for nothing, or that cannot find MOKA's objects.

    Args:
        model: the choice of the group `model`.
        segmenter: of the group `segmenter`.
        default: what the segmenter is when none is chosen.

    Raises:
        ValueError: naming the group or key at fault.
    """
    if isinstance(model, MokaConfig):
        check_names(segmenter, model.objects, "model.objects")
    elif segmenter != default:
        raise ValueError("segmenter is of model=moka; no other model looks for objects")


@lru_cache(maxsize=1)
def scene_predictor(model: ModelConfig | OracleConfig, segmenter: SegmenterConfig) -> Predictor:
    """Answers of a model in the simulator; the same object for equal configs, so that it is loaded once.

    Raises:
        OSError: its weights cannot be had.
        ValueError: the config does not say enough to build it.
    """
    if isinstance(model, OracleConfig):
        return from_oracle()
    if isinstance(model, MokaConfig):
        return _from_moka(model, NamedSegmenter(build_segmenter(segmenter), model.objects))
    return from_model(build_model(model))


def _from_moka(config: MokaConfig, segmenter: Segmenter) -> Predictor:
    """Answers of MOKA, whose segmenter sees the depth as well."""

    def predict(staged: StagedScene) -> Prediction:
        def segment(_: ImageArray) -> ImageArray:
            return segmenter.segment(staged.frame).instance_map()

        return MokaModel(config, segment).predict([staged.frame.rgb], [staged.scene.instruction])[0]

    return predict
