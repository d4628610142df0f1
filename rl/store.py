"""Trajectories as Parquet, one row per turn, images as PNG; `datasets` reads them.

store = TrajectoryStore(run.path / "trajectories")
store.write("train-000003", finished)           # whole or not at all; writing it again replaces it
for trajectory in store.read(): ...
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.files import write_bytes
from .images import Image
from .rollout import Finished
from .samples import Numbers
from .types import Observation, Trajectory, Turn

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema(
    [
        ("env", pa.string()),
        ("episode", pa.int64()),
        ("seed", pa.int64()),
        ("turn", pa.int32()),
        ("text", pa.string()),
        ("images", pa.list_(_IMAGE)),
        ("response", pa.string()),
        ("action", pa.string()),
        ("valid", pa.bool_()),
        ("reward", pa.float64()),
        ("terminated", pa.bool_()),
        ("truncated", pa.bool_()),
        ("info", pa.string()),
        ("prompt_ids", pa.list_(pa.int64())),
        ("response_ids", pa.list_(pa.int64())),
        ("log_probs", pa.list_(pa.float32())),
        ("values", pa.list_(pa.float32())),
        ("reset_info", pa.string()),
        ("final_text", pa.string()),
        ("final_images", pa.list_(_IMAGE)),
    ]
)
"""Columns; action, info and reset_info are JSON; reset_info and final_* are of an episode's last turn.

`values`: what a critic expected before the turn (one number) or each response token; null without one."""

# So that a page about one episode need not read the images of all.
_ROWS_PER_GROUP = 256

_FEATURES = {
    "env": "string",
    "episode": "int64",
    "seed": "int64",
    "turn": "int32",
    "text": "string",
    "response": "string",
    "action": "string",
    "valid": "bool",
    "reward": "float64",
    "terminated": "bool",
    "truncated": "bool",
    "info": "string",
    "reset_info": "string",
    "final_text": "string",
}
_LISTS = {"prompt_ids": "int64", "response_ids": "int64", "log_probs": "float32", "values": "float32"}


class TrajectoryStore:
    """A folder of Parquet files.

    Args:
        folder: made by the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, finished: Sequence[Finished], values: Sequence[Numbers] = ()) -> Path:
        """Write episodes as one file; a file of that name is replaced in one step.

        Args:
            name: of the file.
            finished: the episodes.
            values: of each, as `values.Valuer` gives them; none without a critic.

        Raises:
            TypeError: an action or info holds something that is not JSON.
        """
        path = self.folder / f"{name}.parquet"
        write_bytes(path, encode_parquet(finished, values))
        return path

    def names(self) -> list[str]:
        """The files that are there, in order."""
        return sorted(path.stem for path in self.folder.glob("*.parquet"))

    def read(self, names: Sequence[str] | None = None) -> Iterator[Finished]:
        """Episodes of the given files, or of all, in order.

        Raises:
            FileNotFoundError: there are none.
        """
        names = self.names() if names is None else names
        if not names:
            raise FileNotFoundError(f"{self.folder}: no trajectories here")
        for name in names:
            yield from decode_parquet((self.folder / f"{name}.parquet").read_bytes())


def encode_parquet(finished: Sequence[Finished], values: Sequence[Numbers] = ()) -> bytes:
    """Episodes, and what a critic expected of them, as the bytes of a Parquet file.

    Raises:
        TypeError: an action or info holds something that is not JSON.
    """
    expected = values or [None] * len(finished)
    rows = [row for item, own in zip(finished, expected, strict=True) for row in _rows(item, own)]
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(_metadata()))
    pq.write_table(table, sink, compression="zstd", row_group_size=_ROWS_PER_GROUP, write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def decode_parquet(data: bytes) -> Iterator[Finished]:
    """The inverse of `encode_parquet`."""
    yield from _episodes(pq.read_table(pa.BufferReader(data)).to_pylist())


def _rows(finished: Finished, values: Numbers | None) -> Iterator[dict[str, Any]]:
    trajectory = finished.trajectory
    last = len(trajectory.turns) - 1
    expected = _by_turn(trajectory, values)
    for number, turn in enumerate(trajectory.turns):
        yield {
            "env": trajectory.env,
            "episode": finished.index,
            "seed": trajectory.seed,
            "turn": number,
            "text": turn.observation.text,
            "images": [_png(image) for image in turn.observation.images],
            "response": turn.text,
            "action": json.dumps(turn.action),
            "valid": turn.valid,
            "reward": turn.reward,
            "terminated": turn.terminated,
            "truncated": turn.truncated,
            "info": json.dumps(dict(turn.info)),
            "prompt_ids": turn.prompt_ids,
            "response_ids": turn.response_ids,
            "log_probs": turn.log_probs,
            "values": expected[number],
            "reset_info": json.dumps(dict(trajectory.reset_info)) if number == last else None,
            "final_text": trajectory.final_observation.text if number == last else None,
            "final_images": [_png(image) for image in trajectory.final_observation.images]
            if number == last
            else None,
        }


def _by_turn(trajectory: Trajectory, values: Numbers | None) -> Sequence[Numbers | None]:
    """An episode's values divided by its turns; the one of the state after it is left out."""
    turns = trajectory.turns
    if values is None:
        return [None] * len(turns)
    per_turn = len(values) == len(turns) + 1
    counts = [1 if per_turn else len(turn.response_ids) for turn in turns]
    return np.split(values[:-1], np.cumsum(counts)[:-1])


def _episodes(rows: Iterable[dict[str, Any]]) -> Iterator[Finished]:
    """Rows put together again; an episode ends with its terminated or truncated turn."""
    turns: list[Turn] = []
    for row in rows:
        turns.append(_turn(row))
        if row["terminated"] or row["truncated"]:
            final = Observation(row["final_text"], tuple(_image(one) for one in row["final_images"]))
            reset_info = json.loads(row["reset_info"])
            yield Finished(
                row["episode"], Trajectory(row["env"], row["seed"], tuple(turns), final, reset_info)
            )
            turns = []


def _turn(row: dict[str, Any]) -> Turn:
    return Turn(
        observation=Observation(row["text"], tuple(_image(one) for one in row["images"])),
        prompt_ids=np.array(row["prompt_ids"], dtype=np.int64),
        response_ids=np.array(row["response_ids"], dtype=np.int64),
        log_probs=np.array(row["log_probs"], dtype=np.float32),
        text=row["response"],
        action=json.loads(row["action"]),
        valid=row["valid"],
        reward=row["reward"],
        terminated=row["terminated"],
        truncated=row["truncated"],
        info=json.loads(row["info"]),
    )


def _png(image: Image) -> dict[str, Any]:
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return {"bytes": data.tobytes(), "path": None}


def _image(stored: dict[str, Any]) -> Image:
    decoded = cv2.imdecode(np.frombuffer(stored["bytes"], dtype=np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        raise ValueError("a stored image is no PNG")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _metadata() -> dict[bytes, bytes]:
    """What tells `datasets` which columns are images."""
    image_list = {"feature": {"_type": "Image"}, "_type": "List"}
    features: dict[str, Any] = {k: {"dtype": v, "_type": "Value"} for k, v in _FEATURES.items()}
    for name, kind in _LISTS.items():
        features[name] = {"feature": {"dtype": kind, "_type": "Value"}, "_type": "List"}
    features |= {"images": image_list, "final_images": image_list}
    ordered = {name: features[name] for name in SCHEMA.names}
    return {b"huggingface": json.dumps({"info": {"features": ordered}}).encode()}
