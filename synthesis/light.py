"""Light and lens: contact shadows, global illumination, white balance, blur and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.ranges import at_least, rising, within
from .textures import noise

ImageArray = NDArray[np.uint8]
FloatImage = NDArray[np.floating]


@dataclass(frozen=True)
class LightConfig:
    """Ranges of the light and of the camera's faults.

    Attributes:
        shadow: weakest and strongest darkening by a contact shadow, 0 to 1.
        shadow_length: longest offset of a shadow, px.
        exposure: largest change of exposure either way, in stops.
        tint: largest change of a colour channel either way, relative.
        gradient: largest contrast of a slow light gradient over the image.
        blur: largest Gaussian blur, px.
        noise: largest standard deviation of sensor noise, 0..255.
    """

    shadow: tuple[float, float] = (0.1, 0.65)
    shadow_length: float = 14.0
    exposure: float = 0.7
    tint: float = 0.12
    gradient: float = 0.5
    blur: float = 1.0
    noise: float = 7.0

    def __post_init__(self) -> None:
        within(self, 0, 1, "shadow", "tint", "gradient")
        rising(self, "shadow")
        at_least(self, 0, "shadow_length", "exposure", "blur")
        within(self, 0, 255, "noise")


@dataclass(frozen=True)
class Shadow:
    """One light's contact shadow: offset (2,) px, softness px, darkness 0 to 1."""

    offset: tuple[float, float]
    softness: float
    darkness: float

    def factor(self, alpha: FloatImage) -> FloatImage:
        """(H, W) brightness factor that an object of coverage `alpha` (H, W) throws on its surroundings.

        The shadow is swept from the object's foot to the full offset, so that it stays in contact.
        """
        height, width = alpha.shape
        swept: FloatImage = alpha
        for share in (0.33, 0.67, 1.0):
            move = np.array([[1, 0, share * self.offset[0]], [0, 1, share * self.offset[1]]])
            swept = np.maximum(swept, cv2.warpAffine(alpha, move, (width, height)).astype(np.float32))
        return 1 - np.float32(self.darkness) * cv2.GaussianBlur(swept, (0, 0), self.softness)


def random_shadow(config: LightConfig, rng: np.random.Generator) -> Shadow:
    """One light for the whole scene."""
    angle, length = rng.uniform(0, 2 * np.pi), config.shadow_length * rng.random() ** 1.5
    return Shadow(
        offset=(float(length * np.cos(angle)), float(length * np.sin(angle))),
        softness=float(rng.uniform(1.0, 4.5)),
        darkness=float(rng.uniform(*config.shadow)),
    )


def finish(rgb: ImageArray, config: LightConfig, rng: np.random.Generator) -> ImageArray:
    """Global light, white balance, blur and noise over a uint8 (H, W, 3) image."""
    height, width = rgb.shape[:2]
    exposure = 2.0 ** rng.uniform(-config.exposure, config.exposure)
    tint = 1 + rng.uniform(-config.tint, config.tint, size=3)
    slow = noise(rng, height, width, 1.2 * max(height, width), octaves=1) - 0.5
    gain = 1 + np.float32(rng.uniform(0, config.gradient)) * slow
    out = rgb * gain[..., None] * (exposure * tint).astype(np.float32)
    blur = rng.uniform(0, config.blur)
    if blur > 0.3:
        out = cv2.GaussianBlur(out, (0, 0), blur)
    deviation = np.float32(rng.uniform(0, config.noise))
    out = out + deviation * rng.standard_normal(out.shape, dtype=np.float32)
    return np.clip(out, 0, 255).astype(np.uint8)
