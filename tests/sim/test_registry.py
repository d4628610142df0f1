from __future__ import annotations

import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

from kalie.sim.objects import Category, LinkPoint, Split
from kalie.sim.registry import TASK_NAMES, Registry, UnknownFamily, task
from kalie.sim.urdf import Link, Part, urdf_text
from kalie.sim.user_objects import UserFamily
from kalie.sim.world import World, yaw_quaternion

NEEDED = sorted({category for name in TASK_NAMES for category in task(name).categories} | {"clutter"})


@pytest.mark.parametrize("category", NEEDED)
def test_every_category_has_one_training_family_and_unseen_test_families(category: Category) -> None:
    registry = Registry()
    train = registry.families(category, "train")
    validation = registry.families(category, "validation")
    test = registry.families(category, "test")
    assert len(train) == 1
    assert len(validation) >= (1 if category == "clutter" else 2)
    assert len(test) >= (1 if category == "clutter" else 3)
    names = [family.name for family in (*train, *validation, *test)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("category", sorted(set(NEEDED) - {"clutter"}))
def test_the_training_object_is_one_object(category: Category) -> None:
    (family,) = Registry().families(category, "train")
    assert family.sample(np.random.default_rng(0)) == family.sample(np.random.default_rng(1))


@pytest.mark.parametrize("category", ["brush", "trash"])
def test_test_objects_vary_within_a_family(category: Category) -> None:
    for family in Registry().families(category, "test"):
        first, second = (family.sample(np.random.default_rng(seed)) for seed in (0, 1))
        assert first.urdf != second.urdf
        assert first == family.sample(np.random.default_rng(0))


def test_training_code_never_imports_a_test_family() -> None:
    code = (
        "import sys\n"
        "import kalie.sim.annotate, kalie.sim.staging, kalie.sim.registry as r\n"
        "for name in ('brush', 'trash', 'clutter'):\n"
        "    r.Registry().families(name, 'train'); r.Registry().families(name, 'validation')\n"
        "assert not [m for m in sys.modules if 'families_test' in m], 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("split", get_args(Split))
@pytest.mark.parametrize("category", ["brush", "trash", "clutter"])
def test_objects_rest_where_they_are_put(world: World, category: Category, split: Split) -> None:
    for family in Registry().families(category, split):
        for seed in range(3):
            world.reset()
            model = family.sample(np.random.default_rng(seed))
            placed = world.load(model, (0.5, 0.0, 0.001), yaw_quaternion(0.4 + seed))
            before = world.pose(placed)
            world.settle(1.0)
            if category == "clutter":
                assert np.linalg.norm(world.pose(placed)[:3, 3] - before[:3, 3]) < 0.05
            else:
                np.testing.assert_allclose(
                    world.pose(placed), before, atol=0.035, err_msg=f"{family.name} {seed}"
                )


@pytest.mark.parametrize("split", get_args(Split))
def test_keypoints_lie_on_their_parts(world: World, split: Split) -> None:
    keypoints: dict[Category, tuple[str, ...]] = {"brush": ("grasp", "function"), "trash": ("target",)}
    for category, names in keypoints.items():
        for family in Registry().families(category, split):
            if family.name == "ring":
                continue  # its middle is a hole
            world.reset()
            placed = world.load(family.sample(np.random.default_rng(0)), (0.5, 0.0, 0.001))
            world.step()  # rays see bodies where the last step saw them
            for name in names:
                start = world.keypoint(placed, name) + np.array([0, 0, 0.03])
                hit = world.bullet.rayTest(start.tolist(), (start - [0, 0, 0.045]).tolist())[0]
                assert hit[0] == placed.body, f"{family.name}: {name}"


def test_when_no_family_matches_expect_category_and_split_named() -> None:
    with pytest.raises(UnknownFamily, match=r"'rope'.*'test'"):
        Registry().families("rope", "test")  # pyright: ignore[reportArgumentType]


def test_a_user_family_replaces_or_joins_the_projects_own() -> None:
    text = urdf_text("mine", [Link("base", (Part("box", (0.02, 0.02, 0.02)),))])
    from kalie.sim.objects import ObjectModel

    mine = UserFamily(ObjectModel("trash", "mine", text, {"target": LinkPoint((0, 0, 0.01))}), "test")
    assert Registry([mine]).families("trash", "test") == (mine,)
    joined = Registry([mine], exclusive=False).families("trash", "test")
    assert len(joined) == len(Registry().families("trash", "test")) + 1
    assert Registry([mine]).families("trash", "train") == Registry().families("trash", "train")
