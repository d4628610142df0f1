"""`kalie finetune` on bad input: an error that names the file, exit 1, no run begun."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kalie.affordance.dataset import DatasetWriter
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance, Keypoint
from kalie.cli.main import main


def test_when_the_data_set_was_cut_off_expect_its_name_and_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = Affordance(grasp=Keypoint(0.5, 0.5))
    photo = LabelledImage("a", np.zeros((8, 8, 3), np.uint8), "go", label, Provenance("photo", "a"))
    DatasetWriter(tmp_path / "set", shard_size=1).extend([photo])
    assert main(["finetune", f"data={tmp_path / 'set'}", f"run.outputs={tmp_path / 'outputs'}"]) == 1
    streams = capsys.readouterr()
    assert f"{tmp_path / 'set'}: the data set was cut off mid-write" in streams.err
    assert "Traceback" not in streams.err
    assert not (tmp_path / "outputs").exists()
