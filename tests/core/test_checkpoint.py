"""Checkpoints: whole or absent, verified, never pickled."""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kalie.core import checkpoint as module
from kalie.core.checkpoint import (
    COMMIT,
    CheckpointError,
    CheckpointStore,
    PickleRefusedError,
    capture_rng,
    load_checkpoint,
    load_tensors,
    restore_rng,
    save_tensors,
)


def state_at(step: int) -> dict[str, object]:
    return {"weights": {"w": torch.full((16,), float(step))}, "step": step}


def store_with(folder: Path, *steps: int) -> CheckpointStore:
    store = CheckpointStore(folder)
    for step in steps:
        store.save(step, state_at(step))
    return store


def newest_step(store: CheckpointStore) -> int | None:
    found = store.load_newest()
    if found is not None:
        assert found.state["step"] == found.step
        assert torch.equal(found.state["weights"]["w"], torch.full((16,), float(found.step)))
    return found.step if found else None


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert newest_step(CheckpointStore(tmp_path / "none")) is None


def test_every_kind_of_value_comes_back_exactly(tmp_path: Path) -> None:
    shared = torch.randn(3, 2)
    state = {
        "bf16": torch.randn(4).bfloat16(),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "transposed": torch.arange(6).reshape(2, 3).T,
        "tied": [shared, shared],
        "part": shared[1:],
        "array": np.arange(5, dtype=np.uint32),
        "tuple": (1, (2.5, None)),
        "int keys": {0: {"exp_avg": torch.ones(2)}, 1: "x"},
        "tagged": {"$tensor": "no"},
        "floats": [float("inf"), float("-inf"), 0.1, 1e-308],
        "big": 2**127,
        "flags": [True, False],
    }
    CheckpointStore(tmp_path).save(1, state)
    found = CheckpointStore(tmp_path).load_newest()
    assert found is not None
    back = found.state
    for name in ("bf16", "scalar", "empty", "transposed", "part"):
        assert torch.equal(back[name], state[name])
        assert back[name].dtype == state[name].dtype
    assert back["tied"][0] is back["tied"][1]
    assert torch.equal(back["tied"][0], shared)
    assert back["array"].dtype == np.uint32
    assert back["array"].tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(back["int keys"][0]["exp_avg"], torch.ones(2))
    for name in ("tuple", "tagged", "floats", "big", "flags"):
        assert back[name] == state[name]


def test_nan_comes_back_as_nan(tmp_path: Path) -> None:
    path = CheckpointStore(tmp_path).save(1, {"x": float("nan")})
    assert np.isnan(load_checkpoint(path).state["x"])


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", np.float32(1), np.array(["text"]), lambda: 0])
def test_when_state_holds_anything_else_expect_its_place(tmp_path: Path, value: object) -> None:
    with pytest.raises(TypeError, match=r"state\.loader\[1\]"):
        CheckpointStore(tmp_path).save(1, {"loader": [0, value]})
    assert CheckpointStore(tmp_path).load_newest() is None


