"""A peer in a process of its own, in the environment of peers.txt, that answers JSON lines."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Peer:
    """The process.

    Args:
        python: interpreter of the environment.
        script: in this folder.

    Attributes:
        versions: what it said first: of its libraries.
    """

    def __init__(self, python: str, script: str) -> None:
        self._script = script
        command = [python, str(HERE / script)]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.versions: dict[str, str] = self._answer()

    def ask(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
        """Its answer to a request.

        Raises:
            RuntimeError: the process ended instead.
        """
        assert self._process.stdin is not None  # noqa: S101  a pipe
        self._process.stdin.write(json.dumps(request) + "\n")
        return self._answer()

    def seconds(self, calls: int) -> float:
        """CPU time of so many calls of what it was told to begin."""
        return float(self.ask(calls=calls)["seconds"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None  # noqa: S101  a pipe
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101  a pipe
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._script} ended with code {self._process.wait()}")
        return json.loads(line)
