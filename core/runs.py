"""Run directories: one folder per job, with its config, metrics, summary and report.

    with Run.open("finetune", cfg.run, cfg, seeds=[cfg.seed]) as run:
        with run.stage("train"):
            run.log({"loss": 0.3}, step=10)
        run.add_row("pck_at_5_percent", 0.93, low=0.90, high=0.95, n=400, task="sweep", split="test")
        write_json(run.path / "cells" / "sweep.json", ...)

leaves `outputs/finetune/<name>/` with `config.yaml`, `metrics.jsonl`, `summary.json` and what the job wrote,
and `outputs/finetune/latest` pointing to it. A second process in the same folder is refused; the lock of a
process that died is free at once, since the kernel releases it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml

from .config import ConfigError, Plain, defaults_of, flatten, to_primitive
from .files import write_json, write_text
from .loggers import LoggerConfig, check_tracker, open_logger
from .resources import StageTimer, StageUse

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")


class RunLockedError(OSError):
    """Another process works in this run directory."""


@dataclass(frozen=True)
class RunConfig:
    """Where a job writes.

    Attributes:
        outputs: the folder of all runs; a run is <outputs>/<verb>/<name>.
        name: the run's folder; empty for the time of the start.
        resume: go on with the run of this name (the latest one, if empty) instead of starting a new one.
    """

    outputs: Path = Path("outputs")
    name: str = ""
    resume: bool = False

    def __post_init__(self) -> None:
        if self.name and (not NAME.fullmatch(self.name) or self.name == "latest"):
            raise ValueError(f"name={self.name!r} must be letters, digits and . _ = + -, and not 'latest'")


@dataclass(frozen=True)
class Row:
    """One number of a summary, tidy: a value, its 95 % interval if there is one, and what it is about."""

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    labels: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """Labels and numbers side by side, as `summary.json` holds them."""
        numbers = {
            "metric": self.metric,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
        }
        return {**self.labels, **numbers}


_held: set[Path] = set()
"""Folders that this process has locked: record locks bind processes, so the kernel would not refuse us."""


@contextmanager
def directory_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock file while the block runs.

    The lock is a POSIX record lock: the kernel frees it when the process dies, however it dies, and children
    do not inherit it. The file holds the process id, for the message only.

    Raises:
        RunLockedError: another process, or another block of this one, holds it.
    """
    key = folder.resolve()
    if key in _held:
        raise RunLockedError(f"{folder}: this process already works in it")
    with (folder / ".lock").open("a+") as stream:
        _lock(folder, stream)
        _held.add(key)
        try:
            yield
        finally:
            _held.remove(key)
            stream.truncate(0)


def _lock(folder: Path, stream: IO[str]) -> None:
    stream.seek(0)
    holder = stream.read() or "?"
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        message = f"{folder}: process {holder} works in it; wait for it, or choose another run.name"
        raise RunLockedError(message) from error
    stream.truncate(0)
    stream.write(str(os.getpid()))
    stream.flush()


