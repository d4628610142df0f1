"""Labelled pictures drawn by a few lines: a stick with a knob, on a plain table."""

from __future__ import annotations

import math

import cv2
import numpy as np

from kalie.affordance.labels import LabelledImage, Provenance, Source
from kalie.affordance.schema import Affordance, Keypoint

SIDE = 96


def stick(index: int, source: Source = "photo", instruction: str = "hold the stick") -> LabelledImage:
    """Grasp at the stick's tail, function at its knob, closing axis across it."""
    rng = np.random.default_rng(index)
    image = np.full((SIDE, SIDE, 3), rng.integers(0, 100, 3), np.uint8)
    angle, centre = rng.uniform(-np.pi, np.pi), rng.uniform(36, 60, 2)
    along = np.array([math.cos(angle), math.sin(angle)])
    tail, knob = centre - 20 * along, centre + 20 * along
    colour = tuple(int(value) for value in rng.integers(150, 255, 3))
    cv2.line(image, tuple(map(round, tail)), tuple(map(round, knob)), colour, 4)
    cv2.circle(image, tuple(map(round, knob)), 8, colour, -1)
    yaw = math.atan(math.tan(angle + math.pi / 2))
    affordance = Affordance(
        grasp=Keypoint(*((tail + 0.5) / SIDE)),
        function=Keypoint(*((knob + 0.5) / SIDE)),
        grasp_yaw=yaw,
        pre_height=0.05,
    )
    name = f"{source}{index}"
    return LabelledImage(name, image, instruction, affordance, Provenance(source, name))


def dots(points: list[tuple[float, float]], side: int = 128, radius: float = 2.5) -> np.ndarray:
    """Soft white dots on black, exact to a fraction of a pixel; points are fractions of the image."""
    v, u = np.mgrid[:side, :side]
    image = np.zeros((side, side))
    for x, y in points:
        image += np.exp(-((u - (x * side - 0.5)) ** 2 + (v - (y * side - 0.5)) ** 2) / (2 * radius**2))
    return np.repeat((255 * image.clip(0, 1)).astype(np.uint8)[..., None], 3, axis=2)
