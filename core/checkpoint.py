"""Checkpoints that survive a kill at any instant and notice every flipped bit.

    store = CheckpointStore(run.path / "checkpoints")
    store.save(step, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": capture_rng()})
    newest = store.load_newest()       # None on a first start; falls back past damaged ones with a warning

A checkpoint is a directory of `state.safetensors` (every tensor and array) and `state.json` (everything else,
with the tree's shape). `COMMIT.json`, written last, holds each file's SHA-256 and makes the checkpoint exist.
Nothing is ever pickled, and a pickle that is offered is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from .files import atomic_path, fsync_path, sha256, write_json, write_text
from .state_tree import flatten_state, restore_state

log = logging.getLogger(__name__)

COMMIT = "COMMIT.json"
TENSORS = "state.safetensors"
TREE = "state.json"
CHECKSUM = "sha256"
_NAME = re.compile(r"step-(\d+)(?:\.(\d+))?")
# Python pickles of protocol 2 and later, zip archives (torch.save) and tar archives (its older form).
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


class CheckpointError(ValueError):
    """A checkpoint that cannot be read; the message names the file and what is wrong with it."""


class PickleRefusedError(CheckpointError):
    """A pickled file was offered: reading it could run any code."""


@dataclass(frozen=True)
class Checkpoint:
    """A whole, verified checkpoint.

    Attributes:
        step: the step it was saved at.
        state: the tree that was saved; tensors on the CPU.
        path: its directory.
    """

    step: int
    state: dict[str, Any]
    path: Path


class CheckpointStore:
    """The checkpoints of one job, in one directory.

    Args:
        folder: where they are.
        keep: how many to keep; at least two, so that a damaged newest one has a predecessor.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        if keep < 2:
            raise ValueError(f"keep={keep} must be at least 2")
        self._folder = folder
        self._keep = keep

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint, then drop the oldest beyond `keep`.

        Args:
            step: at which the state was taken.
            state: nested dicts, lists and tuples of tensors, NumPy arrays and JSON scalars; dict keys may be
                numbers too, as in an optimiser's `state_dict`.

        Raises:
            TypeError: the state holds something else; the message says where.
            OSError: it could not be written; the earlier checkpoints are intact.
        """
        tensors, tree = flatten_state(state)
        path = self._new_directory(step)
        try:
            _write_tensors(path / TENSORS, tensors)
            write_text(path / TREE, json.dumps(tree))
            files = {name: sha256(path / name) for name in (TENSORS, TREE)}
            write_json(path / COMMIT, {"step": step, "files": files})
            fsync_path(self._folder)
        except OSError:
            shutil.rmtree(path, ignore_errors=True)
            raise
        self._prune()
        return path

    def load_newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, or None when none was ever finished.

        Raises:
            CheckpointError: there are finished checkpoints, but every one is damaged.
        """
        problems = []
        for path in self._directories():
            if not (path / COMMIT).is_file():
                log.warning("unfinished checkpoint skipped: %s", path)
                continue
            try:
                return load_checkpoint(path)
            except CheckpointError as error:
                log.warning("damaged checkpoint skipped: %s", error)
                problems.append(str(error))
        if problems:
            raise CheckpointError(f"{self._folder}: no checkpoint is whole: {'; '.join(problems)}")
        return None

    def _directories(self) -> list[Path]:
        """Every attempt at a checkpoint, newest first."""
        found = self._folder.iterdir() if self._folder.is_dir() else iter(())
        return sorted((path for path in found if _NAME.fullmatch(path.name)), key=_order, reverse=True)

    def _committed(self) -> list[Path]:
        return [path for path in self._directories() if (path / COMMIT).is_file()]

    def _new_directory(self, step: int) -> Path:
        """A directory of its own for this attempt: an earlier one of the same step is not touched."""
        self._folder.mkdir(parents=True, exist_ok=True)
        attempts = [_order(path)[1] for path in self._directories() if _order(path)[0] == step]
        path = self._folder / (f"step-{step:08d}" + (f".{max(attempts) + 1}" if attempts else ""))
        path.mkdir()
        return path

    def _prune(self) -> None:
        """Delete all but the newest finished checkpoints, and every unfinished attempt."""
        kept = self._committed()[: self._keep]
        for path in self._directories():
            if path not in kept:
                # The marker goes first: a half-deleted checkpoint must not look finished.
                (path / COMMIT).unlink(missing_ok=True)
                shutil.rmtree(path, ignore_errors=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read and verify one checkpoint directory.

    Raises:
        CheckpointError: not finished, damaged, or not a checkpoint of ours.
    """
    commit = _read_commit(path)
    for name, digest in commit["files"].items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{file}: missing")
        if sha256(file) != digest:
            raise CheckpointError(f"{file}: its checksum is not the one in {COMMIT}")
    tree = json.loads((path / TREE).read_text("utf-8"))
    state = restore_state(load_tensors(path / TENSORS), tree)
    return Checkpoint(commit["step"], state, path)


def _read_commit(path: Path) -> dict[str, Any]:
    """The commit marker; it has no checksum of its own, but any change makes it disagree with the rest."""
    refuse_pickle(path)
    if not (path / COMMIT).is_file():
        raise CheckpointError(f"{path}: has no {COMMIT}; it was never finished or is no checkpoint")
    try:
        commit = json.loads((path / COMMIT).read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{path / COMMIT}: {error}") from error
    sound = (
        isinstance(commit, dict) and commit.keys() == {"step", "files"} and isinstance(commit["files"], dict)
    )
    if not sound or commit["files"].keys() != {TENSORS, TREE} or commit["step"] != _order(path)[0]:
        raise CheckpointError(f"{path / COMMIT}: not the marker of this checkpoint")
    return commit


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a safetensors file, whole or not at all, with a checksum that `load_tensors` compares."""
    whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(whole, temporary, {CHECKSUM: _digest(whole)})


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        PickleRefusedError: it is a pickle.
        CheckpointError: it is no safetensors file, cut short, or not what `save_tensors` wrote.
    """
    refuse_pickle(path)
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            checksum = (file.metadata() or {}).get(CHECKSUM)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    if checksum is not None and checksum != _digest(tensors):
        raise CheckpointError(f"{path}: damaged: its tensors do not have the checksum they were written with")
    return tensors


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """One SHA-256 of all names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        # A copy: memory that NumPy has seen can never be divided among processes again (trainer=fsdp).
        digest.update(tensor.reshape(-1).view(torch.uint8).clone().numpy().data)
    return digest.hexdigest()


def refuse_pickle(path: Path) -> None:
    """Refuse a file that is a pickle or an archive that may hold one (`.pt`, `.pkl`, `.bin`, `.joblib`).

    Raises:
        PickleRefusedError: it is.
    """
    if not path.is_file():
        return
    with path.open("rb") as stream:
        start = stream.read(8)
    if start.startswith(_PICKLE_STARTS) or path.suffix in (".pt", ".pth", ".pkl", ".pickle", ".joblib"):
        raise PickleRefusedError(
            f"{path}: pickled files can run code and are refused; convert to safetensors"
        )


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary)
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from error


def _order(path: Path) -> tuple[int, int]:
    """Sort key of a checkpoint directory: step, then attempt."""
    match = _NAME.fullmatch(path.name)
    return (int(match[1]), int(match[2] or 0)) if match else (-1, 0)


def capture_rng(numpy: Mapping[str, np.random.Generator] | None = None) -> dict[str, Any]:
    """The state of every random generator: the job's own by name, and the libraries' global ones."""
    return {
        "numpy": {name: generator.bit_generator.state for name, generator in (numpy or {}).items()},
        "python": random.getstate(),
        "numpy_global": np.random.get_state(),  # noqa: NPY002  libraries draw from it
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_rng(state: Mapping[str, Any], numpy: Mapping[str, np.random.Generator] | None = None) -> None:
    """Put every generator back to where `capture_rng` found it.

    Raises:
        KeyError: a named generator was not captured.
    """
    for name, generator in (numpy or {}).items():
        generator.bit_generator.state = state["numpy"][name]
    random.setstate(state["python"])
    np.random.set_state(state["numpy_global"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
