"""What holds for all five tasks alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from kalie.sim.episode import act, oracle
from kalie.sim.objects import Category, ObjectModel
from kalie.sim.registry import TASK_NAMES, own_families, task
from kalie.sim.staging import stage
from kalie.sim.task import TaskName
from kalie.sim.world import World

TRAINED: Mapping[Category, str] = {
    "brush": "flat_brush",
    "trash": "crumpled_paper",
    "cabinet": "bar_cabinet",
    "towel": "lab_towel",
    "rack": "two_posts",
    "scoop": "box_scoop",
    "bowl": "bowl",
    "host": "block_host",
    "stick": "flat_stick",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TASK_NAMES)
def test_oracle_succeeds_on_98_of_100_scenes_of_the_test_families(world: World, name: TaskName) -> None:
    scenes = (stage(world, task(name), "test", seed) for seed in range(1000, 1100))
    assert sum(act(world, staged, oracle(staged)).success for staged in scenes) >= 98


@pytest.mark.parametrize("name", TASK_NAMES)
def test_same_seed_gives_the_same_scene_picture_and_outcome_bit_for_bit(world: World, name: TaskName) -> None:
    outcomes, other = [], World()
    for place in (world, world, other):
        staged = stage(place, task(name), "test", 5)
        episode = act(place, staged, oracle(staged))
        ends = [place.pose(thing).tobytes() for thing in staged.scene.objects.values()]
        outcomes.append((staged.frame.rgb.tobytes(), staged.affordance, ends, episode.measures))
    other.close()
    assert outcomes[0] == outcomes[1] == outcomes[2]


@pytest.mark.parametrize("category", TRAINED)
def test_splits_have_one_training_two_validation_and_at_least_three_test_families(category: Category) -> None:
    (trained,) = own_families(category, "train")
    validation, unseen = tuple(own_families(category, "validation")), tuple(own_families(category, "test"))
    assert trained.name == TRAINED[category]
    assert len(validation) == 2
    assert len(unseen) >= 3
    rng = np.random.default_rng(0)
    assert all(family.sample(rng) == family.sample(rng) for family in (trained, *validation))
    assert all(family.sample(rng).urdf != family.sample(rng).urdf for family in unseen)


@pytest.mark.parametrize(("name", "category"), [("towel", "rack"), ("pour", "bowl")])
def test_when_an_object_does_not_fit_the_table_expect_an_error_naming_its_family(
    world: World, name: TaskName, category: Category
) -> None:
    families = {part: next(iter(own_families(part, "train"))) for part in task(name).categories}
    fitting = families[category].sample(np.random.default_rng(0))

    class Wide:
        name, split = "too_wide", "test"

        def sample(self, rng: np.random.Generator) -> ObjectModel:
            return replace(fitting, family="too_wide", scalars={**fitting.scalars, "half_width": 0.5})

    with pytest.raises(ValueError, match="too_wide"):
        task(name).build(world, {**families, category: Wide()}, np.random.default_rng(0))  # pyright: ignore[reportArgumentType]
