"""One file of stored episodes, of which no more is read than is asked for.

A list needs the small columns alone; text, token ids and pictures are read by row groups.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..core.files import DamagedFileError

_LISTED = ("env", "episode", "seed", "valid", "reward", "terminated", "truncated", "info")
PICTURES = ("images", "final_images")
"""The columns of pictures."""

OPENED = (
    *("turn", "text", "response", "action", "valid", "reward", "terminated", "truncated", "info"),
    *("response_ids", "log_probs", "values", "reset_info", "final_text"),
)
"""The columns of an episode that is looked at; a file may lack `values`."""

_KEPT_GROUPS = 8
Stamp: TypeAlias = tuple[str, int, int]
Kept: TypeAlias = OrderedDict[tuple[Stamp, int, tuple[str, ...]], pa.Table]
"""Columns of row groups that were read last, of all files of an index; the oldest first."""


@dataclass(frozen=True)
class Query:
    """Which episodes, in which order.

    Attributes:
        outcome: what the environment called the episode.
        answers: all (every answer was an action), some (one or more were not), or any.
        env: its id; empty for any.
        part: the file, such as evaluations/update-000010; empty for any.
        text: what the prompts or answers of an episode must hold, in capitals or not; empty for anything.
        sort: as stored, by return, or by number of turns.
        descending: whether the last come first.
    """

    outcome: Literal["any", "success", "failure"] = "any"
    answers: Literal["any", "valid", "invalid"] = "any"
    env: str = ""
    part: str = ""
    text: str = ""
    sort: Literal["stored", "return", "turns"] = "stored"
    descending: bool = False


class Listed(NamedTuple):
    """An episode in a list.

    Attributes:
        part: its file: folder and name.
        number: its place in the file.
        episode: its index in its stream.
        seed: of its environment's reset.
        env: its environment's id.
        turns: how many.
        total: its return.
        success: what the environment called it.
        invalid: answers that were no action.
        truncated: whether a limit cut it.
    """

    part: str
    number: int
    episode: int
    seed: int
    env: str
    turns: int
    total: float
    success: bool
    invalid: int
    truncated: bool


class EpisodeFile:
    """One file of episodes.

    Args:
        name: folder and stem.
        path: of the file.
        stamp: what tells it from a later file of that name.
        kept: shared with the other files.
    """

    def __init__(self, name: str, path: Path, stamp: Stamp, kept: Kept) -> None:
        self.stamp = stamp
        self._path = path
        self._file = _open(path)
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._group_starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
        self._kept = kept
        table = self._read(lambda: self._file.read(columns=list(_LISTED)))
        ends = np.flatnonzero(table["terminated"].to_numpy() | table["truncated"].to_numpy())
        if len(table) != (ends[-1] + 1 if len(ends) else 0):
            raise DamagedFileError(f"{path}: ends in the middle of an episode")
        self._starts = np.concatenate([[0], ends + 1]).astype(int)
        self.listed = _listed(name, table, ends)

    def matching(self, query: Query) -> list[Listed]:
        """Its episodes that a query finds, as stored."""
        found = [
            item
            for item in self.listed
            if query.env in ("", item.env)
            and query.part in ("", item.part)
            and (query.outcome == "any" or item.success == (query.outcome == "success"))
            and (query.answers == "any" or (item.invalid == 0) == (query.answers == "valid"))
        ]
        if not query.text or not found:
            return found
        holding = self._holding(query.text)
        return [item for item in found if item.number in holding]

    def _holding(self, text: str) -> set[int]:
        """The episodes that a text occurs in, group by group so that little is in memory at a time."""
        hits: list[int] = []
        for group, start in enumerate(self._group_starts[:-1]):
            table = self._read_group(group, ("text", "response"))
            masks = [_holds(column, text) for column in table.columns]
            rows = np.flatnonzero(masks[0] | masks[1])
            hits += (rows + start).tolist()
        return set((np.searchsorted(self._starts, hits, side="right") - 1).tolist())

    def rows(self, number: int, columns: Sequence[str]) -> list[dict[str, Any]]:
        """An episode's rows; `values` is left out where a file, as an older one may, lacks it."""
        first, last = int(self._starts[number]), int(self._starts[number + 1])
        groups = range(
            int(np.searchsorted(self._group_starts, first, side="right")) - 1,
            int(np.searchsorted(self._group_starts, last, side="left")),
        )
        found: list[dict[str, Any]] = []
        for group in groups:
            start = int(self._group_starts[group])
            table = self._group(group, tuple(columns))
            found += table.slice(max(0, first - start), last - max(first, start)).to_pylist()
        return found

    def _group(self, group: int, columns: tuple[str, ...]) -> pa.Table:
        """Columns of a row group; the last few that were read are kept."""
        key = (self.stamp, group, columns)
        if key not in self._kept:
            self._kept[key] = self._read_group(group, columns)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT_GROUPS:
            self._kept.popitem(last=False)
        return self._kept[key]

    def _read_group(self, group: int, columns: Sequence[str]) -> pa.Table:
        return self._read(lambda: self._file.read_row_group(group, columns=list(columns)))

    def _read(self, read: Callable[[], pa.Table]) -> pa.Table:
        try:
            return read()
        except (pa.ArrowException, OSError) as error:
            raise DamagedFileError(f"{self._path}: damaged: {_first_line(error)}") from error


def stamp_of(path: Path) -> Stamp:
    """What tells a file from a later one of its name."""
    state = path.stat()
    return str(path), state.st_mtime_ns, state.st_size


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(f"{path}: no readable Parquet file: {_first_line(error)}") from error
    missing = {*_LISTED, *PICTURES, *OPENED, "prompt_ids"} - {"values"} - set(file.schema_arrow.names)
    if missing:
        raise DamagedFileError(f"{path}: no file of episodes: it has no column {min(missing)}")
    return file


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _holds(column: pa.ChunkedArray, text: str) -> NDArray[np.bool_]:
    """Which strings of a column hold a text, in capitals or not."""
    found = pc.match_substring(column, text, ignore_case=True)  # pyright: ignore[reportAttributeAccessIssue]  made at import
    return found.to_numpy(zero_copy_only=False).astype(bool)


def _listed(part: str, table: pa.Table, ends: NDArray[np.intp]) -> list[Listed]:
    if not len(ends):
        return []
    starts = np.concatenate([[0], ends[:-1] + 1])
    last = table.take(pa.array(ends)).to_pylist()
    totals = np.add.reduceat(table["reward"].to_numpy(), starts)
    invalid = np.add.reduceat(~table["valid"].to_numpy(), starts, dtype=int)
    return [
        Listed(
            part=part,
            number=number,
            episode=row["episode"],
            seed=row["seed"],
            env=row["env"],
            turns=int(ends[number] - starts[number] + 1),
            total=float(totals[number]),
            success=bool(json.loads(row["info"]).get("success", False)),
            invalid=int(invalid[number]),
            truncated=row["truncated"],
        )
        for number, row in enumerate(last)
    ]
