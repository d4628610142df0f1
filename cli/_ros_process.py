"""The process of one node: started in a group of its own, logged to a file, stopped for certain."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# How long each signal is given before the next, harder one, in seconds.
STOPPING = ((signal.SIGINT, 6.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0))
# A line of ROS's console log that tells of a failure: severity, time, logger, message.
_FAILURE = re.compile(r"^\[(?:ERROR|FATAL)\] \[[\d.]+\] \[[^\]]*\]: (.*)$", re.MULTILINE)
_TAIL_BYTES = 20_000


@dataclass
class NodeProcess:
    """A node's process, which ends with this one.

    Attributes:
        name: of the node.
        module: what runs, as with `python -m`.
        arguments: after the module's name.
        log: file that gets everything it says; every start appends.
    """

    name: str
    module: str
    arguments: Sequence[str]
    log: Path
    _process: subprocess.Popen[bytes] | None = None
    _log_start: int = field(default=0, init=False)

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it anew."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        tether = ("-m", f"{__package__}._tethered", str(os.getpid()))
        command = [sys.executable, *tether, self.module, *self.arguments]
        with self.log.open("ab") as stream:
            self._log_start = stream.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**environment, "PYTHONUNBUFFERED": "1", "RCUTILS_COLORIZED_OUTPUT": "0"},
                # Ctrl-C in the terminal reaches the supervisor alone, which stops the nodes in order.
                process_group=0,
            )

    @property
    def runs(self) -> bool:
        """Whether there is a process now."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit(self) -> str:
        """How it ended, e.g. "signal 9" or "exit code 1"; empty while it runs or before its first start."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return ""
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None  # noqa: S101 - asked of a started node only
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self._process is not None and self.runs:
            self._process.send_signal(number)

    def failure(self) -> str:
        """What its log says last about a failure since the newest start; empty when nothing."""
        with self.log.open("rb") as stream:
            stream.seek(max(self._log_start, self.log.stat().st_size - _TAIL_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
        if found := _FAILURE.findall(text):
            return found[-1].strip()
        # The last line of a traceback names the error.
        return text.strip().splitlines()[-1].strip() if "Traceback (most recent call last)" in text else ""


def stop_all(processes: Sequence[NodeProcess]) -> list[str]:
    """End processes, harder and harder; the names of those that had to be killed."""
    killed: list[str] = []
    for number, patience in STOPPING:
        left = [process for process in processes if process.runs]
        killed = [process.name for process in left] if number == signal.SIGKILL else []
        for process in left:
            process.signal(number)
        _wait(left, patience)
    return killed


def _wait(processes: Sequence[NodeProcess], patience: float) -> None:
    """Wait until none runs, not longer than some seconds."""
    deadline = time.monotonic() + patience
    while any(process.runs for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
