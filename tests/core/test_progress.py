"""The bar shows what is done of what."""

from __future__ import annotations

import io

from rich.console import Console

from kalie.core.progress import progress_bar


def test_bar_shows_description_and_count() -> None:
    screen = io.StringIO()
    with progress_bar("photographing", Console(file=screen, force_terminal=True, width=100)) as progress:
        for done in range(1, 51):
            progress(done, 50)
    assert "photographing" in screen.getvalue()
    assert "50/50" in screen.getvalue()
