"""Where metrics go: always `metrics.jsonl`; TensorBoard by default; trackio or wandb by choice.

`open_logger(config, folder)` gives one `Logger` for all of them.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol

from .files import finite, write_text


class MissingPackageError(ImportError):
    """A package that a chosen option needs is not installed."""


@dataclass(frozen=True)
class LoggerConfig:
    """Where metrics go besides `metrics.jsonl`.

    Attributes:
        tensorboard: write TensorBoard event files into the run's folder `tensorboard`.
        tracker: an experiment tracker that is installed and configured for this user, or "none".
        project: the tracker's project.
    """

    tensorboard: bool = True
    tracker: Literal["none", "trackio", "wandb"] = "none"
    project: str = "kalie"

    def __post_init__(self) -> None:
        if self.tracker != "none" and not self.project:
            raise ValueError(f"project must not be empty with tracker={self.tracker}")


LOGGERS = {"default": LoggerConfig}
"""The config group `logger`; `conf/logger/` adds its other choices."""


class Logger(Protocol):
    """Takes scalar metrics by name."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Record metrics at a step (an optimiser update, an episode: the job's own count)."""
        ...

    def close(self) -> None:
        """Write out what is buffered."""
        ...


class JsonlLogger:
    """Appends one JSON object per call, `{"step": …, "time": …, <metrics>}`; NaN and infinity become null.

    A line that a kill cut short is removed when the file is opened again.
    """

    def __init__(self, path: Path) -> None:
        if path.is_file():
            whole, _, rest = path.read_bytes().rpartition(b"\n")
            if rest:
                write_text(path, (whole + b"\n").decode("utf-8") if whole else "")
        self._stream = path.open("a", encoding="utf-8")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Append one line."""
        record = {"step": step, "time": time.time(), **{key: float(value) for key, value in metrics.items()}}
        self._stream.write(json.dumps(finite(record), allow_nan=False) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


Series = tuple[Sequence[float], Sequence[float]]
"""Steps and values of one metric."""


def read_metrics(path: Path) -> dict[str, Series]:
    """Every metric that a `JsonlLogger` wrote, by name.

    Of a step logged twice, as by a resumed run, the last counts; a line that a kill cut short and values that
    were not finite are left out.
    """
    found: dict[str, dict[float, float]] = {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        for name, value in record.items():
            if name not in ("step", "time") and value is not None:
                found.setdefault(name, {})[record["step"]] = value
    return {
        name: (sorted(values), [values[step] for step in sorted(values)]) for name, values in found.items()
    }


class TensorBoardLogger:
    """Writes event files for TensorBoard."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write scalars."""
        for key, value in metrics.items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


class TrackerLogger:
    """Sends metrics to trackio or wandb, whose `init`, `log` and `finish` are alike."""

    def __init__(self, module: ModuleType, project: str, name: str) -> None:
        self._module = module
        module.init(project=project, name=name)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Send metrics."""
        self._module.log(dict(metrics), step=step)

    def close(self) -> None:
        """End the tracker's run."""
        self._module.finish()


class CombinedLogger:
    """Passes everything to several loggers."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._loggers = list(loggers)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log with each."""
        for logger in self._loggers:
            logger.log(metrics, step)

    def close(self) -> None:
        """Close each."""
        for logger in self._loggers:
            logger.close()


def open_logger(config: LoggerConfig, folder: Path) -> Logger:
    """The loggers of a run directory as one.

    Raises:
        MissingPackageError: the chosen tracker is not installed.
    """
    loggers: list[Logger] = [JsonlLogger(folder / "metrics.jsonl")]
    if config.tensorboard:
        loggers.append(LazyTensorBoard(folder / "tensorboard"))
    if config.tracker != "none":
        loggers.append(TrackerLogger(require(config.tracker), config.project, folder.name))
    return CombinedLogger(loggers)


class LazyTensorBoard:
    """A `TensorBoardLogger` that starts (and imports torch) with the first metric."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logger: TensorBoardLogger | None = None

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write scalars."""
        self._logger = self._logger or TensorBoardLogger(self._folder)
        self._logger.log(metrics, step)

    def close(self) -> None:
        """Close the event file, if there is one."""
        if self._logger:
            self._logger.close()


def check_tracker(config: LoggerConfig) -> None:
    """Refuse a tracker that is not installed. Raises MissingPackageError naming it."""
    if config.tracker != "none":
        require(config.tracker)


def require(package: str) -> ModuleType:
    """Import an optional package.

    Raises:
        MissingPackageError: it is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingPackageError(f"{package} is not installed: pip install {package}") from error
