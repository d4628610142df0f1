"""The processors of vision-language models on the hub, without a part for videos (it needs torchvision)."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.processing_utils import ProcessorMixin


def load_processor(source: str) -> ProcessorMixin:
    """The processor of a model; its tokenizer pads on the left, so that answers of a batch begin together.

    Images reach it as squares of the wanted size, so it is told not to cut them into tiles: SmolVLM would
    make up to 17 of one photo.

    Args:
        source: on the Hugging Face hub, or a folder.
    """
    # A dictionary from the class of a model's config to that of its processor.
    base: Any = PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(source))]
    stored, _ = base.get_processor_dict(source)
    accepted = inspect.signature(base.__init__).parameters
    images = AutoImageProcessor.from_pretrained(source)
    if "do_image_splitting" in images.to_dict():
        images.do_image_splitting = False
    parts = {
        "image_processor": images,
        "tokenizer": AutoTokenizer.from_pretrained(source, padding_side="left"),
        "video_processor": None,
    }
    arguments = {name: value for name, value in {**stored, **parts}.items() if name in accepted}
    return _without_video(base)(**arguments)


def _without_video(base: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The same class with images and text as its only parts."""
    parts = [name for name in base.get_attributes() if name != "video_processor"]
    return type(base.__name__, (base,), {"get_attributes": classmethod(lambda _: parts)})
