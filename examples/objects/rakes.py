"""A family in Python: rakes of random size, for the test split.

kalie run task=sweep objects=examples/objects/rakes.py
"""

from dataclasses import dataclass

import numpy as np

from kalie.sim.objects import LinkPoint, ObjectModel
from kalie.sim.urdf import Joint, Link, Part, urdf_text


@dataclass(frozen=True)
class Rakes:
    """A handle with a row of tines under a cross bar."""

    name: str = "rakes"
    category: str = "brush"
    split: str = "test"

    def sample(self, rng: np.random.Generator) -> ObjectModel:
        """A random rake; lengths in metres."""
        length, width = float(rng.uniform(0.13, 0.17)), float(rng.uniform(0.09, 0.13))
        handle = Part("box", (length, 0.022, 0.026), (0, 0, 0.013), colour=(0.5, 0.3, 0.1, 1), mass=0.05)
        middle = length / 2 + 0.015
        bar = Part("box", (0.03, width, 0.01), (middle, 0, 0.025), colour=(0.3, 0.3, 0.35, 1), mass=0.02)
        tines = [
            Part("box", (0.02, 0.008, 0.02), (middle, y, 0.01), colour=(0.6, 0.6, 0.6, 1), mass=0.003)
            for y in np.linspace(-width / 2 + 0.004, width / 2 - 0.004, 9).tolist()
        ]
        urdf = urdf_text(
            "rake", [Link("base", (handle,)), Link("head", (bar, *tines))], [Joint("base", "head")]
        )
        keypoints = {"grasp": LinkPoint((-length / 10, 0, 0.026)), "function": LinkPoint((middle, 0, 0.03))}
        scalars = {"grasp_width": 0.022, "handle_length": length, "head_depth": 0.03, "head_width": width}
        return ObjectModel("brush", self.name, urdf, keypoints, scalars)


FAMILIES = (Rakes(),)
