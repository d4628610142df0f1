"""The local server of `kalie view`: the page, and the episodes as JSON and pictures.

    GET /                                                   the page
    GET /api/run                                            title, files and environments
    GET /api/episodes?outcome=failure&first=0&count=50      a list; its keys are `Query`'s
    GET /api/episode?part=episodes/agent&number=3           an episode
    GET /api/prompt?part=…&number=3&turn=0                  the whole prompt that a turn was sampled after
    GET /api/image?part=…&number=3&turn=0&place=0           a picture

It answers this machine alone: it listens on 127.0.0.1 and refuses other host names, which a page elsewhere
could have been made to point here. Mistakes are {"error": …} with status 400, 404 or 500.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..core.config import ConfigError
from ..core.files import DamagedFileError, finite
from ..rl.episode_file import Query
from ..rl.episodes import EpisodeIndex, query_of
from ._episode_page import opened, script_policy, served_page
from ._token_texts import TokenTexts

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_NAMES = frozenset({HOST, "localhost"})
_MOST = 500
"""Episodes of one list."""


class EpisodeServer(ThreadingHTTPServer):
    """Serves the episodes of an index until it is shut down.

    Args:
        port: 0 for any that is free.
        index: of the episodes.
        texts: of their tokens.
        title: of the page.
        query: that the page begins with.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, port: int, index: EpisodeIndex, texts: TokenTexts, title: str, query: Query) -> None:
        self.index = index
        self.texts = texts
        self.title = title
        self.query = query
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://{HOST}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Answer, or say what is wrong."""
        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in _NAMES:
            self._send_json({"error": "this server answers 127.0.0.1 and localhost alone"}, 403)
            return
        parts = urlsplit(self.path)
        try:
            self._answer(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)))
        except KeyError as error:
            self._send_json({"error": str(error.args[0])}, 404)
        except (ConfigError, ValueError) as error:
            self._send_json({"error": str(error)}, 500 if isinstance(error, DamagedFileError) else 400)

    def _answer(self, path: str, given: dict[str, str]) -> None:
        server = self.server
        assert isinstance(server, EpisodeServer)  # noqa: S101  which made this handler
        index = server.index
        if path == "/":
            index.refresh()
            self._send(served_page(server.title, server.query).encode(), "text/html; charset=utf-8")
        elif path == "/api/run":
            self._send_json({"parts": index.parts, "envs": index.envs})
        elif path == "/api/episodes":
            first, count = _number(given, "first", 0), min(_MOST, _number(given, "count", 50))
            query = query_of({key: word for key, word in given.items() if key not in ("first", "count")})
            total, listed = index.select(query, first, count)
            self._send_json({"total": total, "listed": [item._asdict() for item in listed]})
        elif path == "/api/episode":
            self._send_json(opened(index, server.texts, *_place(given)))
        elif path == "/api/prompt":
            ids = index.prompt_ids(*_place(given), _number(given, "turn"))
            self._send_json({"text": server.texts.whole(ids), "tokens": len(ids)})
        elif path == "/api/image":
            turn, place = _number(given, "turn"), _number(given, "place")
            self._send(index.image(*_place(given), turn, place), "image/png")
        else:
            raise KeyError(f"{path}: nothing here")

    def _send_json(self, value: Mapping[str, Any], status: int = 200) -> None:
        data = json.dumps(finite(value), ensure_ascii=False).encode()
        self._send(data, "application/json; charset=utf-8", status)

    def _send(self, data: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", script_policy())
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name of the base class
        """Requests are for those who look for a fault."""
        log.debug(format, *args)


def _place(given: Mapping[str, str]) -> tuple[str, int]:
    return given.get("part", ""), _number(given, "number")


def _number(given: Mapping[str, str], key: str, default: int | None = None) -> int:
    """A whole number that is not negative.

    Raises:
        ValueError: it is missing or something else.
    """
    text = given.get(key, "" if default is None else str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError(f"{key}={text}: must be a whole number, 0 or more")
    return int(text)
