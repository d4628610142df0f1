"""`kalie demo`, cut off in every stage and resumed, ends as if it had run through."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kalie.cli import demo
from kalie.cli.main import main
from kalie.sim.annotate import Photographer
from kalie.synthesis import pipeline

TINY = [
    *("task=drawer", "episodes=1", "workers=1", "logger.tensorboard=false", "run.name=one"),
    *("budget.photos=2", "budget.images=4"),
    *("budget.finetune.training.steps=1", "budget.finetune.training.batch_size=1"),
]
STAGES: list[tuple[Any, str]] = [
    (Photographer, "photo"),
    (pipeline, "write_image"),
    (demo, "learn"),
    (demo, "run_cell"),
]


def command(folder: Path, *more: str) -> int:
    return main(["demo", *TINY, f"run.outputs={folder}", *more])


def until(call: int, work: Callable[..., object]) -> Callable[..., object]:
    """The same function, cut off at a call."""
    calls = 0

    def interrupted(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return work(*arguments, **named)

    return interrupted


def kept(folder: Path) -> dict[str, object]:
    """Everything that a run keeps, but how long it took."""
    run = folder / "demo" / "one"
    found: dict[str, object] = {
        str(path.relative_to(run)): path.read_bytes()
        for part in ("photos", "synthetic", "models")
        for path in (run / part).rglob("*")
        if path.is_file()
    }
    for path in (run / "cells").rglob("*.json"):
        cell = json.loads(path.read_text())
        cell["seconds"] = None
        for episode in cell["episodes"]:
            episode["seconds"] = None
        found[str(path.relative_to(run))] = cell
    found["rows"] = json.loads((run / "summary.json").read_text())["rows"]
    return found


def test_a_demo_cut_off_in_every_stage_resumes_to_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = SimpleNamespace(success=True, reason="")
    monkeypatch.setattr(demo, "act", lambda *_, **__: ending)  # Only of the films.
    assert command(tmp_path / "whole") == 0
    more: list[str] = []
    for where, name in STAGES:
        with monkeypatch.context() as patch:
            patch.setattr(where, name, until(2, getattr(where, name)))
            assert command(tmp_path / "cut", *more) == 130
        more = ["run.resume=true"]
    with monkeypatch.context() as patch:
        for where, name in STAGES[:-1]:
            patch.setattr(where, name, None)  # What is kept is not made again.
        assert command(tmp_path / "cut", *more) == 0
    assert kept(tmp_path / "cut") == kept(tmp_path / "whole")
    page = (tmp_path / "cut" / "demo" / "one" / "report" / "index.html").read_text()
    assert "Labelled photos of one object each (cabinet)" in page
    assert "brush" not in page
