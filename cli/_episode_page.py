"""The page of `kalie view`: one HTML file with style and script, for a server or with the episodes in it."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import jinja2
from markupsafe import Markup

from .. import cli
from ..core.files import finite
from ..core.report import KEYPOINT_COLOURS
from ..rl.episode_file import Query
from ..rl.episodes import EpisodeIndex
from ._token_texts import TokenTexts


def served_page(title: str, query: Query) -> str:
    """The page that asks a server for what it shows.

    Args:
        title: of the page.
        query: that it begins with.
    """
    return _page(title, {"query": asdict(query)})


def exported_page(title: str, index: EpisodeIndex, texts: TokenTexts, query: Query, most: int) -> str:
    """The page with the first episodes of a query in it, pictures included; it needs no server.

    Raises:
        ValueError: the query finds nothing.
    """
    total, listed = index.select(query, 0, most)
    if not listed:
        raise ValueError(f"{index.folder}: no episode is as select asks for")
    episodes = []
    for item in listed:
        episode = opened(index, texts, item.part, item.number)
        for number, shown in enumerate([*episode["turns"], episode["final"]]):
            shown["images"] = [
                data_uri(index.image(item.part, item.number, number, place))
                for place in range(shown["images"])
            ]
        episodes.append(episode)
    data = {
        "query": asdict(query),
        "total": total,
        "listed": [item._asdict() for item in listed],
        "episodes": episodes,
    }
    return _page(title, data)


def opened(index: EpisodeIndex, texts: TokenTexts, part: str, number: int) -> dict[str, Any]:
    """An episode as the page shows it: with the texts of its responses' tokens.

    Raises:
        KeyError: there is none.
        DamagedFileError: its file cannot be read.
    """
    episode = index.episode(part, number)
    for turn in episode["turns"]:
        turn["pieces"] = texts.pieces(turn["response_ids"])
    return episode


def data_uri(png: bytes) -> str:
    """A picture's bytes as an address."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def script_policy() -> str:
    """The content security policy: this script and no other, pictures and data of this server alone."""
    digest = base64.b64encode(hashlib.sha256(_read("episodes.js").encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'"
    )


def _page(title: str, data: Mapping[str, Any]) -> str:
    colours = {name: f"rgb{colour}" for name, colour in KEYPOINT_COLOURS.items()}
    # A response may hold "</script>": inside a script element no "<" stands as itself.
    text = json.dumps(finite({**data, "colours": colours}), ensure_ascii=False).replace("<", "\\u003c")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_read("episodes.html.j2")).render(
        title=title,
        policy=script_policy(),
        style=Markup(_read("episodes.css")),  # noqa: S704  our own
        script=Markup(_read("episodes.js")),  # noqa: S704  our own
        data=Markup(text),  # noqa: S704  made safe above
    )


def _read(name: str) -> str:
    return importlib.resources.files(cli).joinpath("pages", name).read_text("utf-8")
