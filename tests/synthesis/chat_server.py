"""A stand-in for a server that speaks the OpenAI chat protocol."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from kalie.core.chat import ChatConfig


@contextmanager
def chat_server(*replies: tuple[int, str]) -> Iterator[tuple[ChatConfig, list[bytes]]]:
    """A local server that answers with the given (status, body) in turn, the last one for ever."""
    asked: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = replies[min(len(asked), len(replies)) - 1]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's names
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield ChatConfig(f"http://127.0.0.1:{server.server_port}/v1", "tiny", attempts=2), asked
    finally:
        server.shutdown()
        server.server_close()


def says(text: str) -> tuple[int, str]:
    """A reply with this text."""
    return 200, json.dumps({"choices": [{"message": {"content": text}}]})
