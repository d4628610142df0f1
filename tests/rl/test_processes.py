"""Several processes train what one would: the same gradients and weights in each, and one run folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from kalie.core.checkpoint import load_tensors
from kalie.rl.base_policy import WEIGHTS
from kalie.rl.trainer import SingleTrainerConfig

from . import processes_job
from .processes_job import ALGORITHMS, gradient, train

pytestmark = pytest.mark.slow


# Times; what the slots of one process share; a spread within a part of a batch.
OF_EACH_PROCESS = ("seconds", "tokens_per_second", "prompt_tokens_read", "advantage_spread")


class Done(NamedTuple):
    """What two processes left."""

    trainer: str
    folder: Path
    results: dict[str, Any]


@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp(request.param)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*launch, processes_job.__file__, request.param, str(folder)], check=True)
    return Done(request.param, folder, json.loads((folder / "results.json").read_text()))


def test_gradients_of_two_processes_are_those_of_the_whole_batch(done: Done) -> None:
    assert done.results["gradient"] == pytest.approx(gradient(SingleTrainerConfig().accelerator()), abs=1e-6)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_two_processes_end_with_the_weights_of_one(name: str, done: Done, tmp_path: Path) -> None:
    alone, figures = train(ALGORITHMS[name], SingleTrainerConfig(), tmp_path, 3)
    together = load_tensors(done.folder / name / "model" / WEIGHTS)
    assert alone.keys() == together.keys()
    for key, weight in alone.items():
        torch.testing.assert_close(together[key], weight, atol=1e-5, rtol=0)
    for own, others in zip(figures, done.results[name]["figures"], strict=True):
        assert others.keys() == own.keys()
        for key in own:
            if not key.endswith(OF_EACH_PROCESS):
                assert others[key] == pytest.approx(own[key], abs=1e-3), key


@pytest.mark.parametrize("name", [*ALGORITHMS, "counting"])
def test_every_process_ends_with_the_same_weights(name: str, done: Done) -> None:
    assert done.results[name]["alike"]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_stopped_and_continued_ends_bit_identical(name: str, done: Done) -> None:
    assert done.results[name]["resumed"]


def test_turns_are_counted_over_all_processes(done: Done) -> None:
    figures = done.results["counting"]["figures"]
    (taken,) = [one["rollout/total_turns"] for one in figures if one.get("rollout/total_episodes")][:1]
    begun_at_once = 2 * 4 * 10  # processes, slots, turns of an episode
    assert 30 <= taken <= 30 + begun_at_once


@pytest.mark.parametrize("name", ALGORITHMS)
def test_one_process_goes_on_from_the_checkpoint_of_two(name: str, done: Done, tmp_path: Path) -> None:
    checkpoints = done.folder / name / "checkpoints"
    for step in checkpoints.glob("*2"):
        shutil.copytree(step, tmp_path / "checkpoints" / step.name)
    alone, _ = train(ALGORITHMS[name], SingleTrainerConfig(), tmp_path, 3)
    together = load_tensors(done.folder / name / "model" / WEIGHTS)
    for key, weight in alone.items():
        torch.testing.assert_close(together[key], weight, atol=1e-5, rtol=0)


def test_only_the_main_process_writes(done: Done) -> None:
    written = {path.name for path in (done.folder / "ppo").iterdir()}
    assert written == {"checkpoints", "evaluations", "model", "best", "warm_start"}
    assert len(list((done.folder / "ppo" / "checkpoints").iterdir())) == 2
