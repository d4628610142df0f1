"""`kalie bench` keeps every cell, goes on where it stopped, and reports floors and ceilings."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kalie.affordance.heatmap import HeatmapKeypointModel
from kalie.affordance.models import HeatmapModelConfig
from kalie.cli import bench
from kalie.cli._arms import Budget, ZeroShot, learn, predictor, training_set
from kalie.cli._tables import ARM_TITLES, percent, points, role
from kalie.core.runs import RunConfig
from kalie.core.stats import Interval
from kalie.sim.benchmark import ARMS, Cell
from kalie.sim.registry import task
from kalie.sim.staging import stage
from kalie.sim.world import World


def config(folder: Path, **changes: object) -> bench.BenchConfig:
    base = bench.BenchConfig(
        task="drawer", arms=("oracle", "random"), episodes=1, seeds=1, workers=1, run=RunConfig(folder, "b")
    )
    return replace(base, **changes)  # pyright: ignore[reportArgumentType]


def test_cells_come_seed_by_seed_over_all_tasks_and_arms(tmp_path: Path) -> None:
    listed = list(bench.cells(config(tmp_path, task="all", seeds=2)))
    assert len(listed) == 2 * 5 * 2
    assert {cell.seed for cell in listed[:10]} == {0}


def test_bench_keeps_cells_and_resumes_without_redoing_them(tmp_path: Path) -> None:
    bench.main(config(tmp_path))
    folder = tmp_path / "bench" / "b"
    oracle = folder / "cells" / "drawer" / "oracle" / "0.json"
    before = oracle.stat().st_mtime_ns
    bench.main(config(tmp_path, seeds=2, run=RunConfig(tmp_path, "b", resume=True)))
    assert oracle.stat().st_mtime_ns == before
    assert (folder / "cells" / "drawer" / "oracle" / "1.json").exists()
    summary = json.loads((folder / "summary.json").read_text())
    rows = {(row["task"], row["arm"]): row for row in summary["rows"] if row["metric"] == "success"}
    assert rows["drawer", "oracle"]["n"] == 2
    assert (
        rows["drawer", "oracle"]["low"]
        <= rows["drawer", "oracle"]["value"]
        <= rows["drawer", "oracle"]["high"]
    )
    assert "floor" in (folder / "report" / "index.html").read_text()


def test_more_episodes_than_kept_means_the_cell_is_run_again(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    cell = Cell("drawer", "random", 0)
    bench.compute(tmp_path, cell, replace(cfg, episodes=2))
    assert bench.finished(tmp_path, cell, 3) is None
    shorter = bench.finished(tmp_path, cell, 1)
    assert shorter is not None
    assert len(shorter.episodes) == len(shorter.errors) == 1


def test_arms_get_the_images_their_names_say() -> None:
    world, budget = World(), Budget(photos=2, images=4)
    photos = training_set(world, "drawer", "photos", 0, budget)
    assert [image.provenance.source for image in photos] == ["photo"] * 2
    one = training_set(world, "drawer", "full_1", 0, budget)
    assert [image.provenance.source for image in one] == ["photo", *["synthetic"] * 3]
    assert {image.provenance.parent for image in one} == {photos[0].id}
    with pytest.raises(ValueError, match="does not learn"):
        training_set(world, "drawer", "oracle", 0, budget)


def test_when_an_arm_has_more_photos_than_images_expect_it_named(tmp_path: Path) -> None:
    budget = Budget(photos=2, images=6)
    with pytest.raises(ValueError, match="images=6 must be more than the 10 photos of arm full_10"):
        config(tmp_path, arms=("full", "full_10"), budget=budget)
    assert config(tmp_path, arms=("full", "full_1"), budget=budget).budget == budget


def test_rendered_scenes_are_never_test_scenes() -> None:
    world, budget = World(), Budget(photos=1, images=2)
    rendered = training_set(world, "drawer", "rendered", 0, budget)
    assert len({image.id for image in rendered}) == 2
    assert all("_test_7000_" in image.id for image in rendered)


def test_zero_shot_answers_as_the_shipped_base_model_by_default(tmp_path: Path) -> None:
    world = World()
    staged = stage(world, task("drawer"), "test", 5)
    plain, again = (
        predictor(world, "drawer", "zero_shot", 0, Budget(), None, zero_shot)
        for zero_shot in (None, ZeroShot(config(tmp_path).model, config(tmp_path).segmenter))
    )
    (base,) = HeatmapKeypointModel.load().predict([staged.frame.rgb], [staged.scene.instruction])
    assert plain(staged) == again(staged) == base


def test_when_the_model_is_for_no_arm_expect_refusal(tmp_path: Path) -> None:
    tuned = HeatmapModelConfig(Path("tuned"))
    with pytest.raises(ValueError, match="arms does not name it"):
        config(tmp_path, model=tuned)
    assert config(tmp_path, model=tuned, arms=("zero_shot",)).model == tuned


def test_learning_is_deterministic_by_seed() -> None:
    budget = Budget(photos=2, images=3)
    short = replace(budget.finetune.training, steps=2, batch_size=2, evaluate_every=1000)
    budget = replace(budget, finetune=replace(budget.finetune, training=short))
    samples = training_set(World(), "drawer", "photos", 0, budget)
    first, again = (learn("photos_augmented", samples, 3, budget) for _ in range(2))
    other = learn("photos_augmented", samples, 4, budget)
    same = [bool((a == b).all()) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    differs = [bool((a != b).any()) for a, b in zip(first.parameters(), other.parameters(), strict=True)]
    assert all(same)
    assert any(differs)


def test_every_arm_has_a_title_and_floors_and_ceilings_are_marked() -> None:
    assert set(ARM_TITLES) == set(ARMS)
    assert (role("random"), role("oracle"), role("full")) == ("floor", "ceiling", "")


def test_numbers_are_worded_with_their_interval() -> None:
    assert percent(Interval(0.925, 0.88, 0.961, 100)) == "92 % [88, 96]"
    assert points(Interval(0.31, 0.2, 0.42, 100)) == "+31 [+20, +42]"


@pytest.mark.parametrize(
    ("key", "value"), [("episodes", 0), ("seeds", 0), ("workers", -1), ("arms", ("full", "full"))]
)
def test_when_a_key_is_out_of_range_expect_refusal(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ValueError, match=key):
        config(tmp_path, **{key: value})
