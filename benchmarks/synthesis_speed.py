"""Time to synthesise 500 images at 256 px from 50 photos, against the limit of 60 s on two cores.

    python benchmarks/synthesis_speed.py [--workers 2] [--out FILE] [--quick]

Wall time; the start of the processes is part of it.
"""

from __future__ import annotations

import time
from dataclasses import replace

import cv2
import numpy as np
from _measure import Measured, against_limit, parser, report

from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance
from kalie.affordance.units import from_pixel
from kalie.synthesis.pipeline import SynthesisConfig, synthesise

# Of one image: 60 s for 500.
LIMIT_SECONDS = 60.0 / 500
SIZE = 256


def drawn_photo(index: int) -> LabelledImage:
    """A hammer-shaped tool, a small target and a piece of clutter on a table over a floor."""
    rng = np.random.default_rng(index)
    rgb = np.full((SIZE, SIZE, 3), (85, 88, 95), np.uint8)
    cv2.rectangle(rgb, (30, 60), (230, 210), (205, 196, 180), -1)
    masks = np.zeros((SIZE, SIZE), np.uint8)
    x, y = (int(value) for value in rng.integers((60, 120), (110, 180)))
    parts = (
        (1, (x, y - 4), (x + 50, y + 4), (190, 40, 40)),
        (1, (x + 50, y - 16), (x + 64, y + 16), (40, 40, 44)),
        (2, (180, 90), (192, 101), (230, 220, 80)),
        (3, (60, 80), (72, 90), (60, 160, 90)),
    )
    for label, low, high, colour in parts:
        cv2.rectangle(rgb, low, high, colour, -1)
        cv2.rectangle(masks, low, high, label, -1)
    points = {
        "grasp": (x + 22, y),
        "function": (x + 58, y),
        "target": (186, 96),
        "pre_contact": (165, 96),
        "post_contact": (240, 96),
    }
    keypoints = {name: from_pixel(np.array(point, float), SIZE, SIZE) for name, point in points.items()}
    name = f"photo{index:03d}"
    noisy = np.clip(rgb + rng.normal(0, 2, rgb.shape), 0, 255).astype(np.uint8)
    affordance = replace(Affordance(grasp_yaw=np.pi / 2), **keypoints)
    return LabelledImage(
        name, noisy, "sweep it off the right edge", affordance, Provenance("photo", name), masks
    )


def synthesis(photos: int, count: int, workers: int) -> Measured:
    """One run in memory."""
    shots = [drawn_photo(index) for index in range(photos)]
    begin = time.perf_counter()
    synthesise(shots, SynthesisConfig(count=count, workers=workers), seed=0)
    seconds = time.perf_counter() - begin
    return against_limit(f"{count} synthetic images, {workers} processes", [seconds], LIMIT_SECONDS * count)


def main() -> None:
    """Measure and report."""
    arguments = parser(__doc__)
    arguments.add_argument("--workers", type=int, default=2)
    options = arguments.parse_args()
    photos, count = (2, 4) if options.quick else (50, 500)
    report([synthesis(photos, count, options.workers)], options.out)


if __name__ == "__main__":
    main()
