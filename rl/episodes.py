"""Stored episodes as somebody looks at them: listed, filtered, sorted, searched, and opened one at a time.

index = EpisodeIndex(run)                                   # a run's folder, or one of trajectories
total, page = index.select(Query(outcome="failure", sort="return"), first=0, count=50)
shown = index.episode(page[0].part, page[0].number)         # JSON, the pictures only counted
png = index.image(page[0].part, page[0].number, turn=0, place=0)
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from threading import RLock
from typing import Any

from ..core.config import build
from .episode_file import OPENED, PICTURES, EpisodeFile, Kept, Listed, Query, stamp_of

FOLDERS = ("evaluations", "episodes", "trajectories")
"""Where runs keep episodes: of a training's evaluations, of `kalie eval`, of the training itself."""


class EpisodeIndex:
    """The episodes below a folder; it may be used from several threads.

    Args:
        folder: of a run, or of trajectories.

    Raises:
        FileNotFoundError: there is no such folder, or no file of episodes in it.
        DamagedFileError: a file is none of episodes, or cannot be read; the message names it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts: dict[str, EpisodeFile] = {}
        self._kept: Kept = OrderedDict()
        self._lock = RLock()
        self.refresh()

    def refresh(self) -> None:
        """Take in what was written since."""
        with self._lock:
            known = {part.stamp: part for part in self._parts.values()}
            found: dict[str, EpisodeFile] = {}
            for name, path in _files(self.folder).items():
                stamp = stamp_of(path)
                found[name] = known[stamp] if stamp in known else EpisodeFile(name, path, stamp, self._kept)
            self._parts = found

    @property
    def parts(self) -> list[str]:
        """The files, in order."""
        return list(self._parts)

    @property
    def envs(self) -> list[str]:
        """The environments that occur."""
        return sorted({item.env for part in self._parts.values() for item in part.listed})

    def select(self, query: Query, first: int = 0, count: int = 50) -> tuple[int, list[Listed]]:
        """How many episodes a query finds, and some of them.

        Args:
            query: which.
            first: of those found.
            count: how many at most.
        """
        with self._lock:
            found = [item for part in self._parts.values() for item in part.matching(query)]
        if query.sort != "stored":
            found.sort(key=lambda item: item.total if query.sort == "return" else item.turns)
        if query.descending:
            found.reverse()
        return len(found), found[first : first + count]

    def episode(self, part: str, number: int) -> dict[str, Any]:
        """An episode whole, as JSON; a turn's pictures are only counted.

        Raises:
            KeyError: there is none.
            DamagedFileError: its file cannot be read.
        """
        with self._lock:
            source, listed = self._find(part, number)
            rows = source.rows(number, OPENED)
            # Without their bytes.
            pictures = source.rows(number, [f"{name}.list.element.path" for name in PICTURES])
        turns = [_turn(row, len(shown["images"])) for row, shown in zip(rows, pictures, strict=True)]
        final = pictures[-1]["final_images"]
        return {
            **listed._asdict(),
            "turns": turns,
            "reset_info": json.loads(rows[-1]["reset_info"]),
            "final": {"text": rows[-1]["final_text"], "images": len(final)},
        }

    def prompt_ids(self, part: str, number: int, turn: int) -> list[int]:
        """The ids that a turn's response was sampled after.

        Raises:
            KeyError: there is no such turn.
        """
        with self._lock:
            rows = self._find(part, number)[0].rows(number, ["prompt_ids"])
        if not 0 <= turn < len(rows):
            raise KeyError(f"{part} {number} has no turn {turn}")
        return rows[turn]["prompt_ids"]

    def image(self, part: str, number: int, turn: int, place: int) -> bytes:
        """A picture's bytes, as they were stored (PNG).

        Args:
            part: the file.
            number: of the episode.
            turn: that shows it; the number of turns for what would have come next.
            place: among the turn's pictures.

        Raises:
            KeyError: there is no such picture.
        """
        with self._lock:
            source, listed = self._find(part, number)
            final = turn == listed.turns
            name = "final_images" if final else "images"
            rows = source.rows(number, [name])
        row = rows[-1] if final else rows[turn] if 0 <= turn < len(rows) else {}
        images = row.get(name) or ()
        if not 0 <= place < len(images):
            raise KeyError(f"{part} {number}, turn {turn} shows no picture {place}")
        return images[place]["bytes"]

    def _find(self, part: str, number: int) -> tuple[EpisodeFile, Listed]:
        source = self._parts.get(part)
        if source is None or not 0 <= number < len(source.listed):
            raise KeyError(f"no episode {number} in {part!r}")
        return source, source.listed[number]


def _files(folder: Path) -> dict[str, Path]:
    """Files of episodes by folder and stem: of the run's folders, or of the folder itself."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    inside = [(name, folder / name) for name in FOLDERS]
    found = {
        f"{name}/{path.stem}": path for name, below in inside for path in sorted(below.glob("*.parquet"))
    }
    found |= {path.stem: path for path in sorted(folder.glob("*.parquet"))}
    if not found:
        raise FileNotFoundError(
            f"{folder}: no episodes here; training stores those of its evaluations (trainer.evaluate_every) "
            "and, with trainer.keep_trajectories=true, its own"
        )
    return found


def _turn(row: dict[str, Any], images: int) -> dict[str, Any]:
    parsed = {name: json.loads(row[name]) for name in ("action", "info")}
    names = ("text", "response", "valid", "reward", "terminated", "truncated", "response_ids", "log_probs")
    return {**{name: row[name] for name in names}, **parsed, "values": row.get("values"), "images": images}


def query_of(values: Mapping[str, str]) -> Query:
    """A query from the words of an address.

    Raises:
        ValueError: a key or value that there is not.
    """
    typed: dict[str, Any] = {**values, "descending": values.get("descending") == "true"}
    return build(Query, typed)
