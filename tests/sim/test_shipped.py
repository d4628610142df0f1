"""The weights that come with kalie answer for the five tasks."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from kalie.affordance.heatmap import HeatmapKeypointModel
from kalie.affordance.metrics import errors
from kalie.affordance.shipped import SHIPPED
from kalie.sim.benchmark import TASKS
from kalie.sim.registry import task
from kalie.sim.staging import stage
from kalie.sim.world import World


def test_one_model_points_right_in_a_scene_of_every_task() -> None:
    model = HeatmapKeypointModel.load(SHIPPED["tasks"])
    with closing(World()) as world:
        for name in TASKS:
            # Of validation families: neither tuned on, nor those of the results.
            staged = stage(world, task(name), "validation", 2)
            answer = model.predict([staged.frame.rgb], [staged.scene.instruction])[0]
            assert np.nanmax(errors([answer], [staged.affordance])) < 0.1, name
