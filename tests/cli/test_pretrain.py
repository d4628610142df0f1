"""`kalie pretrain` leaves weights that load, and a report with the curves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from kalie.affordance.backbone import TAPS
from kalie.affordance.heatmap import HeatmapKeypointModel
from kalie.affordance.training import Log
from kalie.cli import pretrain
from kalie.cli.main import main
from kalie.sim import pointing


def test_a_run_leaves_weights_and_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(_config: object, _folder: Path, _progress: object, log: Log) -> HeatmapKeypointModel:
        for step in range(1, 4):
            log(step, {"total": 1 / step, "learning_rate": 1.0})
        log(4, {"total": 0.1, "validation_error": 0.2})
        return HeatmapKeypointModel.load()

    monkeypatch.setattr(pretrain, "pretrain", train)
    assert main(["pretrain", f"run.outputs={tmp_path}", "run.name=one"]) == 0
    run = tmp_path / "pretrain" / "one"
    page = (run / "report" / "index.html").read_text("utf-8")
    assert page.count("<svg") == 2
    assert "on validation images" in page
    kept = HeatmapKeypointModel.load(run / "weights")
    base = HeatmapKeypointModel.load()
    for one, other in zip(kept.parameters(), base.parameters(), strict=True):
        assert torch.equal(one, other.half().float())


def frozen_layers(model: HeatmapKeypointModel) -> list[torch.Tensor]:
    """The weights up to stride 8."""
    return [*model.backbone.stem.parameters(), *model.backbone.blocks[: TAPS[1]].parameters()]


def test_the_smallest_real_run_stands_on_the_shipped_weights_frozen_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("[PAD]", "[UNK]", "the", "red", "thing")
    monkeypatch.setattr(pointing, "VALIDATION", 2)
    monkeypatch.setattr(pointing, "vocabulary", lambda *_: words)
    keys = ["pointing.scenes=2", "pointing.training.steps=1", "pointing.training.batch_size=2"]
    outputs = [f"run.outputs={tmp_path}", "run.name=one", f"weights={tmp_path / 'mine'}"]
    assert main(["pretrain", *keys, *outputs]) == 0
    folder = tmp_path / "pretrain" / "one"
    assert json.loads((folder / "summary.json").read_text("utf-8"))["status"] == "finished"
    shipped = frozen_layers(HeatmapKeypointModel.load())
    for weights in (folder / "weights", tmp_path / "mine"):
        model = HeatmapKeypointModel.load(weights)
        assert tuple(model.config.vocabulary) == words
        assert all(torch.equal(a, b) for a, b in zip(frozen_layers(model), shipped, strict=True))
