"""What critics expect of episodes: saved with a run, loaded without its training, the same as by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kalie.core.checkpoint import CheckpointError
from kalie.rl.algorithms.archer import ArcherConfig
from kalie.rl.algorithms.best_of_n import BestOfNConfig
from kalie.rl.algorithms.cot_ppo import CoTPPOConfig
from kalie.rl.algorithms.filtered_bc import FilteredBCConfig
from kalie.rl.algorithms.ppo import PPOConfig
from kalie.rl.critic import CriticConfig
from kalie.rl.registry import load_valuer
from kalie.rl.trainer import CRITIC

from .letters import LettersEnv
from .training import job, speaks

ARCHER = ArcherConfig(
    episodes=4, critic_steps=2, step_turns=8, micro_turns=3, critic=CriticConfig(hidden=16, layers=1, heads=2)
)
CONFIGS: dict[str, Any] = {
    "ppo": PPOConfig(episodes=4, epochs=1),
    "cot_ppo": CoTPPOConfig(turns=0, episodes=4, epochs=1),
    "archer": ARCHER,
    "best_of_n": BestOfNConfig(samples=2, critic=ARCHER),
}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaks(tmp_path_factory.mktemp("warm"))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_saved_critic_expects_what_the_trained_one_does(name: str, warm: Path, tmp_path: Path) -> None:
    running = job(CONFIGS[name], tmp_path, weights=warm, updates=1)
    running.train()
    collected = running.tools.collector.collect("a", 3, valuer=running.algorithm.valuer)
    played = [item.trajectory for item in collected.finished]
    loaded = load_valuer(CONFIGS[name], running.policy, tmp_path / "model" / CRITIC)
    assert loaded is not None
    for trajectory, ours, theirs in zip(played, loaded.values(played), collected.values, strict=True):
        tokens = sum(len(turn.response_ids) for turn in trajectory.turns)
        assert len(ours) == (tokens if name == "ppo" else len(trajectory.turns)) + 1
        assert np.array_equal(ours, theirs)
        assert np.ptp(ours[:-1]) > 0


def test_an_algorithm_without_a_critic_saves_and_loads_none(warm: Path, tmp_path: Path) -> None:
    config = FilteredBCConfig(episodes=4)
    running = job(config, tmp_path, weights=warm, updates=1)
    running.train()
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["policy.safetensors"]
    assert load_valuer(config, running.policy, tmp_path / "model" / CRITIC) is None


def test_when_a_saved_critic_is_cut_short_expect_its_name(warm: Path, tmp_path: Path) -> None:
    running = job(CONFIGS["ppo"], tmp_path, weights=warm, updates=1)
    running.train()
    path = tmp_path / "model" / CRITIC
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=r"critic\.safetensors"):
        load_valuer(CONFIGS["ppo"], running.policy, path)


@pytest.mark.parametrize("truncate", [True, False])
def test_the_utterance_critics_values_are_its_smaller_heads_and_0_past_a_terminated_end(
    warm: Path, tmp_path: Path, truncate: bool
) -> None:
    running = job(ARCHER, tmp_path, weights=warm, make_env=lambda: LettersEnv(truncate=truncate))
    collected = running.tools.collector.collect("a", 2, valuer=running.algorithm.valuer)
    for item, values in zip(collected.finished, collected.values, strict=True):
        states = [turn.prompt_ids for turn in item.trajectory.turns]
        with torch.no_grad():
            both = running.algorithm.target(states, None).v
        np.testing.assert_allclose(values[:-1], both.min(dim=0).values.numpy(), atol=1e-6)
        assert (values[-1] != 0) == truncate
