"""Small drawn photos for the synthesis tests; no simulator."""

import cv2
import numpy as np

from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance
from kalie.affordance.units import from_pixel

SIZE = 256


def brush_photo(image_id: str = "photo", seed: int = 0, size: int = SIZE) -> LabelledImage:
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
        "function": centre + axis * 36,
        "target": lump,
        "pre_contact": lump + np.array([-26, 20]),
        "post_contact": lump + np.array([24, -40]),
    }
    yaw = float(np.arctan2(across[1], across[0]))
    affordance = Affordance(
        **{name: from_pixel(np.asarray(p, float), 256, 256) for name, p in points.items()},
        grasp_yaw=np.pi / 2 - (np.pi / 2 - yaw) % np.pi,
        pre_height=0.05,
    )
    if size != 256:
        rgb = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA)
        masks = cv2.resize(masks, (size, size), interpolation=cv2.INTER_NEAREST)
    return LabelledImage(
        id=image_id,
        rgb=rgb,
        instruction="sweep the lump off the table",
        affordance=affordance,
        provenance=Provenance("photo", image_id),
        masks=masks,
        group="brush/0",
    )
