"""The keypoint model of the affordance node: loaded once, asked by several threads, answers checked."""

from __future__ import annotations

import threading
from typing import Literal, NamedTuple

import numpy as np
import torch
import transformers

from kalie.affordance.heatmap import HeatmapKeypointModel
from kalie.affordance.model import KeypointModel, Prediction
from kalie.affordance.schema import Affordance
from kalie.affordance.shipped import weights_folder
from kalie.perception.frame import ImageArray

DeviceName = Literal["auto", "cpu", "cuda"]


class NoAnswer(ValueError):
    """The model gives no usable answer; the message says why."""


class Judgement(NamedTuple):
    """A usable answer.

    Attributes:
        prediction: of the model.
        affordance: its affordance, with at least one keypoint.
        confidence: of its least certain keypoint, in [0, 1].
    """

    prediction: Prediction
    affordance: Affordance
    confidence: float


class Judge:
    """Asks a model for keypoints, one picture at a time. Thread-safe."""

    def __init__(self, model: KeypointModel) -> None:
        """Use `model`, and ask it once: the first answer is the slowest, and shows whether the model works.

        Raises:
            NoAnswer: its answer is invalid.
        """
        self._model, self._lock = model, threading.Lock()
        answer = model.predict([np.zeros((480, 640, 3), np.uint8)], ["warm up"])[0]
        if not answer.valid:
            raise NoAnswer(f"the model does not work: {answer.error}")

    def judge(self, rgb: ImageArray, instruction: str, min_confidence: float) -> Judgement:
        """The keypoints in a picture.

        Args:
            rgb: uint8 (H, W, 3).
            instruction: what is to be done.
            min_confidence: that every keypoint must have.

        Raises:
            NoAnswer: the model's answer is invalid, has no keypoint, or is too uncertain.
        """
        with self._lock:
            prediction = self._model.predict([rgb], [instruction])[0]
        affordance = prediction.affordance
        if affordance is None:
            raise NoAnswer(f"the model's answer is invalid: {prediction.error}")
        confidence = {name: prediction.confidence.get(name, 0.0) for name, _ in affordance.keypoints()}
        if not confidence:
            raise NoAnswer("the model sees no keypoint")
        name = min(confidence, key=lambda key: confidence[key])
        if confidence[name] < min_confidence:
            raise NoAnswer(f"{name}: confidence {confidence[name]:.3f} is below {min_confidence:g}")
        return Judgement(prediction, affordance, confidence[name])


def load_model(weights: str, device: DeviceName) -> KeypointModel:
    """The heat-map model of a folder, ready to predict.

    Args:
        weights: folder of a tuned model, or the name of shipped weights (base, tasks).
        device: auto: the GPU if there is one.

    Raises:
        OSError: the weights cannot be had; the message names the file.
        ValueError: the weights do not fit, or there is no such device.
    """
    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise ValueError("device: there is no CUDA device here")
    transformers.utils.logging.disable_progress_bar()
    folder = weights_folder(weights)
    if folder.is_dir() and not (folder / "model.safetensors").is_file():
        # Anything else would be a pickle.
        raise FileNotFoundError(f"{folder}: model.safetensors is missing")
    model = HeatmapKeypointModel.load(folder)
    return model.to("cuda" if gpu and device != "cpu" else "cpu")  # pyright: ignore[reportArgumentType]
