"""`kalie finetune` on bad input: an error that names the file, exit 1, no run begun."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kalie.affordance.dataset import DatasetWriter
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance, Keypoint
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
    ],
)
def test_when_an_input_is_wrong_expect_its_name_and_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, code: int, named: str
) -> None:
    with cut_off_set(tmp_path / "set"):
        pass
    outputs = f"run.outputs={tmp_path / 'outputs'}"
    assert main(["finetune", f"data={tmp_path / 'set'}", outputs, override]) == code
    assert named in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()
