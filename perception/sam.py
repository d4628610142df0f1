"""Segmenters with learned models: Grounding DINO finds what a text names, SAM outlines boxes and points.

Two makers of masks (SAM through transformers, and segment-anything's own predictor) and one detector are put
together by `PromptedSegmenter`. An object loads its model once, when it is made; `perception.segmenters`
keeps one object per config.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from transformers import (
    AutoProcessor,
    GroundingDinoForObjectDetection,
    SamModel,
)

from .frame import ImageArray, RgbdFrame
from .segmentation import (
    BoxPrompt,
    InstanceMask,
    PointPrompt,
    Prompt,
    Segmentation,
    SegmentationError,
    TextPrompt,
)

PlacePrompt = BoxPrompt | PointPrompt
SamSize = Literal["vit_b", "vit_l", "vit_h"]


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message says what to install."""


class Detection(NamedTuple):
    """A box and its confidence in [0, 1]."""

    box: BoxPrompt
    score: float


class Detector(Protocol):
    """Finds the object that a text names."""

    def detect(self, rgb: ImageArray, text: str) -> Detection | None:
        """The most confident box, or None."""
        ...


class MaskPredictor(Protocol):
    """Outlines what boxes and points mean."""

    def predict(self, rgb: ImageArray, prompts: Sequence[PlacePrompt]) -> list[InstanceMask]:
        """One mask per prompt."""
        ...


class PromptedSegmenter:
    """A `Segmenter` of a mask predictor and, for text prompts, a detector."""

    def __init__(self, masks: MaskPredictor, detector: Detector | None = None) -> None:
        self.masks = masks
        self.detector = detector

    def segment(self, frame: RgbdFrame, prompts: Sequence[Prompt] = ()) -> Segmentation:
        """Masks for the prompts (see `Segmenter.segment`).

        A text's score is the detector's times the mask's. Texts without a detection have no instance.

        Raises:
            SegmentationError: there is no prompt, or a text prompt and no detector.
        """
        if not prompts:
            raise SegmentationError("this segmenter answers prompts; give at least one text, box or point")
        asked: list[tuple[Prompt, PlacePrompt, float]] = []
        for prompt in prompts:
            found = self._place(frame.rgb, prompt)
            if found is not None:
                asked.append((prompt, *found))
        masks = self.masks.predict(frame.rgb, [place for _, place, _ in asked]) if asked else []
        instances = [
            replace(mask, prompt=prompt, score=mask.score * score)
            for mask, (prompt, _, score) in zip(masks, asked, strict=True)
            if mask.mask.any()
        ]
        return Segmentation(tuple(instances), *frame.depth.shape)

    def _place(self, rgb: ImageArray, prompt: Prompt) -> tuple[PlacePrompt, float] | None:
        """Where a prompt's object is, and how sure that is."""
        if not isinstance(prompt, TextPrompt):
            return prompt, 1.0
        if self.detector is None:
            raise SegmentationError(f"text prompt {prompt.text!r}: no detector is configured to read text")
        return self.detector.detect(rgb, prompt.text)


class GroundingDino:
    """Grounding DINO (Liu et al., 2023) through transformers.

    Args:
        model: name on the Hugging Face hub, or a folder.
        box_threshold: least confidence of a box, in [0, 1].
        text_threshold: least confidence of a word, in [0, 1].
        device: of torch.
    """

    def __init__(
        self, model: str, box_threshold: float = 0.3, text_threshold: float = 0.22, device: str = "cpu"
    ) -> None:
        self._processor = _load(AutoProcessor, model)
        self._model = _load(GroundingDinoForObjectDetection, model).to(device).eval()
        self._box_threshold = box_threshold
        self._text_threshold = text_threshold

    @torch.inference_mode()
    def detect(self, rgb: ImageArray, text: str) -> Detection | None:
        """The most confident box for a text, or None when nothing passes the thresholds."""
        inputs = self._processor(images=rgb, text=[[text]], return_tensors="pt").to(self._model.device)
        outputs = self._model(**inputs)
        (result,) = self._processor.post_process_grounded_object_detection(
            outputs,
            inputs["input_ids"],
            threshold=self._box_threshold,
            text_threshold=self._text_threshold,
            target_sizes=[rgb.shape[:2]],
        )
        scores = result["scores"].cpu()
        if not len(scores):
            return None
        best = int(scores.argmax())
        # The model measures from the image's corner, we from the centre of its first pixel.
        box = BoxPrompt(*(float(edge) - 0.5 for edge in result["boxes"][best].cpu()))
        return Detection(box, float(scores[best]))


