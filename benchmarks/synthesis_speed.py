"""Time to synthesise 500 images at 256 px, against the limit of 60 s on two cores.

    python benchmarks/synthesis_speed.py [--count 500] [--workers 2] [--photos 50] [--out FILE]

Prints seconds, CPU milliseconds an image, and the ratio to the limit; writes them as JSON with `--out`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance
from kalie.affordance.units import from_pixel
from kalie.synthesis.pipeline import SynthesisConfig, SynthesisReport, synthesise

LIMIT_SECONDS = 60.0
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
    affordance = Affordance(**keypoints, grasp_yaw=np.pi / 2)
    return LabelledImage(
        name, noisy, "sweep it off the right edge", affordance, Provenance("photo", name), masks
    )


def cpu_seconds() -> float:
    """User and system time of this process and its finished children."""
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in usage)


def measure(count: int, workers: int, photos: int) -> dict[str, object]:
    """Synthesise once in memory; process start-up is part of it."""
    shots = [drawn_photo(index) for index in range(photos)]
    begin, cpu = time.perf_counter(), cpu_seconds()
    images = synthesise(shots, SynthesisConfig(count=count, workers=workers), seed=0)
    seconds, spent = time.perf_counter() - begin, cpu_seconds() - cpu
    return {
        "images": count,
        "workers": workers,
        "seconds": round(seconds, 2),
        "cpu_ms_per_image": round(1000 * spent / count, 1),
        "limit_seconds": LIMIT_SECONDS * count / 500,
        "ratio_to_limit": round(seconds / (LIMIT_SECONDS * count / 500), 3),
        "rejected": dict(SynthesisReport.of(images).rejected),
    }


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--photos", type=int, default=50)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = measure(options.count, options.workers, options.photos)
    text = json.dumps(result, indent=1)
    sys.stdout.write(text + "\n")
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
