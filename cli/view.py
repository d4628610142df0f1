"""Browse the episodes of a training or an evaluation in a local page: pictures, answers, actions, values."""

from __future__ import annotations

import os
import sys
import webbrowser
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from ..core.config import ConfigError
from ..core.files import write_text
from ..core.ranges import at_least, within
from ..rl.episode_file import Query
from ..rl.episodes import EpisodeIndex
from ._episode_page import exported_page
from ._episode_server import EpisodeServer
from ._token_texts import TokenTexts
from ._verb import Verb


@dataclass(frozen=True)
class ViewConfig:
    """Keys of `kalie view`.

    Attributes:
        run: a run of kalie train or kalie eval, or a folder of trajectories.
        select: which episodes the page begins with, or the export holds.
        port: of 127.0.0.1; 0 for any that is free.
        open: whether to open the page in a browser, where there is a screen.
        export: write the page with its episodes in it to this file instead of serving it; null for serving.
        most: episodes of an export.
    """

    run: Path
    select: Query = field(default_factory=Query)
    port: int = 8765
    open: bool = True
    export: Path | None = None
    most: int = 100

    def __post_init__(self) -> None:
        within(self, 0, 65535, "port")
        at_least(self, 1, "most")


def main(cfg: ViewConfig) -> None:
    """Serve the page until interrupted, or write it."""
    try:
        index = EpisodeIndex(cfg.run)
    except FileNotFoundError as error:
        raise ConfigError(f"run={error}") from error
    texts, title = TokenTexts(cfg.run), f"Episodes of {cfg.run.resolve().name}"
    if cfg.export is not None:
        write_text(cfg.export, exported_page(title, index, texts, cfg.select, cfg.most))
        _say(f"page: {cfg.export}")
        return
    try:
        server = EpisodeServer(cfg.port, index, texts, title, cfg.select)
    except OSError as error:
        raise ConfigError(f"port={cfg.port}: {error.strerror}; port=0 takes a free one") from error
    _say(f"page: {server.address} (Ctrl-C ends it)")
    serve(server, cfg.open and _has_screen())


def serve(server: EpisodeServer, show: bool) -> None:
    """Serve until interrupted.

    Args:
        server: of the page.
        show: whether to open it in a browser.
    """
    if show:
        webbrowser.open(server.address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass  # how one leaves a viewer
    finally:
        server.server_close()


def _has_screen() -> bool:
    """Whether a browser would have a window; one in the terminal would take it over."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _say(text: str) -> None:
    Console(highlight=False).print(text, markup=False, soft_wrap=True)


VERB = Verb(
    ViewConfig,
    main,
    examples=(
        "kalie view run=outputs/train/latest",
        "kalie view run=outputs/eval/latest select.outcome=failure select.sort=return",
        "kalie view run=outputs/eval/latest export=episodes.html open=false",
    ),
)
