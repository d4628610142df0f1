"""Labelled images as tensors: what the heat-map model learns from, and how its numbers become an affordance.

Images are squeezed to a square of S x S pixels. Points stay fractions of the image, so squeezing does not
touch them; the closing axis is a direction and moves with the squeeze (`turn_axis`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .labels import LabelledImage
from .schema import KEYPOINT_NAMES, SCALAR_NAMES, SCALAR_RANGES, Affordance, Keypoint, ScalarName

POINTS = len(KEYPOINT_NAMES)
GRASP, FUNCTION, TARGET = (KEYPOINT_NAMES.index(name) for name in ("grasp", "function", "target"))
PLAIN_SCALARS: tuple[ScalarName, ...] = tuple(name for name in SCALAR_NAMES if name != "grasp_yaw")
# One unit of the network's output in metres or radians, so that all scalars are of order one.
UNITS: dict[ScalarName, float] = {
    "pre_height": 0.1,
    "target_height": 0.1,
    "post_height": 0.1,
    "tool_tilt": 1.0,
    "gripper_width": 0.05,
}
# Values per image: the plain scalars, then (cos 2t, sin 2t) of the closing axis at angle t.
VALUES = len(PLAIN_SCALARS) + 2
# Presence logits per image: the keypoints, the plain scalars, the closing axis.
PRESENCES = POINTS + len(PLAIN_SCALARS) + 1


@dataclass(frozen=True)
class Batch:
    """B labelled images of one square size, as tensors.

    Attributes:
        images: uint8 or float32 (B, 3, S, S), 0..255.
        points: float32 (B, POINTS, 2), fractions of the image, x right, y down; 0 where absent.
        in_view: bool (B, POINTS), the point exists and lies in the image: only then it has a heat-map.
        values: float32 (B, VALUES), see `UNITS`; 0 where absent.
        presence: float32 (B, PRESENCES), 1 where the affordance has that entry.
        instructions: B texts.
    """

    images: Tensor
    points: Tensor
    in_view: Tensor
    values: Tensor
    presence: Tensor
    instructions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.instructions)

    def select(self, indices: Tensor) -> Batch:
        """The batch of the given rows, in that order."""
        tensors = {name: getattr(self, name)[indices] for name in _TENSOR_FIELDS}
        return replace(self, **tensors, instructions=tuple(self.instructions[int(i)] for i in indices))

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in _TENSOR_FIELDS})


_TENSOR_FIELDS = tuple(spec.name for spec in fields(Batch) if spec.name != "instructions")


def concatenate(batches: Sequence[Batch]) -> Batch:
    """One batch of all rows."""
    tensors = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in _TENSOR_FIELDS}
    return Batch(**tensors, instructions=sum((batch.instructions for batch in batches), ()))


def to_square(rgb: NDArray[np.uint8], size: int) -> Tensor:
    """An image (H, W, 3) squeezed to uint8 (3, size, size)."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f"image: expected uint8 (H, W, 3), got {rgb.dtype} {rgb.shape}")
    shrinks = max(rgb.shape[:2]) > size
    small = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))


def turn_axis(angle: Tensor, matrices: Tensor) -> Tensor:
    """The closing axis after the image moved by p -> matrices @ p.

    The axis is the normal of the two sides that the jaws touch, and a normal moves by the inverse transpose.

    Args:
        angle: (B,) radians, from +x toward +y.
        matrices: (B, 2, 2), invertible.

    Returns:
        (B,) radians in (-pi/2, pi/2].
    """
    normal = torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    moved = torch.linalg.solve(matrices.transpose(-1, -2), normal)
    return half_turn(torch.atan2(moved[..., 1], moved[..., 0]))


def half_turn(angle: Tensor) -> Tensor:
    """The same line's angle in (-pi/2, pi/2]."""
    return angle - torch.pi * torch.ceil(angle / torch.pi - 0.5)


def axis_angle(values: Tensor) -> Tensor:
    """Angle of the closing axis in (-pi/2, pi/2] from the last two of (..., VALUES)."""
    return half_turn(0.5 * torch.atan2(values[..., -1], values[..., -2]))


def with_axis(values: Tensor, angle: Tensor) -> Tensor:
    """The values with the closing axis set to `angle`."""
    double = torch.stack([torch.cos(2 * angle), torch.sin(2 * angle)], dim=-1)
    return torch.cat([values[..., :-2], double], dim=-1)


def encode(samples: Sequence[LabelledImage], size: int) -> Batch:
    """Labelled images as one batch of `size` x `size` images."""
    return Batch(
        images=torch.stack([to_square(sample.rgb, size) for sample in samples]),
        points=torch.tensor([_points(sample.affordance) for sample in samples], dtype=torch.float32),
        in_view=torch.tensor([_has_points(sample.affordance) for sample in samples]),
        values=torch.stack([_values(sample) for sample in samples]),
        presence=torch.tensor([_presence(sample.affordance) for sample in samples], dtype=torch.float32),
        instructions=tuple(sample.instruction for sample in samples),
    )


def _points(affordance: Affordance) -> list[tuple[float, float]]:
    points = [getattr(affordance, name) for name in KEYPOINT_NAMES]
    return [(0.0, 0.0) if point is None else (point.x, point.y) for point in points]


def _has_points(affordance: Affordance) -> list[bool]:
    return [getattr(affordance, name) is not None for name in KEYPOINT_NAMES]


def _presence(affordance: Affordance) -> list[float]:
    names = (*KEYPOINT_NAMES, *PLAIN_SCALARS, "grasp_yaw")
    return [float(getattr(affordance, name) is not None) for name in names]


def _values(sample: LabelledImage) -> Tensor:
    height, width = sample.rgb.shape[:2]
    plain = [(getattr(sample.affordance, name) or 0.0) / UNITS[name] for name in PLAIN_SCALARS]
    values = torch.tensor([*plain, 0.0, 0.0], dtype=torch.float32)
    yaw = sample.affordance.grasp_yaw
    if yaw is None:
        return values
    return with_axis(values, turn_axis(torch.tensor(yaw), squeeze(width, height)))


def squeeze(width: int, height: int) -> Tensor:
    """The map of directions of a width x height image to its square form."""
    return torch.diag(torch.tensor([1.0 / width, 1.0 / height])) * max(width, height)


def decode(points: Tensor, values: Tensor, presence: Tensor, width: int, height: int) -> Affordance:
    """One image's numbers as an affordance; what is not present is None.

    Args:
        points: (POINTS, 2) fractions of the image.
        values: (VALUES,).
        presence: bool (PRESENCES,).
        width: of the image the affordance is for, pixels.
        height: likewise.
    """
    present = presence.tolist()
    out: dict[str, Keypoint | float | None] = {}
    for name, (x, y), here in zip(KEYPOINT_NAMES, points.tolist(), present, strict=False):
        out[name] = Keypoint(x, y) if here else None
    for name, value, here in zip(PLAIN_SCALARS, values.tolist(), present[POINTS:], strict=False):
        low, high = SCALAR_RANGES[name]
        out[name] = min(max(value * UNITS[name], low), high) if here else None
    if present[-1]:
        turned = turn_axis(axis_angle(values), torch.linalg.inv(squeeze(width, height)))
        out["grasp_yaw"] = max(min(float(turned), np.pi / 2), -np.pi / 2)
    return Affordance(**out)  # pyright: ignore[reportArgumentType]