class Run(AbstractContextManager["Run"]):
    """An open run directory; made by `Run.open`, closed by leaving its `with` block.

    Attributes:
        path: the run directory.
        rows: the numbers for `summary.json`.
        resumed: whether the directory held an earlier part of this run.
    """

    def __init__(
        self, path: Path, config: object, seeds: Sequence[int], logger: LoggerConfig, resumed: bool
    ) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.resumed = resumed
        self._config = config
        self._seeds = list(seeds)
        self._logger_config = logger
        self._earlier: dict[str, Any] = {}

    @classmethod
    def open(
        cls,
        verb: str,
        where: RunConfig,
        config: object,
        seeds: Sequence[int] = (),
        *,
        logger: LoggerConfig | None = None,
        may_change: Sequence[str] = (),
    ) -> Run:
        """A run directory, new or resumed; enter it with `with`.

        Args:
            verb: the job, e.g. "finetune".
            where: the run's place.
            config: the job's whole config, written to `config.yaml`.
            seeds: every seed the job uses.
            logger: where metrics go; None for the default ones.
            may_change: keys (with those below them) in which a resumed config may differ from the first.

        Raises:
            ConfigError: the name is taken, there is nothing to resume, or the resumed config differs.
            MissingPackageError: the logger's tracker is not installed; there is no run directory then.
        """
        check_tracker(logger or LoggerConfig())
        path = _resumable(where.outputs / verb, where.name) if where.resume else _fresh(where, verb)
        if where.resume:
            _check_same(path, config, ("run", *may_change))
        return cls(path, config, seeds, logger or LoggerConfig(), where.resume)

    def __enter__(self) -> Run:
        self._lock = directory_lock(self.path)
        self._lock.__enter__()
        if self.resumed:
            self._earlier = _read_summary(self.path)
        write_text(self.path / "config.yaml", yaml.safe_dump(to_primitive(self._config), sort_keys=False))
        _point_latest(self.path)
        self._begin = time.monotonic()
        self._timer = StageTimer()
        self._logger = open_logger(self._logger_config, self.path)
        log.info("%s %s", "resuming" if self.resumed else "writing to", self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.close()
        self._logger.close()
        write_json(self.path / "summary.json", self.summary("finished" if kind is None else "failed"))
        self._lock.__exit__(None, None, None)

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time the block and its peak memory under `name`."""
        return self._timer.stage(name)

    @property
    def stages(self) -> list[StageUse]:
        """What the stages used, those before a resume first."""
        earlier = [StageUse(**stage) for stage in self._earlier.get("stages", [])]
        return earlier + self._timer.stages

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Send metrics to `metrics.jsonl` and the other loggers."""
        self._logger.log(metrics, step)

    def add_row(
        self,
        metric: str,
        value: float,
        low: float | None = None,
        high: float | None = None,
        n: int | None = None,
        **labels: str | int | float | bool,
    ) -> None:
        """Add one number to the summary."""
        self.rows.append(Row(metric, value, low, high, n, labels))

    def summary(self, status: str = "running") -> dict[str, Any]:
        """What `summary.json` holds; `seconds` and `peak_bytes` include the parts before a resume."""
        return {
            "command": _command(),
            "status": status,
            "seeds": self._seeds,
            "seconds": self._earlier.get("seconds", 0.0) + time.monotonic() - self._begin,
            "peak_bytes": max(self._earlier.get("peak_bytes", 0), self._timer.peak()),
            "stages": [asdict(stage) for stage in self.stages],
            "rows": [row.flat() for row in self.rows],
        }


def _command() -> str:
    """The command line as a user would type it."""
    # The first word may hold the verb ("kalie bench"), so it is not quoted.
    return " ".join([Path(sys.argv[0]).name, shlex.join(sys.argv[1:])]).rstrip()


def _fresh(where: RunConfig, verb: str) -> Path:
    """Make a new run directory; a start time that is taken gets a suffix."""
    folder = where.outputs / verb
    folder.mkdir(parents=True, exist_ok=True)
    stem = where.name or datetime.now().strftime("%Y%m%d-%H%M%S")
    for attempt in range(1000):
        path = folder / (f"{stem}-{attempt}" if attempt else stem)
        try:
            path.mkdir()
        except FileExistsError:
            if where.name:
                raise ConfigError(
                    f"run.name={stem}: {path} exists; pass run.resume=true or another"
                ) from None
        else:
            return path
    raise ConfigError(f"{folder}: a thousand runs started this second")


def _resumable(folder: Path, name: str) -> Path:
    path = (folder / (name or "latest")).resolve()
    if not (path / "config.yaml").is_file():
        raise ConfigError(f"run.resume: {folder / (name or 'latest')} holds no run")
    return path


def _check_same(path: Path, config: object, may_change: Sequence[str]) -> None:
    """Refuse to mix results of two configs in one directory."""
    now_plain = to_primitive(config)
    now: dict[str, Plain] = flatten(now_plain) if isinstance(now_plain, dict) else {}
    # A key that did not exist when the run began had its default's effect.
    defaults = flatten(defaults_of(type(config))) if is_dataclass(config) else {}
    before = {key: defaults[key] for key in defaults.keys() & now.keys()}
    before |= flatten(yaml.safe_load((path / "config.yaml").read_text("utf-8")))
    for key in sorted(before.keys() | now.keys()):
        free = any(key == name or key.startswith(name + ".") for name in may_change)
        if not free and before.get(key) != now.get(key):
            raise ConfigError(f"{key}: {path} was made with {before.get(key)!r}, now it is {now.get(key)!r}")


def _read_summary(path: Path) -> dict[str, Any]:
    """The summary of the earlier part; empty when it was killed before it wrote one."""
    file = path / "summary.json"
    return yaml.safe_load(file.read_text("utf-8")) if file.is_file() else {}


def _point_latest(path: Path) -> None:
    """Let `latest` beside the run point to it, in one step."""
    temporary = path.with_name(f".latest.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(path.name)
    temporary.replace(path.with_name("latest"))
