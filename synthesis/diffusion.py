"""Repainting by ControlNet soft-edge inpainting on Stable Diffusion, through `diffusers`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..core.ranges import above, at_least, within
from .repaint import ImageArray, RepainterConfig, RepaintRequest

if TYPE_CHECKING:
    from diffusers.pipelines.controlnet.pipeline_controlnet_inpaint import (
        StableDiffusionControlNetInpaintPipeline,
    )

PROMPT_SUFFIX = ", seen from above on a table, sharp, detailed, realistic photo"
NEGATIVE_PROMPT = "people, hands, faces, animals, drawing, cartoon, warped, blurry, text"


class DiffusionUnavailable(ImportError):
    """The optional dependency is not installed."""


@dataclass(frozen=True)
class DiffusionConfig(RepainterConfig):
    """Which weights to run and how.

    Attributes:
        model: Stable Diffusion (inpainting or plain) weights, a hub name or a folder.
        controlnet: ControlNet weights trained on soft edges.
        device: torch device; half precision on cuda, single elsewhere.
        size: side in px of the square that the model works on; a multiple of 8.
        steps: denoising steps.
        guidance: classifier-free guidance scale.
        control: weight of the edges.
        strength: how much of the masked pixels is replaced, in (0, 1].
        padding: px around an object's region that the model sees as context.
    """

    model: str = "stable-diffusion-v1-5/stable-diffusion-inpainting"
    controlnet: str = "lllyasviel/control_v11p_sd15_softedge"
    device: Literal["auto", "cuda", "cpu"] = "auto"
    size: int = 512
    steps: int = 25
    guidance: float = 7.5
    control: float = 1.0
    strength: float = 1.0
    padding: int = 24

    def __post_init__(self) -> None:
        at_least(self, 8, "size")
        at_least(self, 1, "steps")
        at_least(self, 0, "guidance", "control", "padding")
        above(self, 0, "strength")
        within(self, 0, 1, "strength")
        if self.size % 8:
            raise ValueError(f"size={self.size} must be a multiple of 8")
        if int(self.steps * self.strength) < 1:
            raise ValueError(f"steps={self.steps} and strength={self.strength} leave no step to denoise")


class DiffusionRepainter:
    """A `Repainter` on a ControlNet inpainting pipeline; one random generator per object.

    Args:
        config: weights and sampling settings.
        pipeline: a ready pipeline; loaded from `config` when None.
    """

    def __init__(
        self, config: DiffusionConfig, pipeline: StableDiffusionControlNetInpaintPipeline | None = None
    ) -> None:
        self.config = config
        self.pipeline = pipeline if pipeline is not None else load_pipeline(config)

    def repaint(self, requests: Sequence[RepaintRequest]) -> list[ImageArray]:
        """See `Repainter`; all requests run as one batch, each from its own seed."""
        import torch

        if not requests:
            return []
        crops = [_Crop.of(request, self.config) for request in requests]
        generators = [torch.Generator("cpu").manual_seed(request.seed) for request in requests]
        images = self.pipeline(
            prompt=[request.description + PROMPT_SUFFIX for request in requests],
            negative_prompt=[NEGATIVE_PROMPT] * len(requests),
            image=[crop.image for crop in crops],
            mask_image=[crop.mask for crop in crops],
            control_image=[crop.edges for crop in crops],
            height=self.config.size,
            width=self.config.size,
            num_inference_steps=self.config.steps,
            guidance_scale=self.config.guidance,
            controlnet_conditioning_scale=self.config.control,
            strength=self.config.strength,
            generator=generators,
        ).images  # pyright: ignore[reportAttributeAccessIssue]
        pairs = zip(requests, crops, images, strict=True)
        return [crop.pasted(request, np.asarray(image)) for request, crop, image in pairs]


def load_pipeline(config: DiffusionConfig) -> StableDiffusionControlNetInpaintPipeline:
    """Load the pipeline's weights; half precision on a GPU.

    Raises:
        DiffusionUnavailable: `diffusers` is missing.
    """
    try:
        diffusers = importlib.import_module("diffusers")
    except ImportError as error:
        raise DiffusionUnavailable(
            "repainter=diffusion needs diffusers: pip install 'kalie[diffusion]'"
        ) from error
    import torch

    gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    controlnet = diffusers.ControlNetModel.from_pretrained(config.controlnet)
    pipeline = diffusers.StableDiffusionControlNetInpaintPipeline.from_pretrained(
        config.model, controlnet=controlnet
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda", torch.float16) if gpu else pipeline.to("cpu", torch.float32)


@dataclass(frozen=True)
class _Crop:
    """A square window around a request's region, scaled to the model's size."""

    x0: int
    y0: int
    side: int
    image: Image.Image
    mask: Image.Image
    edges: Image.Image

    @classmethod
    def of(cls, request: RepaintRequest, config: DiffusionConfig) -> _Crop:
        height, width = request.region.shape
        x, y, w, h = cv2.boundingRect(request.region.astype(np.uint8))
        side = min(max(w, h) + 2 * config.padding, height, width)
        x0 = min(max(x + (w - side) // 2, 0), width - side)
        y0 = min(max(y + (h - side) // 2, 0), height - side)
        window = slice(y0, y0 + side), slice(x0, x0 + side)
        arrays = (
            request.image[window],
            np.uint8(255) * request.region[window].astype(np.uint8),
            np.repeat((255 * request.edges[window]).astype(np.uint8)[..., None], 3, axis=2),
        )
        image, mask, edges = (Image.fromarray(_resized(array, config.size)) for array in arrays)
        return cls(x0, y0, side, image, mask, edges)

    def pasted(self, request: RepaintRequest, painted: NDArray[np.uint8]) -> ImageArray:
        """The request's image with its region, and nothing else, replaced."""
        window = slice(self.y0, self.y0 + self.side), slice(self.x0, self.x0 + self.side)
        out = request.image.copy()
        inside = request.region[window]
        out[window][inside] = _resized(painted, self.side)[inside]
        return out


def _resized(array: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    shrinking = side < array.shape[0]
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return cv2.resize(array, (side, side), interpolation=method).astype(np.uint8)
