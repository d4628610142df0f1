"""Saves under a file-size limit that ends inside a file; prints what happened (see test_checkpoint)."""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path

import torch

from kalie.core.checkpoint import CheckpointStore


def main(folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = CheckpointStore(folder)
    small = {"w": torch.zeros(4)}
    store.save(1, small)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    refused, newest = 0, []
    for limit, state in (
        (20_000, {"w": torch.zeros(100_000)}),  # ends inside the tensors
        (20_000, {"w": torch.zeros(4), "text": "x" * 100_000}),  # ends inside the tree
        (10, small),  # ends in the first bytes
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            store.save(2, state)
        except OSError:
            refused += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        found = store.load_newest()
        newest.append(found.step if found else None)
    sys.stdout.write(json.dumps({"refused": refused, "newest": newest}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
