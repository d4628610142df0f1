"""Forks savers and kills each at a random moment; prints what became of the checkpoints."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from kalie.core.checkpoint import COMMIT, CheckpointStore

torch.set_num_threads(1)


def state_at(step: int) -> dict[str, object]:
    return {"w": torch.full((20_000,), float(step)), "step": step}


def save_forever(folder: Path, first: int, pipe: int) -> None:
    """Save step after step; tell the parent each one that `save` said is done."""
    store = CheckpointStore(folder)
    for step in range(first, first + 10_000):
        store.save(step, state_at(step))
        os.write(pipe, step.to_bytes(8, "little"))


def last_reported(pipe: int) -> int:
    data = b""
    while chunk := os.read(pipe, 1 << 16):
        data += chunk
    whole = len(data) // 8 * 8
    return int.from_bytes(data[whole - 8 : whole], "little") if whole else -1


def main(folder: Path, kills: int) -> None:
    rng = random.Random(0)
    reported, lost, interrupted = -1, 0, 0
    for _ in range(kills):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            save_forever(folder, reported + 1, writer)
            os._exit(0)
        os.close(writer)
        time.sleep(rng.uniform(0.002, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reported = max(reported, last_reported(reader))
        os.close(reader)
        interrupted += any(not (path / COMMIT).is_file() for path in folder.glob("step-*"))
        found = CheckpointStore(folder).load_newest()
        step = found.step if found else -1
        sound = found is None or torch.equal(found.state["w"], torch.full((20_000,), float(step)))
        lost += step < reported or not sound
        reported = max(reported, step)
    sys.stdout.write(json.dumps({"kills": kills, "lost": lost, "interrupted_while_saving": interrupted}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