class TransformersSam:
    """SAM (Kirillov et al., 2023) through transformers.

    Args:
        model: name on the Hugging Face hub, or a folder.
        device: of torch.
    """

    def __init__(self, model: str, device: str = "cpu") -> None:
        self._processor = _load(AutoProcessor, model)
        self._model = _load(SamModel, model).to(device).eval()

    @torch.inference_mode()
    def predict(self, rgb: ImageArray, prompts: Sequence[PlacePrompt]) -> list[InstanceMask]:
        """One mask per prompt; the image is encoded once for all of them."""
        inputs = self._processor(images=rgb, return_tensors="pt").to(self._model.device)
        embeddings = self._model.get_image_embeddings(inputs["pixel_values"])
        return [self._decode(rgb, embeddings, prompt) for prompt in prompts]

    def _decode(self, rgb: ImageArray, embeddings: torch.Tensor, prompt: PlacePrompt) -> InstanceMask:
        if isinstance(prompt, BoxPrompt):
            place = {"input_boxes": [[[prompt.left, prompt.top, prompt.right, prompt.bottom]]]}
        else:
            place = {"input_points": [[[prompt.u, prompt.v]]]}
        inputs = self._processor(images=rgb, **place, return_tensors="pt").to(self._model.device)
        sizes, padded_sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
        inputs.pop("pixel_values")
        inputs = {name: value.to(embeddings.dtype) for name, value in inputs.items()}
        # A point may mean a part or the whole, so SAM offers three masks; a box means one thing.
        outputs = self._model(
            image_embeddings=embeddings, multimask_output=isinstance(prompt, PointPrompt), **inputs
        )
        (masks,) = self._processor.image_processor.post_process_masks(
            outputs.pred_masks.cpu(), sizes.cpu(), padded_sizes.cpu()
        )
        return _best(masks[0].numpy(), outputs.iou_scores[0, 0].float().cpu().numpy())


def import_segment_anything() -> ModuleType:
    """The package segment_anything.

    Raises:
        MissingExtraError: it cannot be imported, or torchvision cannot, which it needs and does not install.
    """
    try:
        return importlib.import_module("segment_anything")
    # A torchvision that was built for another torch fails with a RuntimeError: an operator does not exist.
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(
            f"segment-anything cannot be imported ({error}): it needs pip install 'kalie[sam]' and a "
            "torchvision of the same version and build as torch; segmenter=grounded_sam needs neither"
        ) from error


class SegmentAnything:
    """SAM through segment-anything's own predictor, for its published checkpoints.

    Args:
        checkpoint: a file of that package, e.g. sam_vit_h_4b8939.pth.
        size: which network the file holds.
        device: of torch.

    Raises:
        MissingExtraError: see `import_segment_anything`.
        SegmentationError: the checkpoint does not exist.
    """

    def __init__(self, checkpoint: Path, size: SamSize = "vit_h", device: str = "cpu") -> None:
        package = import_segment_anything()
        if not checkpoint.is_file():
            raise SegmentationError(f"{checkpoint}: no such checkpoint")
        network = package.sam_model_registry[size](checkpoint=str(checkpoint))
        self._predictor = package.SamPredictor(network.to(device))

    def predict(self, rgb: ImageArray, prompts: Sequence[PlacePrompt]) -> list[InstanceMask]:
        """One mask per prompt; the image is encoded once for all of them."""
        self._predictor.set_image(rgb)
        return [self._decode(prompt) for prompt in prompts]

    def _decode(self, prompt: PlacePrompt) -> InstanceMask:
        if isinstance(prompt, BoxPrompt):
            box = np.array([prompt.left, prompt.top, prompt.right, prompt.bottom])
            masks, scores, _ = self._predictor.predict(box=box, multimask_output=False)
        else:
            place = {"point_coords": np.array([[prompt.u, prompt.v]]), "point_labels": np.array([1])}
            masks, scores, _ = self._predictor.predict(**place, multimask_output=True)
        return _best(masks, scores)


def _best(masks: np.ndarray, scores: np.ndarray) -> InstanceMask:
    """Of masks (N, H, W), the one with the highest predicted overlap, which SAM may put slightly above 1."""
    best = int(np.argmax(scores))
    return InstanceMask(masks[best].astype(np.bool_), float(np.clip(scores[best], 0.0, 1.0)))


def _load(kind: type, model: str):  # noqa: ANN202  a transformers class makes what its checkpoint says
    """A pretrained model or processor.

    Raises:
        SegmentationError: naming the model, when it is neither a folder nor to be had from the hub.
    """
    try:
        return kind.from_pretrained(model)
    except OSError as error:
        raise SegmentationError(f"{model}: cannot be loaded: {str(error).splitlines()[0]}") from error
