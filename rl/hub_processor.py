"""The processors of vision-language models on the hub, without a part for videos (it needs torchvision)."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING


def load_processor(source: str) -> Any:  # noqa: ANN401  the parts are attributes that its class does not declare
    """The processor of a model; it does not cut images into tiles, since they reach it in the wanted size.

    Args:
        source: on the Hugging Face hub, or a folder.
    """
    base: Any = PROCESSOR_MAPPING[type(AutoConfig.from_pretrained(source))]
    stored, _ = base.get_processor_dict(source)
    accepted = inspect.signature(base.__init__).parameters
    images = AutoImageProcessor.from_pretrained(source)
    if "do_image_splitting" in images.to_dict():
        images.do_image_splitting = False
    parts = {
        "image_processor": images,
        "tokenizer": AutoTokenizer.from_pretrained(source),
        "video_processor": None,
    }
    arguments = {name: value for name, value in {**stored, **parts}.items() if name in accepted}
    return _without_video(base)(**arguments)


def _without_video(base: Any) -> Any:  # noqa: ANN401
    """The same class with images and text as its only parts."""
    names = [name for name in base.get_attributes() if name != "video_processor"]
    return type(base.__name__, (base,), {"get_attributes": classmethod(lambda _: names)})
