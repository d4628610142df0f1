"""Loggers: every metric reaches the file; a missing tracker is named."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Literal

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kalie.core.loggers import JsonlLogger, LoggerConfig, MissingPackageError, open_logger, read_metrics

Tracker = Literal["trackio", "wandb"]


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_reach_jsonl_and_tensorboard(tmp_path: Path) -> None:
    logger = open_logger(LoggerConfig(), tmp_path)
    for step in range(3):
        logger.log({"loss": 1.0 / (step + 1)}, step)
    logger.close()
    assert [line["loss"] for line in lines(tmp_path / "metrics.jsonl")] == [1.0, 0.5, 1 / 3]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")][:2] == [(0, 1.0), (1, 0.5)]


def test_without_metrics_no_event_file_is_made(tmp_path: Path) -> None:
    open_logger(LoggerConfig(), tmp_path).close()
    assert not (tmp_path / "tensorboard").exists()


def test_nan_and_infinity_become_null(tmp_path: Path) -> None:
    logger = JsonlLogger(tmp_path / "m.jsonl")
    logger.log({"a": float("nan"), "b": float("inf"), "c": 1.0}, 0)
    logger.close()
    (line,) = lines(tmp_path / "m.jsonl")
    assert (line["a"], line["b"], line["c"]) == (None, None, 1.0)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_when_killed_inside_a_line_expect_earlier_lines_kept(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "m.jsonl"
    logger = JsonlLogger(path)
    for step in range(3):
        logger.log({"x": 1.0}, step)
    logger.close()
    path.write_bytes(path.read_bytes()[:-cut])
    logger = JsonlLogger(path)
    logger.log({"x": 1.0}, 9)
    logger.close()
    assert [line["step"] for line in lines(path)] == [0, 1, 9]


def test_when_only_a_broken_line_is_left_expect_an_empty_start(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"step":')
    JsonlLogger(tmp_path / "m.jsonl").close()
    assert lines(tmp_path / "m.jsonl") == []


@pytest.mark.parametrize("tracker", ["trackio", "wandb"])
def test_when_tracker_is_not_installed_expect_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: Tracker
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(MissingPackageError, match=f"{tracker} is not installed: pip install {tracker}"):
        open_logger(LoggerConfig(tracker=tracker), tmp_path)


@pytest.mark.parametrize("tracker", ["trackio", "wandb"])
def test_tracker_gets_project_metrics_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: Tracker
) -> None:
    calls: list[object] = []
    fake = types.ModuleType(tracker)
    fake.__dict__.update(
        init=lambda project, name: calls.append(("init", project, name)),
        log=lambda metrics, step: calls.append((metrics, step)),
        finish=lambda: calls.append("finish"),
    )
    monkeypatch.setitem(sys.modules, tracker, fake)
    logger = open_logger(LoggerConfig(tensorboard=False, tracker=tracker, project="p"), tmp_path)
    logger.log({"a": 1.0}, 4)
    logger.close()
    assert calls == [("init", "p", tmp_path.name), ({"a": 1.0}, 4), "finish"]


def test_metrics_are_read_back_by_name_with_a_resumed_run_s_last_word(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    logger = JsonlLogger(path)
    for step, value in ((1, 0.9), (2, 0.8), (3, float("nan")), (2, 0.7)):
        logger.log({"loss": value, **({"error": 0.5} if step == 3 else {})}, step)
    logger.close()
    with path.open("a") as stream:
        stream.write('{"step": 4, "lo')
    assert read_metrics(path) == {"loss": ([1, 2], [0.9, 0.7]), "error": ([3], [0.5])}
    assert read_metrics(tmp_path / "none.jsonl") == {}
