"""The comparison of rl/ with others: all sides compute the same, and its CartPole driver is PPO."""

from __future__ import annotations

import copy
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import kalie
from kalie.rl.advantages import gae
from kalie.rl.models import TinyLMConfig
from kalie.rl.policy import Policy

HERE = Path(kalie.__file__).parent / "benchmarks"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("method", ["sft", "dpo", "grpo"])
def test_the_bare_loop_and_ours_have_the_same_losses_step_by_step(scripts: None, method: str) -> None:
    updates = script("_updates")
    policy = Policy.load(TinyLMConfig(hidden=32, layers=2), 0)
    rows = updates.draw_rows(method, policy.network, length=24, batch=4, seed=0)
    bare = updates.Bare(method, copy.deepcopy(policy.network), rows)
    ours = updates.Ours(method, policy, rows)
    for _ in range(2 * updates.BATCHES):
        bare.step()
        ours.step()
    assert ours.losses == pytest.approx(bare.losses, abs=1e-5)
    # The rows came round again, and something was learnt from them.
    first, second = np.split(np.array(ours.losses), 2)
    assert (second < first).all()


def test_rows_of_preferences_share_their_prompt_in_pairs(scripts: None) -> None:
    updates = script("_updates")
    network = Policy.load(TinyLMConfig(hidden=32, layers=1), 0).network
    rows = updates.draw_rows("dpo", network, length=24, batch=4, seed=0)
    assert rows.prompts[0::2] == rows.prompts[1::2]
    assert rows.responses[0::2] != rows.responses[1::2]
    assert all(len(p) + len(r) <= 24 for p, r in zip(rows.prompts, rows.responses, strict=True))
    assert [rows.step(index).start for index in range(updates.BATCHES + 1)] == [0, 4, 8, 12, 0]


def test_each_piece_of_an_episode_is_estimated_by_itself(scripts: None) -> None:
    """One environment ends at step 2 in its own terms and is cut at step 4; the other goes on."""
    cartpole = script("_cartpole")
    rng = np.random.default_rng(0)
    values, rewards = rng.normal(size=(6, 2)), np.ones((6, 2))
    ended = np.zeros((6, 2), dtype=bool)
    ended[[1, 3], 0] = True
    after = np.zeros((6, 2))
    after[[3, 5], 0] = 3.0, 5.0
    after[5, 1] = 7.0
    steps = cartpole.Steps(np.zeros(0), np.zeros(0), np.zeros(0), values, rewards, after, ended)
    advantages, returns = cartpole.estimates(steps, 0.9, 0.8)
    pieces = [(0, slice(0, 2), 0.0, True), (0, slice(2, 4), 3.0, False), (0, slice(4, 6), 5.0, False)]
    for env, piece, last, terminated in [*pieces, (1, slice(0, 6), 7.0, False)]:
        wanted = gae(rewards[piece, env], values[piece, env], last, terminated, 0.9, 0.8)
        np.testing.assert_allclose(advantages[piece, env], wanted.advantages)
        np.testing.assert_allclose(returns[piece, env], wanted.returns)


@pytest.mark.slow
def test_cartpole_is_learnt_from_the_parts_of_rl(scripts: None) -> None:
    cartpole = script("_cartpole")
    training = cartpole.CartPolePPO(cartpole.CartPoleConfig())

    def mean_return(iterations: int) -> float:
        before = training.episodes
        training.seconds(iterations)
        return iterations * 256 / (training.episodes - before)

    assert mean_return(5) < 40
    mean_return(50)
    assert mean_return(20) > 120


def test_when_a_peer_ends_expect_an_error_that_names_its_script(scripts: None) -> None:
    with pytest.raises(RuntimeError, match=r"missing\.py ended with code 2"):
        script("_peers").Peer(sys.executable, "missing.py")


@pytest.mark.slow
def test_the_comparison_runs_without_peers_and_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    def rows(*more: str) -> list[dict[str, Any]]:
        command = [sys.executable, str(HERE / "rl_throughput.py"), "--quick", "--outputs", str(tmp_path)]
        subprocess.run([*command, "--name", "a", *more], check=True)
        return json.loads((tmp_path / "rl_throughput" / "a" / "summary.json").read_text("utf-8"))["rows"]

    first = rows()
    assert {row["yardstick"] for row in first} == {
        "bare loop",
        "one environment at a time",
        "every prompt read again",
        "turns 9-24",
    }
    losses = [float(row["loss_difference"]) for row in first if row["loss_difference"]]
    assert len(losses) == 3
    assert max(losses) < 1e-5
    (tmp_path / "rl_throughput" / "a" / "cells" / "sft-0.1M-32.json").unlink()
    again = rows("--resume")
    assert [row["what"] for row in again] == [row["what"] for row in first]
    assert again[1:] == first[1:]
