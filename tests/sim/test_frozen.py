"""The test split is what was frozen: its sources, and what they make with code that other splits share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from kalie.sim import frozen, urdf
from kalie.sim.families_test.sweep import FAMILIES
from kalie.sim.objects import Category, LinkPoint, ObjectFamily, ObjectModel, Split
from kalie.sim.textures import TextureSet
from kalie.sim.urdf import Joint, Link, Part, urdf_text

PROMISE = (
    "changed; every figure measured with the old test split is void. If that is meant: "
    "python -c 'from kalie.sim.frozen import freeze; freeze()'"
)
SWAPPED = [1, 0, *range(2, frozen.BANK_SIZE)]
PLATE = Part("box", (0.2, 0.1, 0.02), (0, 0, 0.01), rpy=(0.3, 0.2, 0.1), mass=0.1)


def plate(**changes: object) -> ObjectModel:
    text = urdf_text("plate", [Link("base", (PLATE,)), Link("head", (PLATE,))], [Joint("base", "head")])
    model = ObjectModel("clutter", "plate", text, {"grasp": LinkPoint((0.01, 0.0, 0.02))}, {"radius": 0.11})
    return replace(model, **changes)


@pytest.mark.parametrize("name", ["sources", "objects"])
def test_the_test_split_is_the_frozen_one(name: str) -> None:
    assert getattr(frozen, f"{name}_hash")() == frozen.frozen()[name], f"the test split's {name} {PROMISE}"


def test_when_shared_code_changes_what_families_make_expect_another_hash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def one_family(category: Category, split: Split) -> Iterator[ObjectFamily]:
        assert split == "test"
        yield from FAMILIES[:1] if category == FAMILIES[0].category else ()

    monkeypatch.setattr(frozen, "own_families", one_family)
    before = frozen.objects_hash()
    assert frozen.objects_hash() == before
    monkeypatch.setattr(urdf, "LEAST_INERTIA", 2 * urdf.LEAST_INERTIA)
    assert frozen.objects_hash() != before


@pytest.mark.parametrize(
    "changes",
    [
        {"friction": 0.9},
        {"family": "slab"},
        {"scalars": {"radius": 0.1101}},
        {"keypoints": {"grasp": LinkPoint((0.0101, 0.0, 0.02))}},
        {"keypoints": {"grasp": LinkPoint((0.01, 0.0, 0.02), "head")}},
        {"colours": {"base": (1.0, 0.0, 0.0, 1.0)}},
        {"urdf": plate().urdf.replace('size="0.2 0.1 0.02"', 'size="0.2001 0.1 0.02"')},
    ],
)
def test_when_anything_of_an_object_changes_expect_another_form(changes: dict[str, object]) -> None:
    assert frozen.canonical(plate(**changes)) != frozen.canonical(plate())


def test_the_last_digits_of_arithmetic_do_not_count() -> None:
    numbers = re.compile(r"(?<=[\" ])-?\d[\d.e-]*(?=[\" ])")
    noisy = numbers.sub(lambda found: repr(float(found[0]) * (1 + 1e-9) + 1e-13), plate().urdf)
    assert noisy != plate().urdf
    assert frozen.canonical(plate(urdf=noisy)) == frozen.canonical(plate())


def test_which_principal_axes_come_first_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    solve = np.linalg.eigh

    def reordered(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moments, axes = solve(matrix)
        order = [2, 0, 1]
        return moments[order], axes[:, order]

    before = plate()
    monkeypatch.setattr(urdf.np.linalg, "eigh", reordered)
    assert plate().urdf != before.urdf
    assert frozen.canonical(plate()) == frozen.canonical(before)


def test_textures_count_but_single_pixels_rounded_otherwise_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before, draw = list(frozen._textures()), frozen.texture

    def rounded(name: TextureSet, index: int) -> np.ndarray:
        image = draw(name, index).copy()
        image[::97, ::89] ^= 1
        return image

    monkeypatch.setattr(frozen, "texture", rounded)
    assert list(frozen._textures()) == before
    monkeypatch.setattr(frozen, "texture", lambda name, index: draw(name, SWAPPED[index]))
    assert list(frozen._textures()) != before
