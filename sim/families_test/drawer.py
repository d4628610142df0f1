"""Unseen cabinets: other handles, fronts, legs, sizes, colours and numbers of drawers than in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..families_train.drawer import CabinetShape, cabinet_model
from ..objects import Category, ObjectModel, Split
from ..urdf import Colour


@dataclass(frozen=True)
class UnseenCabinets:
    """A test family: random shapes of one kind in random colours.

    Attributes:
        name: of the family.
        make: draws one shape.
    """

    name: str
    make: Callable[[np.random.Generator], CabinetShape]
    category: Category = "cabinet"
    split: Split = "test"

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """A random instance of the family."""
        shape = self.make(rng)
        body, face, metal, inside = (_colour(rng) for _ in range(4))
        return cabinet_model(self.name, replace(shape, body=body, face=face, metal=metal, inside=inside))


def _colour(rng: np.random.Generator) -> Colour:
    red, green, blue = rng.uniform(0.1, 0.95, 3)
    return (float(red), float(green), float(blue), 1.0)


def knob_chest(rng: np.random.Generator) -> CabinetShape:
    """Two or three drawers with a round knob each, on runners."""
    drawers = int(rng.integers(2, 4))
    return CabinetShape(
        drawers,
        width=float(rng.uniform(0.082, 0.09 if drawers == 3 else 0.12)),
        height=float(rng.uniform(0.041, 0.046)),
        depth=float(rng.uniform(0.11, 0.13)),
        thickness=float(rng.uniform(0.014, 0.018)),
        legs=float(rng.uniform(0.006, 0.01)),
        handle="knob",
    )


def bow_front(rng: np.random.Generator) -> CabinetShape:
    """Bowed fronts without handles."""
    drawers = int(rng.integers(1, 4))
    return CabinetShape(
        drawers,
        width=float(rng.uniform(0.082, 0.092 if drawers == 3 else 0.12)),
        height=float(rng.uniform(0.036, 0.046)),
        depth=float(rng.uniform(0.11, 0.13)),
        thickness=float(rng.uniform(0.01, 0.013)),
        front="bow",
        bow=float(rng.uniform(0.01, 0.016)),
    )


def cup_pull(rng: np.random.Generator) -> CabinetShape:
    """Wide drawers with a shell-shaped cup pull, under a crown plate."""
    drawers = int(rng.integers(1, 3))
    return CabinetShape(
        drawers,
        width=float(rng.uniform(0.1, 0.13)),
        height=float(rng.uniform(0.036, 0.041)),
        depth=float(rng.uniform(0.11, 0.13)),
        handle="cup",
        crown=float(rng.uniform(0.004, 0.01)),
    )


def roll_front(rng: np.random.Generator) -> CabinetShape:
    """Thick fronts with half-round rims, on runners."""
    drawers = int(rng.integers(2, 4))
    return CabinetShape(
        drawers,
        width=float(rng.uniform(0.082, 0.09)),
        height=float(rng.uniform(0.04, 0.046)),
        depth=float(rng.uniform(0.11, 0.13)),
        thickness=float(rng.uniform(0.024, 0.032)),
        legs=float(rng.uniform(0.006, 0.012)),
        front="roll",
    )


FAMILIES = (
    UnseenCabinets("knob_chest", knob_chest),
    UnseenCabinets("bow_front", bow_front),
    UnseenCabinets("cup_pull", cup_pull),
    UnseenCabinets("roll_front", roll_front),
)
