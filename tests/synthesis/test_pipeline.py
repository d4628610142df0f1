"""Synthesis in bulk: deterministic, parallel, resumable, free of duplicates, and blind to the simulator."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from kalie.affordance.labels import LabelledImage
from kalie.synthesis.binding import SynthesisError
from kalie.synthesis.checks import CheckConfig, Reason
from kalie.synthesis.compose import ComposeConfig
from kalie.synthesis.light import LightConfig
from kalie.synthesis.pipeline import SynthesisConfig, SynthesisReport, make_repainter, synthesise
from kalie.synthesis.repaint import ProceduralConfig, ProceduralRepainter, RepainterConfig
from kalie.synthesis.store import StoreError, content_hash, iterate, read_image, write_image
from kalie.synthesis.transform import TransformConfig

SMALL = SynthesisConfig(count=6)


def same(a: LabelledImage, b: LabelledImage) -> bool:
    assert a.masks is not None
    assert b.masks is not None
    facts = [(x.id, x.instruction, x.affordance, x.provenance, x.group) for x in (a, b)]
    return facts[0] == facts[1] and np.array_equal(a.rgb, b.rgb) and np.array_equal(a.masks, b.masks)


def all_same(first: list[LabelledImage], second: list[LabelledImage]) -> bool:
    return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))


def test_result_depends_on_the_seed_and_not_on_workers_or_batch(photos: list[LabelledImage]) -> None:
    one = synthesise(photos, SMALL, 3)
    assert all_same(one, synthesise(photos, replace(SMALL, workers=2), 3))
    assert all_same(one, synthesise(photos, replace(SMALL, batch=4), 3))
    assert not np.array_equal(one[0].rgb, synthesise(photos, replace(SMALL, count=1), 4)[0].rgb)


def test_a_longer_run_starts_with_the_shorter_one(photos: list[LabelledImage]) -> None:
    assert all_same(synthesise(photos, SMALL, 3)[:3], synthesise(photos, replace(SMALL, count=3), 3))


def test_ids_are_unique_and_parents_are_shared_evenly(photos: list[LabelledImage]) -> None:
    children = synthesise(photos, SMALL, 0)
    assert len({child.id for child in children}) == 6
    assert not {child.id for child in children} & {photo.id for photo in photos}
    parents = [child.provenance.parent for child in children]
    assert parents.count("photo0") == parents.count("photo1") == 3
    assert {child.provenance.source for child in children} == {"synthetic"}
    assert {child.group for child in children} == {"brush/0"}


def test_children_are_all_different(photos: list[LabelledImage]) -> None:
    children = synthesise(photos, SMALL, 0)
    assert len({content_hash(child) for child in [*children, *photos]}) == 8


def test_a_duplicate_is_drawn_again(photos: list[LabelledImage], tmp_path: Path) -> None:
    made = synthesise(photos, SMALL, 0, folder=tmp_path)
    write_image(tmp_path, replace(made[1], rgb=made[0].rgb))
    again = synthesise(photos, SMALL, 0, folder=tmp_path)
    assert len({content_hash(child) for child in again}) == 6
    assert SynthesisReport.of(again).rejected["duplicate"] == 1
    assert same(again[1], read_image(tmp_path, made[1].id))


def test_when_every_draw_is_the_same_expect_error(photos: list[LabelledImage]) -> None:
    still = TransformConfig(
        scale=(1, 1), scale_slender=(1, 1), rotation_deg=0, shift=0, elastic=0, taper_probability=0, lobes=0
    )
    compose = ComposeConfig(
        mode="geometry_only",
        transform=still,
        tool=still,
        light=LightConfig(shadow=(0, 0)),
    )
    with pytest.raises(SynthesisError, match="duplicate"):
        synthesise(photos[:1], SynthesisConfig(count=2, compose=compose, draws=3), 0)


def test_progress_reaches_the_total(photos: list[LabelledImage]) -> None:
    calls: list[tuple[int, int]] = []
    synthesise(photos, SMALL, 0, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k + 1, 6) for k in range(6)]


def test_report_counts_rejections_by_reason(photos: list[LabelledImage]) -> None:
    strict = ComposeConfig(checks=CheckConfig(edge_agreement=0.9))
    report = SynthesisReport.of(synthesise(photos, replace(SMALL, compose=strict, draws=200), 0))
    assert report.kept == 6
    assert report.rejected.get("edges", 0) > 0
    assert set(report.rejected) <= set(get_args(Reason))


def test_when_no_draw_passes_expect_error_naming_image_and_reasons(photos: list[LabelledImage]) -> None:
    picky = ComposeConfig(checks=CheckConfig(edge_agreement=1.0))
    with pytest.raises(SynthesisError, match=r"'photo0'.*none of 3 draws passed \(edges 3\)"):
        synthesise(photos, SynthesisConfig(count=1, compose=picky, draws=3), 0)


def test_when_an_id_is_used_twice_expect_error_naming_it(photos: list[LabelledImage]) -> None:
    with pytest.raises(SynthesisError, match="'photo0'"):
        synthesise([photos[0], photos[0]], SMALL, 0)


def test_when_there_are_no_photos_expect_error() -> None:
    with pytest.raises(SynthesisError, match="photos"):
        synthesise([], SMALL, 0)


def test_when_one_photo_is_bad_expect_its_name_even_from_a_worker(photos: list[LabelledImage]) -> None:
    broken = replace(photos[1], masks=np.zeros((8, 8), np.uint8))
    with pytest.raises(SynthesisError, match=r"'photo1'.*masks"):
        synthesise([photos[0], broken], replace(SMALL, workers=2), 0)


@pytest.mark.parametrize("name", ["count", "draws", "workers", "batch"])
def test_when_a_count_is_not_positive_expect_error_naming_it(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SynthesisConfig(**{name: 0})  # pyright: ignore[reportArgumentType]


def test_own_words_reach_the_provenance(photos: list[LabelledImage]) -> None:
    looks = {photo.id: ("a teal rubber thing",) for photo in photos}
    config = replace(SMALL, count=2)
    for child in synthesise(photos, config, 0, words=looks):
        objects = child.provenance.details["objects"]
        assert isinstance(objects, dict)
        assert {entry["look"] for entry in objects.values()} == {"a teal rubber thing"}


def test_repainter_is_chosen_by_config(photos: list[LabelledImage]) -> None:
    assert isinstance(make_repainter(ProceduralConfig()), ProceduralRepainter)
    with pytest.raises(TypeError, match="RepainterConfig"):
        make_repainter(RepainterConfig())
    with pytest.raises(ValueError, match="workers"):
        synthesise(photos, replace(SMALL, workers=2), 0, repainter=ProceduralRepainter())


# ----------------------------------------------------------------------------- on disk


def test_images_read_back_exactly(photos: list[LabelledImage], tmp_path: Path) -> None:
    made = synthesise(photos, SMALL, 0, folder=tmp_path)
    assert all_same(sorted(made, key=lambda image: image.id), list(iterate(tmp_path)))


def test_finished_images_are_not_made_again(photos: list[LabelledImage], tmp_path: Path) -> None:
    synthesise(photos, replace(SMALL, count=4), 0, folder=tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = synthesise(photos, SMALL, 0, folder=tmp_path)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert all_same(again, synthesise(photos, SMALL, 0))


def test_killed_run_resumes_to_the_same_images(photos: list[LabelledImage], tmp_path: Path) -> None:
    shots = tmp_path / "shots"
    shots.mkdir()
    for photo in photos:
        write_image(shots, photo)
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from kalie.synthesis.pipeline import SynthesisConfig, synthesise
        from kalie.synthesis.store import iterate
        photos = list(iterate(Path({str(shots)!r})))
        synthesise(photos, SynthesisConfig(count=400), 0, folder=Path({str(tmp_path / "out")!r}))
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "out").glob("photo*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("photo*.json")}
    assert 3 <= len(finished) < 400
    count = len(finished) + 3
    resumed = synthesise(photos, SynthesisConfig(count=count), 0, folder=tmp_path / "out")
    assert all_same(resumed, synthesise(photos, SynthesisConfig(count=count), 0))
    kept = [path for path, stamp in finished.items() if path.stat().st_mtime_ns == stamp]
    assert len(kept) == len(finished)


@pytest.mark.parametrize("damage", ["cut_png", "cut_json", "no_mask", "label_off_image", "other_pixels"])
def test_when_a_finished_image_is_damaged_expect_its_name_and_a_new_one(
    photos: list[LabelledImage], tmp_path: Path, damage: str
) -> None:
    config = replace(SMALL, count=2)
    made = synthesise(photos, config, 0, folder=tmp_path)
    name = made[0].id
    png, record = tmp_path / f"{name}.png", tmp_path / f"{name}.json"
    if damage == "cut_png":
        png.write_bytes(png.read_bytes()[:100])
    elif damage == "cut_json":
        record.write_text(record.read_text()[:50])
    elif damage == "no_mask":
        (tmp_path / f"{name}.mask.png").unlink()
    elif damage == "label_off_image":
        facts = json.loads(record.read_text())
        facts["affordance"]["target"] = [1.5, 0.5]
        record.write_text(json.dumps(facts))
    else:
        png.write_bytes((tmp_path / f"{made[1].id}.png").read_bytes())
    with pytest.raises(StoreError, match=name + (".*target" if damage == "label_off_image" else "")):
        read_image(tmp_path, name)
    assert all_same(synthesise(photos, config, 0, folder=tmp_path), made)
    assert same(read_image(tmp_path, name), made[0])


@pytest.mark.parametrize("other", ["seed", "config", "photos"])
def test_when_a_folder_belongs_to_another_run_expect_error_and_nothing_lost(
    photos: list[LabelledImage], tmp_path: Path, other: str
) -> None:
    config = replace(SMALL, count=1)
    synthesise(photos, config, 0, folder=tmp_path)
    files = sorted(tmp_path.iterdir())
    changed = replace(config, compose=ComposeConfig(mode="geometry_only")) if other == "config" else config
    shots = photos[:1] if other == "photos" else photos
    with pytest.raises(StoreError, match="another config, seed or photo set"):
        synthesise(shots, changed, 1 if other == "seed" else 0, folder=tmp_path)
    assert sorted(tmp_path.iterdir()) == files


# ----------------------------------------------------------------------------- no leak


def test_synthesis_never_loads_the_simulator_nor_heavy_libraries() -> None:
    script = (
        "import sys, pkgutil, importlib, kalie.synthesis as s\n"
        "for m in pkgutil.iter_modules(s.__path__): importlib.import_module('kalie.synthesis.' + m.name)\n"
        "bad = [n for n in sys.modules if n.startswith(('kalie.sim', 'pybullet', 'torch', 'diffusers'))]\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
