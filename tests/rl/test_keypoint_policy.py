"""A keypoint model as a policy: exact scores, answers that mean what was drawn, training like any other's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kalie.affordance.encoding import POINTS, PRESENCES, VALUES
from kalie.affordance.heatmap import HeatmapConfig, HeatmapKeypointModel, HeatmapOutput
from kalie.affordance.parse import parse_reply
from kalie.affordance.schema import KEYPOINT_NAMES
from kalie.affordance.tokenizer import make_vocabulary
from kalie.rl.algorithms.filtered_bc import FilteredBCConfig
from kalie.rl.algorithms.ppo import PPOConfig
from kalie.rl.algorithms.reinforce import ReinforceConfig
from kalie.rl.batches import Row, turn_rows
from kalie.rl.critic import ActorCritic
from kalie.rl.envs.base import AgentEnv, ObservationSpace, Step, TextSpace
from kalie.rl.envs.manipulation import INSTRUCTION, instruction_in
from kalie.rl.envs.manipulation_config import ManipulationConfig
from kalie.rl.envs.registry import make_env
from kalie.rl.generation import HFGeneratorConfig, make_generator
from kalie.rl.keypoint_config import KeypointPolicyConfig
from kalie.rl.keypoint_policy import (
    FIELDS,
    STEPS,
    KeypointGenerator,
    KeypointPolicy,
    most_probable,
)
from kalie.rl.learner import OptimizerConfig
from kalie.rl.prompts import PromptError
from kalie.rl.rollout import Finished, RolloutConfig, RolloutEngine, episodes
from kalie.rl.types import Observation

from .training import Job, job

SIDE = 32
WORDS = ("point at the left side", "point")
FAST = OptimizerConfig(learning_rate=3e-3)


class PointsEnv(gymnasium.Env[Observation, str]):
    """Two turns of noise and an instruction; a grasp in the left half of the picture gives 1."""

    action_space = TextSpace(("{}",))
    observation_space = ObservationSpace(((48, 48, 3),))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        self._turn = 0
        return self._observe(), {}

    def step(self, action: str) -> Step:
        affordance = parse_reply(action)
        self._turn += 1
        right = affordance.grasp is not None and affordance.grasp.x < 0.5
        info = {"valid": True, "action": affordance.to_json(), "success": right}
        return self._observe(), float(right), self._turn == 2, False, info

    def _observe(self) -> Observation:
        picture = self.np_random.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        return Observation(f"A table.\n{INSTRUCTION}{WORDS[self._turn % 2]}.", (picture,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small keypoint model with drawn weights."""
    path = tmp_path_factory.mktemp("model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"widths": (16, 16), "hidden_size": 32, "layers": 1, "relate_layers": 1}
        config = HeatmapConfig(image_size=SIDE, vocabulary=make_vocabulary(WORDS), heads=2, **sizes)
        HeatmapKeypointModel(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def config(folder: Path) -> KeypointPolicyConfig:
    return KeypointPolicyConfig(weights=folder, map_temperature=1.0)


@pytest.fixture(scope="module")
def policy(config: KeypointPolicyConfig) -> KeypointPolicy:
    return KeypointPolicy.load(config)


def sampled(
    policy: KeypointPolicy, temperature: float = 0.7, slots: int = 3, count: int = 5
) -> list[Finished]:
    engine = RolloutEngine(
        PointsEnv, policy, KeypointGenerator(policy, slots, temperature), RolloutConfig(step_seconds=0), "p"
    )
    return sorted(engine.run(episodes(3, "train", 0, count)), key=lambda item: item.index)


def rows_of(finished: list[Finished]) -> list[Row]:
    return [row for item in finished for row in turn_rows(item.trajectory, 1)]


def answers(peaks: list[tuple[float, float]], presence: float = 9.0) -> HeatmapOutput:
    """One image's answers with heat-maps as they are learned: Gaussians one cell wide."""
    cells = SIDE // 4
    x = torch.arange(cells) + 0.5
    maps = [-0.5 * ((x - u * cells)[None] ** 2 + (x - v * cells)[:, None] ** 2) for u, v in peaks]
    axes = torch.zeros(1, 2, cells, cells)
    axes[:, 0] = 1.0
    return HeatmapOutput(
        torch.stack(maps)[None],
        torch.stack(maps)[None],
        axes,
        torch.full((1, PRESENCES), presence),
        torch.full((1, VALUES - 2), 0.2),
        torch.zeros(1, 4),
    )


PEAKS = [(0.31, 0.62), (0.5, 0.5), (0.13, 0.8), (0.84, 0.2), (0.4, 0.7)]


def test_stored_sampling_log_probs_equal_recomputed_ones(policy: KeypointPolicy) -> None:
    finished = sampled(policy)
    stored = np.concatenate([turn.log_probs for item in finished for turn in item.trajectory.turns])
    with torch.no_grad():
        scores = policy(policy.batch(rows_of(finished)), temperature=0.7)
    assert len(stored) == 5 * 2 * FIELDS
    assert np.abs(scores.log_probs.numpy() - stored).max() < 1e-4


def test_a_batch_scores_each_row_as_it_is_scored_alone(policy: KeypointPolicy) -> None:
    rows = rows_of(sampled(policy))
    assert len({row.spans[0][0] for row in rows}) > 1
    with torch.no_grad():
        together = policy(policy.batch(rows), entropy=True)
        alone = [policy(policy.batch([row]), entropy=True) for row in rows]
    for part in ("log_probs", "entropy", "states"):
        apart = torch.cat([getattr(scores, part) for scores in alone])
        assert (getattr(together, part) - apart).abs().max() < 1e-4


def test_every_field_is_a_distribution(policy: KeypointPolicy) -> None:
    for temperature in (0.3, 1.0):
        for field in policy.fields(answers(PEAKS, presence=0.4), temperature):
            assert abs(float(field.exp().sum()) - 1) < 1e-5
            assert abs(float(field[0, -1].exp()) - 1 / (1 + np.exp(0.4 / temperature))) < 1e-5


def test_the_text_means_the_pixels_and_steps_that_were_drawn(policy: KeypointPolicy) -> None:
    for item in sampled(policy):
        for turn in item.trajectory.turns:
            affordance, ids = parse_reply(turn.text), turn.response_ids.tolist()
            for name, token in zip(KEYPOINT_NAMES, ids, strict=False):
                point = getattr(affordance, name)
                if token == SIDE**2:
                    assert point is None
                else:
                    assert (int(point.x * SIDE), int(point.y * SIDE)) == (token % SIDE, token // SIDE)
            for steps, token in zip(STEPS, ids[POINTS:], strict=True):
                assert (getattr(affordance, steps.name) is None) == (token == steps.number)
    drawn = parse_reply(policy.text([*[SIDE**2] * POINTS, 510, 490, 500, 181, 54, 90 + 89]))
    values = [getattr(drawn, steps.name) for steps in STEPS]
    assert np.allclose(values, [0.01, -0.01, 0.0, np.pi / 180, 0.054, np.pi / 2], atol=1e-9)


def test_the_most_probable_answer_is_the_networks_own(policy: KeypointPolicy) -> None:
    fields = policy.fields(answers(PEAKS), temperature=0.0)
    ids = [int(most_probable(field)) for field in fields]
    for (u, v), token in zip(PEAKS, ids, strict=False):
        assert abs((token % SIDE + 0.5) / SIDE - u) <= 1 / SIDE
        assert abs((token // SIDE + 0.5) / SIDE - v) <= 1 / SIDE
    assert [steps.low + token for steps, token in zip(STEPS, ids[POINTS:], strict=True)] == [
        20,
        20,
        20,
        11,
        10,
        0,
    ]
    # A point that is there stays, though each of its many pixels is less probable than nothing.
    unsure = policy.fields(answers(PEAKS, presence=0.1), 0.0)
    assert float(unsure[0][0, -1]) > float(unsure[0][0, :-1].max())
    assert [int(most_probable(field)) for field in unsure] == ids
    gone = policy.fields(answers(PEAKS, presence=-0.1), 0.0)
    assert [int(most_probable(field)) for field in gone[:POINTS]] == [SIDE**2] * POINTS


def test_the_spread_of_answers_follows_the_config_and_the_temperature(
    policy: KeypointPolicy, folder: Path
) -> None:
    for sharp, temperature in ((1.0, 1.0), (0.25, 1.0), (0.25, 4.0)):
        config = KeypointPolicyConfig(weights=folder, map_temperature=sharp, scalar_sigma=4.0)
        fields = KeypointPolicy(policy.network, config).fields(answers(PEAKS), temperature)
        # In cells of four pixels, and in steps.
        points = spread(fields[1][0, :-1].reshape(SIDE, SIDE).logsumexp(0)) / 4
        assert points == pytest.approx(np.sqrt(sharp * temperature), rel=0.1)
        assert spread(fields[POINTS][0, :-1]) == pytest.approx(4.0 * np.sqrt(temperature), rel=0.02)


def spread(log_probs: Tensor) -> float:
    """Standard deviation of an index with these unnormalised log-probabilities."""
    shares = log_probs.softmax(0)
    index = torch.arange(len(shares))
    return float((shares * (index - (shares * index).sum()) ** 2).sum().sqrt())


def test_a_grasp_direction_has_no_ends(policy: KeypointPolicy) -> None:
    output = answers(PEAKS)
    output.axes[:, 0] = -1.0  # cos and sin of twice 90 degrees
    yaw = policy.fields(output, 1.0)[-1][0]
    assert int(most_probable(yaw[None])) + STEPS[-1].low == 90
    assert float(yaw[0]) == pytest.approx(float(yaw[STEPS[-1].number - 2]), abs=1e-3)


def test_when_an_observation_is_not_the_arms_expect_an_error(policy: KeypointPolicy) -> None:
    picture = np.zeros((8, 8, 3), dtype=np.uint8)
    for wrong, message in (
        (Observation("say a", (picture,)), "Instruction"),
        (Observation(f"{INSTRUCTION}sweep."), "one square picture"),
        (Observation(f"{INSTRUCTION}sweep.", (picture[:4],)), "one square picture"),
    ):
        with pytest.raises(PromptError, match=message):
            policy.conversation().observe(wrong)
    with pytest.raises(ValueError, match="one picture with one response"):
        policy.batch([Row(np.zeros(3, dtype=np.int64), (), ((1, 3),))])


def test_the_value_head_does_not_bend_the_network(policy: KeypointPolicy) -> None:
    critic = ActorCritic(policy, (8,), per="token", moves_policy=True)
    critic(policy.batch(rows_of(sampled(policy)))).values.sum().backward()
    assert all(weight.grad is None for weight in policy.parameters())
    assert all(weight.grad is not None for weight in critic.value.parameters())


def test_the_frozen_layers_are_no_trained_weights(policy: KeypointPolicy) -> None:
    names = policy.trained().keys()
    assert not any(name.startswith("network.backbone.stem") for name in names)
    assert any(name.startswith("network.backbone.blocks") for name in names)
    assert "network.presence.weight" in names


SMALL: dict[str, Any] = {
    "ppo": PPOConfig(episodes=4, epochs=2, kl_coefficient=0.1, optimizer=FAST),
    "reinforce": ReinforceConfig(episodes=4, kl_coefficient=0.1, optimizer=FAST),
    "filtered_bc": FilteredBCConfig(episodes=4, share=0.5, optimizer=FAST),
}


def arm_job(name: str, folder: Path, config: KeypointPolicyConfig, **trainer: Any) -> Job:  # noqa: ANN401
    return job(SMALL[name], folder, make_env=PointsEnv, model=config, slots=4, **trainer)


@pytest.mark.parametrize("name", SMALL)
def test_stopped_and_continued_ends_bit_identical_in_a_folder_that_is_a_keypoint_model(
    name: str, config: KeypointPolicyConfig, tmp_path: Path
) -> None:
    whole = arm_job(name, tmp_path / "whole", config, updates=2)
    before = whole.weights()
    whole.train()
    arm_job(name, tmp_path / "parts", config, updates=1).train()
    rest = arm_job(name, tmp_path / "parts", config, updates=2)
    rest.train()
    for key, weight in whole.weights().items():
        assert torch.equal(rest.weights()[key], weight), key
    assert any(not torch.equal(weight, before[key]) for key, weight in whole.weights().items())
    saved = HeatmapKeypointModel.load(tmp_path / "parts" / "model")
    weights = {f"network.{key}": weight for key, weight in saved.named_parameters()}
    assert all(torch.equal(weights[key], weight) for key, weight in whole.weights().items())
    picture = np.full((40, 40, 3), 99, dtype=np.uint8)
    assert saved.predict([picture], ["point"])[0].valid
    again = KeypointPolicy.load(KeypointPolicyConfig(weights=tmp_path / "parts" / "model"))
    assert all(torch.equal(again.trained()[key], weight) for key, weight in whole.weights().items())


def test_the_ratio_is_1_before_the_first_step(config: KeypointPolicyConfig, tmp_path: Path) -> None:
    running = arm_job("ppo", tmp_path, config, updates=1)
    running.algorithm.collect(0)
    metrics = running.algorithm._loss(running.algorithm._samples).metrics
    assert float(metrics["clipped"]) == 0
    assert abs(float(metrics["drift"])) < 1e-8


def test_ppo_learns_where_to_point(config: KeypointPolicyConfig, tmp_path: Path) -> None:
    learner = PPOConfig(episodes=24, gae_lambda=1.0, epochs=2, step_turns=24, optimizer=FAST)
    running = job(learner, tmp_path, make_env=PointsEnv, model=config, updates=10, checkpoint_every=99)
    returns = [one["rollout/return"] for one in running.train()]
    assert returns[0] < 1.2
    assert max(returns[-3:]) > 1.6, returns


def test_generators_of_equal_seeds_answer_alike_however_many_slots(policy: KeypointPolicy) -> None:
    one, many = sampled(policy, slots=1), sampled(policy, slots=4)
    for a, b in zip(one, many, strict=True):
        for turn, other in zip(a.trajectory.turns, b.trajectory.turns, strict=True):
            assert turn.response_ids.tolist() == other.response_ids.tolist()
    generator = make_generator(HFGeneratorConfig(slots=2), policy)
    with pytest.raises(RuntimeError, match="no response"):
        generator.poll()


def test_the_arms_observation_holds_its_instruction_and_an_answer_moves_it() -> None:
    policy = KeypointPolicy.load(KeypointPolicyConfig(weights=Path("tasks")))
    env: AgentEnv = make_env(ManipulationConfig(task="drawer", tries=1))
    observation, info = env.reset(seed=1)
    assert instruction_in(observation) == info["instruction"]
    prompt = policy.conversation().observe(observation)
    ((ids, log_probs),) = policy.answer([prompt], np.full((1, FIELDS), 0.5, dtype=np.float32), 0.0)
    _, _, _, truncated, facts = env.step(policy.text(ids.tolist()))
    env.close()
    assert facts["valid"]
    assert truncated or facts["success"]
    assert functional.softplus(torch.tensor(log_probs)).isfinite().all()
