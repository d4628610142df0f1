"""`kalie finetune`: a model kept and measured; on bad input an error that names the file, and no run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kalie.affordance.dataset import AffordanceDataset, DatasetWriter
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance, Keypoint
from kalie.cli.finetune import FinetuneVerbConfig, images
from kalie.cli.main import main


def cut_off_set(folder: Path) -> DatasetWriter:
    """One photo, by a writer that has not ended."""
    label = Affordance(grasp=Keypoint(0.5, 0.5))
    photo = LabelledImage("a", np.zeros((8, 8, 3), np.uint8), "go", label, Provenance("photo", "a"))
    writer = DatasetWriter(folder, shard_size=1)
    writer.extend([photo])
    return writer


def test_when_the_data_set_was_cut_off_expect_its_name_and_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off_set(tmp_path / "set")
    assert main(["finetune", f"data={tmp_path / 'set'}", f"run.outputs={tmp_path / 'outputs'}"]) == 1
    streams = capsys.readouterr()
    assert f"{tmp_path / 'set'}: the data set was cut off mid-write" in streams.err
    assert "Traceback" not in streams.err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("override", "code", "named"),
    [
        ("model.weights=gone", 1, "gone: no model here"),
        ("tuning.training.seed=-1", 2, "seed=-1 must not be negative"),
        ("validation_share=1", 2, "validation_share=1.0 must be below 1"),
        ("validation_share=-0.1", 2, "validation_share=-0.1 must not be negative"),
        (
            "validation_share=0.2 validation=other",
            2,
            "validation_share=0.2 and validation exclude each other",
        ),
    ],
)
def test_when_an_input_is_wrong_expect_its_name_and_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, code: int, named: str
) -> None:
    with cut_off_set(tmp_path / "set"):
        pass
    outputs = f"run.outputs={tmp_path / 'outputs'}"
    assert main(["finetune", f"data={tmp_path / 'set'}", outputs, *override.split()]) == code
    assert named in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def images_of(folder: Path, photos: int) -> FinetuneVerbConfig:
    """A data set of photos with three children each, and the config that tunes on it."""
    label = Affordance(grasp=Keypoint(0.5, 0.5))
    items = [
        LabelledImage(f"p{i}_{k}", np.zeros((8, 8, 3), np.uint8), "go", label, Provenance("photo", f"p{i}_0"))
        for i in range(photos)
        for k in range(4)
    ]
    AffordanceDataset(tuple(items)).save(folder / "set")
    return FinetuneVerbConfig(folder / "set")


def test_a_share_of_the_photos_is_held_out_with_all_their_children(tmp_path: Path) -> None:
    cfg = images_of(tmp_path, photos=10)
    assert [len(part) for part in images(cfg)] == [40, 0]
    cfg = replace(cfg, validation_share=0.2)
    learnt, held_out = images(cfg)
    assert (len(learnt), len(held_out)) == (32, 8)
    assert not {i.provenance.parent for i in learnt} & {i.provenance.parent for i in held_out}
    ids = [item.id for item in held_out]
    assert [item.id for item in images(cfg)[1]] == ids
    other = replace(cfg, tuning=replace(cfg.tuning, training=replace(cfg.tuning.training, seed=1)))
    assert [item.id for item in images(other)[1]] != ids


def test_when_no_photo_would_be_left_to_learn_from_expect_the_key(tmp_path: Path) -> None:
    cfg = replace(images_of(tmp_path, photos=1), validation_share=0.2)
    with pytest.raises(ValueError, match=r"validation_share=0\.2 leaves none of the 1 photos of .*set"):
        images(cfg)


def test_several_data_sets_are_learnt_from_as_one_and_an_id_in_two_of_them_is_refused(tmp_path: Path) -> None:
    for name, ids in (("one", "ab"), ("two", "c"), ("twice", "b")):
        items = [
            LabelledImage(i, np.zeros((8, 8, 3), np.uint8), "go", Affordance(), Provenance("photo", i))
            for i in ids
        ]
        AffordanceDataset(tuple(items)).save(tmp_path / name)
    learnt, _ = images(FinetuneVerbConfig((tmp_path / "one", tmp_path / "two")))
    assert [item.id for item in learnt] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="record b: the id occurs twice"):
        images(FinetuneVerbConfig((tmp_path / "one", tmp_path / "twice")))


def test_a_data_set_that_was_cut_off_is_used_on_request(tmp_path: Path) -> None:
    cut_off_set(tmp_path / "set")
    learnt, _ = images(FinetuneVerbConfig(tmp_path / "set", allow_partial=True))
    assert [item.id for item in learnt] == ["a"]


def noise_set(folder: Path, count: int) -> Path:
    """Photos of noise with two keypoints."""
    rng = np.random.default_rng(0)
    label = Affordance(grasp=Keypoint(0.5, 0.5), target=Keypoint(0.2, 0.7))
    with DatasetWriter(folder) as writer:
        for index in range(count):
            rgb = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            writer.extend([LabelledImage(f"p{index}", rgb, "go", label, Provenance("photo", f"p{index}"))])
    return folder


def test_a_tuned_model_is_kept_measured_and_can_be_predicted_with(tmp_path: Path) -> None:
    data, other = noise_set(tmp_path / "set", 3), noise_set(tmp_path / "other", 2)
    keys = ["tuning.training.steps=2", "tuning.training.batch_size=2"]
    run = [f"run.outputs={tmp_path}", "run.name=one"]
    assert main(["finetune", f"data={data}", f"validation={other}", *keys, *run]) == 0
    folder = tmp_path / "finetune" / "one"
    rows = json.loads((folder / "summary.json").read_text("utf-8"))["rows"]
    hits = {row["keypoint"]: row["n"] for row in rows if row["metric"] == "pck_0.05"}
    assert (hits["grasp"], hits["target"]) == (2, 2)
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in logged] == [1, 2]
    page = (folder / "report" / "index.html").read_text("utf-8")
    assert page.count("<svg") == 2  # losses; the error on validation images
    assert page.count("data:image/jpeg") == 2 * (3 + 2)
    assert "Keypoints on validation images" in page
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "table.png")
    image = [f"image={tmp_path / 'table.png'}", f"picture={tmp_path / 'drawn.png'}", "instruction=go"]
    assert main(["predict", *image, f"model.weights={folder / 'model'}"]) == 0
    assert (tmp_path / "drawn.png").is_file()
