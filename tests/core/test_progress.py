"""The bar shows what is done of what."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from kalie.core import progress as room
from kalie.core.progress import progress_bar


def test_bar_shows_description_and_count() -> None:
    screen = io.StringIO()
    with progress_bar("photographing", Console(file=screen, force_terminal=True, width=100)) as progress:
        for done in range(1, 51):
            progress(done, 50)
    assert "photographing" in screen.getvalue()
    assert "50/50" in screen.getvalue()


def test_a_log_file_gets_a_line_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 30.0, 61.0, 90.0, 122.0])
    monkeypatch.setattr(room, "monotonic", lambda: next(now))
    with (
        caplog.at_level(logging.INFO, logger="kalie"),
        progress_bar("training", Console(file=io.StringIO())) as progress,
    ):
        for done in range(1, 5):
            progress(done, 50)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["training: 2 of 50 after 0:01:01", "training: 4 of 50 after 0:02:02"]
