"""A chat endpoint on this machine that says what a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


def says(content: object) -> bytes:
    text = content if isinstance(content, str) else json.dumps(content)
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


class Server(HTTPServer):
    """Answers with the given replies in turn, the last one for ever; remembers the requests."""

    replies: list[tuple[int, bytes, float]]
    asked: list[dict]


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]  the one that makes it

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(json.loads(body))
        replies = self.server.replies
        status, data, seconds = replies[min(len(self.server.asked), len(replies)) - 1]
        time.sleep(seconds)
        try:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # The client gave up, as it should.

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's names
        pass


@contextmanager
def serve(*replies: bytes | tuple[int, bytes, float]) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.replies = [(200, reply, 0.0) if isinstance(reply, bytes) else reply for reply in replies]
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
