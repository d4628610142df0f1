"""Small drawn photos shared by the synthesis tests; no simulator."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance
from kalie.affordance.units import from_pixel

PhotoMaker = Callable[..., LabelledImage]


def brush_photo(image_id: str = "photo", seed: int = 0, dots: bool = False) -> LabelledImage:
    """A brush (red handle, black head) and a yellow lump on a grey table over a dark floor."""
    rng = np.random.default_rng(seed)
    rgb = np.full((256, 256, 3), (150, 145, 135), np.uint8)
    rgb[:46] = (70, 60, 55)
    masks = np.zeros((256, 256), np.uint8)
    angle = np.radians(rng.uniform(-30, 30))
    axis, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    centre = np.array([90.0, 150.0]) + rng.uniform(-10, 10, 2)
    lump = np.array([185.0, 110.0]) + rng.uniform(-12, 12, 2)
    for cast in (True, False):
        offset = np.array([5.0, 6.0]) if cast else np.zeros(2)
        parts = (((-35, 15), 6, (190, 40, 40)), ((15, 38), 17, (30, 30, 34)))
        for (low, high), half, colour in parts:
            corners = [
                centre + offset + axis * a + across * b
                for a, b in ((low, -half), (high, -half), (high, half), (low, half))
            ]
            paint = tuple(int(c * 0.6) for c in (150, 145, 135)) if cast else colour
            cv2.fillPoly(rgb, [np.round(np.array(corners)).astype(np.int32)], paint)
            if not cast:
                cv2.fillPoly(masks, [np.round(np.array(corners)).astype(np.int32)], 1)
        place = tuple(int(v) for v in np.round(lump + offset))
        cv2.circle(rgb, place, 11, (90, 87, 81) if cast else (220, 190, 60), -1)
        if not cast:
            cv2.circle(masks, place, 11, 2, -1)
    noisy = rgb + rng.normal(0, 2.5, rgb.shape)
    rgb = np.clip(noisy, 0, 255).astype(np.uint8)
    points = {
        "grasp": centre - axis * 10,
        "function": centre + axis * 30,
        "target": lump,
        "pre_contact": lump + np.array([-26, 20]),
        "post_contact": lump + np.array([24, -40]),
    }
    if dots:
        for name in ("grasp", "function", "target"):
            _stamp(rgb, points[name])
    yaw = float(np.arctan2(across[1], across[0]))
    affordance = replace(
        Affordance(grasp_yaw=np.pi / 2 - (np.pi / 2 - yaw) % np.pi, pre_height=0.05),
        **{name: from_pixel(np.asarray(p, float), 256, 256) for name, p in points.items()},
    )
    return LabelledImage(
        id=image_id,
        rgb=rgb,
        instruction="sweep the lump off the table",
        affordance=affordance,
        provenance=Provenance("photo", image_id),
        masks=masks,
        group="brush/0",
    )


def _stamp(rgb: np.ndarray, point: np.ndarray, sigma: float = 1.6) -> None:
    """A magenta Gaussian dot centred at a sub-pixel position."""
    y, x = np.mgrid[:256, :256]
    weight = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * sigma**2))[..., None]
    rgb[:] = np.round(rgb * (1 - weight) + np.array([255, 0, 255]) * weight)


def find_dot(rgb: np.ndarray, near: np.ndarray, reach: int = 6) -> np.ndarray:
    """Centroid (u, v) of the magenta around a pixel."""
    x0, y0 = (max(round(float(c)) - reach, 0) for c in near)
    patch = rgb[y0 : y0 + 2 * reach + 1, x0 : x0 + 2 * reach + 1].astype(float)
    weight = np.clip(np.minimum(patch[..., 0], patch[..., 2]) - patch[..., 1] - 60, 0, None)
    y, x = np.mgrid[: patch.shape[0], : patch.shape[1]]
    return (
        np.array([(x * weight).sum() + x0 * weight.sum(), (y * weight).sum() + y0 * weight.sum()])
        / weight.sum()
    )


@pytest.fixture(scope="session")
def make_photo() -> PhotoMaker:
    return brush_photo


@pytest.fixture(scope="session")
def locate_dot() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return find_dot


@pytest.fixture(scope="session")
def photos() -> list[LabelledImage]:
    return [brush_photo(f"photo{i}", seed=i) for i in range(2)]
