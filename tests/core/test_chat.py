"""The chat client against sockets that misbehave; its answers are tested where they are used."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kalie.core.chat import ChatConfig, ChatError, ask


@contextmanager
def raw_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Reads one request, then does to the connection what `answer` does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        listener.close()
        thread.join(timeout=10)


def drip(connection: socket.socket) -> None:
    """A byte at a time, each within the time limit of one read, for ten minutes."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    try:
        for _ in range(12_000):
            connection.sendall(b" ")
            time.sleep(0.05)
    except OSError:
        pass  # The client gave up, as it should.


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda connection: connection.close(), ""),
        (lambda connection: connection.sendall(b"\x00\xff garbage\r\n\r\n"), ""),
        (lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), ""),
        (drip, "timed out"),
    ],
    ids=["closed", "no HTTP", "cut short", "drip"],
)
def test_when_a_connection_misbehaves_expect_error_in_time(
    answer: Callable[[socket.socket], None], reason: str
) -> None:
    with raw_server(answer) as url, pytest.raises(ChatError, match=f"chat/completions.*{reason}"):
        ask(ChatConfig(url, "tiny", timeout_s=0.5, attempts=1), "well?")


def test_when_the_key_is_not_set_expect_error_naming_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KALIE_TEST_KEY", raising=False)
    with pytest.raises(ChatError, match="KALIE_TEST_KEY"):
        ask(ChatConfig("http://127.0.0.1:9/v1", "tiny", api_key_variable="KALIE_TEST_KEY"), "well?")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"timeout_s": 0.0}, "timeout_s=0.0 must be positive"),
        ({"attempts": 0}, "attempts=0 must be at least 1"),
    ],
)
def test_when_a_setting_is_out_of_range_expect_error(change: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ChatConfig("http://127.0.0.1:9/v1", "tiny", **change)  # pyright: ignore[reportArgumentType]