def test_old_checkpoints_are_dropped_and_the_previous_kept(tmp_path: Path) -> None:
    store_with(tmp_path, 1, 2, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    store = store_with(tmp_path, 1, 2)
    store.save(2, {"again": True})
    found = store.load_newest()
    assert found is not None
    assert found.state == {"again": True}


def test_when_keep_is_below_two_expect_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep=1"):
        CheckpointStore(tmp_path, keep=1)


# E1 ------------------------------------------------------------------------------------------------------


def test_when_killed_at_random_points_expect_newest_complete_one(tmp_path: Path) -> None:
    """A hundred savers are killed with SIGKILL at random moments; no finished checkpoint is ever lost."""
    script = Path(__file__).with_name("kill_savers.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "100"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["kills"] == 100
    assert report["lost"] == 0
    assert report["interrupted_while_saving"] > 10


# E2 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing_call", range(1, 8))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_when_disk_fails_at_any_write_expect_error_and_previous_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_call: int, code: int
) -> None:
    store = store_with(tmp_path, 1)
    real, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing_call:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match=os.strerror(code)):
            store.save(2, state_at(2))
    assert newest_step(store) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_when_quota_ends_inside_a_file_expect_error_and_previous_intact(tmp_path: Path) -> None:
    """The kernel itself refuses the write (RLIMIT_FSIZE), in the tensors or in the tree."""
    script = Path(__file__).with_name("quota_saver.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"refused": 3, "newest": [1, 1, 1]}


# E3 ------------------------------------------------------------------------------------------------------


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def test_when_one_bit_is_flipped_expect_previous_with_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand flips over all files, every one noticed."""
    store = store_with(tmp_path, 1, 2)
    rng = random.Random(0)
    files = sorted((tmp_path / "step-00000002").iterdir())
    caplog.set_level(logging.ERROR)
    for trial in range(1000):
        file = files[trial % len(files)]
        sound = file.read_bytes()
        file.write_bytes(flipped(sound, rng.randrange(len(sound) * 8)))
        assert newest_step(store) == 1
        file.write_bytes(sound)
    caplog.set_level(logging.WARNING)
    files[0].write_bytes(flipped(files[0].read_bytes(), 5))
    caplog.clear()
    store.load_newest()
    assert "damaged checkpoint skipped" in caplog.text
    assert "step-00000002" in caplog.text


def test_when_one_bit_of_saved_tensors_is_flipped_expect_refusal_or_the_same_tensors(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    tensors = {
        "bias": torch.tensor(1.5),
        "weight": torch.arange(60, dtype=torch.float32).reshape(3, 20).to(torch.bfloat16),
        "none": torch.empty(0),
    }
    save_tensors(file, {**tensors, "weight": tensors["weight"].T})
    sound, rng, refused = file.read_bytes(), random.Random(0), 0
    for _ in range(300):
        file.write_bytes(flipped(sound, rng.randrange(len(sound) * 8)))
        try:
            read = load_tensors(file)
        except CheckpointError as error:
            refused += str(file) in str(error)
            continue
        assert read.keys() == tensors.keys()
        assert torch.equal(read["weight"], tensors["weight"].T)
        assert torch.equal(read["bias"], tensors["bias"])
    assert refused > 200
    file.write_bytes(sound)
    assert torch.equal(load_tensors(file)["weight"], tensors["weight"].T)


@pytest.mark.parametrize("name", [COMMIT, "state.json", "state.safetensors"])
@pytest.mark.parametrize("size", [0, 1, -1])
def test_when_a_file_is_cut_short_expect_previous(tmp_path: Path, name: str, size: int) -> None:
    store = store_with(tmp_path, 1, 2)
    file = tmp_path / "step-00000002" / name
    file.write_bytes(file.read_bytes()[:size])
    # The marker's last byte is its newline: without it, it says the same.
    assert newest_step(store) == (2 if (name, size) == (COMMIT, -1) else 1)


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
def test_when_a_file_is_missing_expect_previous(tmp_path: Path, name: str) -> None:
    store = store_with(tmp_path, 1, 2)
    (tmp_path / "step-00000002" / name).unlink()
    assert newest_step(store) == 1


def test_when_marker_is_missing_expect_previous_with_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_with(tmp_path, 1, 2)
    (tmp_path / "step-00000002" / COMMIT).unlink()
    assert newest_step(store) == 1
    assert "unfinished checkpoint skipped" in caplog.text


def test_when_every_checkpoint_is_damaged_expect_error_not_a_fresh_start(tmp_path: Path) -> None:
    store = store_with(tmp_path, 1, 2)
    for file in tmp_path.glob("*/state.json"):
        file.write_text("{}")
    with pytest.raises(CheckpointError, match="no checkpoint is whole"):
        store.load_newest()


def test_when_a_checkpoint_is_renamed_to_another_step_expect_refusal(tmp_path: Path) -> None:
    store_with(tmp_path, 1)
    (tmp_path / "step-00000001").rename(tmp_path / "step-00000009")
    with pytest.raises(CheckpointError, match="not the marker"):
        load_checkpoint(tmp_path / "step-00000009")


# E4 ------------------------------------------------------------------------------------------------------


def test_random_numbers_go_on_bit_identically(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    generator.random(5)
    path = CheckpointStore(tmp_path).save(1, {"rng": capture_rng({"order": generator})})

    def draw() -> list[object]:
        return [generator.random(3).tolist(), random.random(), torch.rand(3).tolist()]

    first = draw()
    restore_rng(load_checkpoint(path).state["rng"], {"order": generator})
    assert draw() == first


def test_training_resumes_bit_identically(tmp_path: Path) -> None:
    def fresh() -> tuple[torch.nn.Linear, torch.optim.Adam]:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 4)
        return model, torch.optim.Adam(model.parameters())

    def train(model: torch.nn.Linear, optimizer: torch.optim.Adam, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            torch.nn.functional.dropout(model(torch.randn(8, 4))).square().sum().backward()
            optimizer.step()

    model, optimizer = fresh()
    train(model, optimizer, 3)
    CheckpointStore(tmp_path).save(
        3, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": capture_rng()}
    )
    train(model, optimizer, 4)
    resumed, resumed_optimizer = fresh()
    found = CheckpointStore(tmp_path).load_newest()
    assert found is not None
    resumed.load_state_dict(found.state["model"])
    resumed_optimizer.load_state_dict(found.state["optimizer"])
    restore_rng(found.state["rng"])
    train(resumed, resumed_optimizer, 4)
    assert torch.equal(resumed.weight, model.weight)


# E5 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_when_a_pickle_is_offered_expect_refusal(tmp_path: Path, protocol: int) -> None:
    for name in ("weights.safetensors", "weights.pkl", "weights.bin"):
        file = tmp_path / name
        file.write_bytes(pickle.dumps({"w": [1.0]}, protocol))
        with pytest.raises(CheckpointError):
            load_tensors(file)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_when_torch_save_is_offered_expect_refusal(tmp_path: Path, name: str, zipped: bool) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(PickleRefusedError, match="convert to safetensors"):
        load_tensors(tmp_path / name)
    with pytest.raises(PickleRefusedError):
        load_checkpoint(tmp_path / name)


def test_the_module_never_unpickles() -> None:
    source = Path(module.__file__).read_text()
    assert "torch.load" not in source
    assert "import pickle" not in source


def test_saving_leaves_tensors_that_can_still_be_divided_among_processes(tmp_path: Path) -> None:
    """Memory that NumPy shares cannot be resized, as FSDP does when it keeps only its part."""
    tensors = {"weight": torch.randn(4, 3), "half": torch.randn(5).bfloat16()}
    save_tensors(tmp_path / "weights.safetensors", tensors)
    assert all(tensor.untyped_storage().resizable() for tensor in tensors.values())
