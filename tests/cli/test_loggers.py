"""The group `logger` of the long verbs: figures reach the chosen tracker, a missing one is one line."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from kalie.affordance.dataset import AffordanceDataset
from kalie.affordance.labels import LabelledImage, Provenance
from kalie.affordance.schema import Affordance, Keypoint
from kalie.cli import demo
from kalie.cli.main import main
from kalie.core.loggers import LoggerConfig
from kalie.core.runs import Run, RunConfig

LONG = ("finetune", "pretrain", "bench", "demo")


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A module that stands in for trackio; the calls that it got."""
    calls: list[object] = []
    fake = types.ModuleType("trackio")
    fake.__dict__.update(
        init=lambda project, name: calls.append((project, name)),
        log=lambda metrics, step: calls.append((step, metrics)),
        finish=lambda: calls.append("finish"),
    )
    monkeypatch.setitem(sys.modules, "trackio", fake)
    return calls


@pytest.fixture
def photos(tmp_path: Path) -> str:
    label = Affordance(grasp=Keypoint(0.5, 0.5))
    rgb = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    items = [LabelledImage(f"p{i}", rgb, "take it", label, Provenance("photo", f"p{i}")) for i in range(2)]
    AffordanceDataset(tuple(items)).save(tmp_path / "photos")
    return f"data={tmp_path / 'photos'}"


def test_figures_of_fine_tuning_reach_the_chosen_tracker(
    tmp_path: Path, photos: str, trackio: list[object]
) -> None:
    chosen = ["logger=trackio", "logger.project=sweeping", "logger.tensorboard=false"]
    steps = ["tuning.training.steps=2", "tuning.training.batch_size=2"]
    assert main(["finetune", photos, f"run.outputs={tmp_path}", "run.name=a", *chosen, *steps]) == 0
    assert trackio[0] == ("sweeping", "a")
    assert [call[0] for call in trackio[1:-1]] == [1, 2]  # pyright: ignore[reportIndexIssue]
    assert trackio[-1] == "finish"
    run = tmp_path / "finetune" / "a"
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    assert not (run / "tensorboard").exists()


def test_a_run_may_be_resumed_with_another_logger(tmp_path: Path, photos: str, trackio: list[object]) -> None:
    base = [photos, f"run.outputs={tmp_path}", "run.name=a", "logger.tensorboard=false"]
    steps = ["tuning.training.steps=1", "tuning.training.batch_size=2"]
    assert main(["finetune", *base, *steps]) == 0
    assert main(["finetune", *base, *steps, "run.resume=true", "logger=trackio"]) == 0
    assert trackio[0] == ("kalie", "a")


def test_every_cell_of_the_benchmark_is_logged_as_it_finishes(tmp_path: Path, trackio: list[object]) -> None:
    what = ["task=drawer", "arms=[oracle,random]", "episodes=1", "seeds=1", "workers=1"]
    chosen = ["logger=trackio", "logger.tensorboard=false"]
    assert main(["bench", *what, *chosen, f"run.outputs={tmp_path}", "run.name=a"]) == 0
    for step, arm, call in zip((1, 2), ("oracle", "random"), trackio[1:-1], strict=True):
        assert call in [(step, {f"drawer/{arm}/success": share}) for share in (0.0, 1.0)]


def test_the_demo_s_arms_log_one_after_the_other(tmp_path: Path) -> None:
    quiet = LoggerConfig(tensorboard=False)
    with Run.open("demo", RunConfig(tmp_path, "a"), demo.DemoConfig(), logger=quiet) as run:
        for index, arm in enumerate(demo.LEARNED):
            demo.log_of(run, arm, index * 10)(3, {"loss": 0.5})
    written = (tmp_path / "demo" / "a" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line["step"] for line in lines] == [3, 13, 23]
    assert [f"{arm}/loss" in line for arm, line in zip(demo.LEARNED, lines, strict=True)] == [True] * 3


@pytest.mark.parametrize("verb", LONG)
@pytest.mark.parametrize("tracker", ["trackio", "wandb"])
def test_when_the_tracker_is_not_installed_expect_one_line_and_no_run(
    tmp_path: Path,
    photos: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    tracker: str,
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    given = [photos] if verb == "finetune" else []
    assert main([verb, *given, f"logger={tracker}", f"run.outputs={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert error.endswith(f"kalie: {verb}: {tracker} is not installed: pip install {tracker}\n")
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
