"""ArCHer: targets, losses, target network by hand; the critic reaches the values of dynamic programming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kalie.rl.algorithms.archer import (
    ArcherConfig,
    actor_loss,
    critic_loss,
    td_targets,
    utterance_advantages,
)
from kalie.rl.algorithms.archer_offline import (
    OfflineArcherConfig,
    expectile_loss,
    weighted_cloning_loss,
)
from kalie.rl.algorithms.best_of_n import BestOfN, BestOfNConfig, best
from kalie.rl.batches import Row, collate
from kalie.rl.critic import (
    LEAST_LOG_PROB,
    POLICY,
    CriticConfig,
    UtteranceValues,
    make_critic,
    polyak,
    target_of,
)
from kalie.rl.decoder import SlotDecoder
from kalie.rl.generation import respond_all
from kalie.rl.learner import OptimizerConfig
from kalie.rl.models import TinyLMConfig, TinyVLMConfig
from kalie.rl.policy import Policy, language_of
from kalie.rl.prompts import Prompt
from kalie.rl.replay import Transition
from kalie.rl.store import TrajectoryStore
from kalie.rl.transitions import experience, response_row
from kalie.rl.types import Observation

from .letters import LettersEnv, asks
from .tabular import N, TableEnv, exact_values, letter_ids, say_letters_alone
from .training import MODEL, job, speaks

BATCH = collate([Row(np.arange(6), (), ((2, 4),)), Row(np.arange(9), (), ((1, 2), (5, 8)))], 0, None)
SEEING = TinyVLMConfig(hidden=32, layers=1, heads=2, vision_layers=1, image_size=32)
SMALL = ArcherConfig(
    episodes=6,
    critic_steps=3,
    actor_steps=2,
    warmup=1,
    step_turns=8,
    micro_turns=4,
    token_baseline=True,
    critic=CriticConfig(hidden=16, layers=1, heads=2),
)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaks(tmp_path_factory.mktemp("warm"))


def test_targets_bootstrap_only_where_the_episode_goes_on() -> None:
    next_v = torch.tensor([[10.0, 10.0], [20.0, 20.0]])
    out = td_targets(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0]), next_v, gamma=0.5)
    assert out.tolist() == [[6.0, 2.0], [11.0, 2.0]]


def test_the_critics_loss_matches_hand_computation() -> None:
    values = UtteranceValues(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[3.0, 3.0], [1.0, 5.0]]))
    out = critic_loss(values, torch.zeros(2, 2), torch.ones(2, 2))
    assert float(out.q_loss) == pytest.approx((1 + 4) / 2)
    assert float(out.v_loss) == pytest.approx((4 + 4) / 2 + (0 + 16) / 2)
    assert float(out.loss) == pytest.approx(2.5 + 12)


def test_the_actors_loss_matches_hand_computation() -> None:
    log_probs = -torch.arange(1.0, 7.0)
    advantages = torch.tensor([1.0, -1.0, 2.0])
    assert float(actor_loss(log_probs, BATCH, advantages).loss) == pytest.approx(-(-3 + 3 - 30) / 3)
    baseline = torch.full((6,), 1.0)
    out = actor_loss(log_probs, BATCH, advantages, baseline)
    # A - v: 0, 0, -2, 1, 1, 1
    assert float(out.loss) == pytest.approx(-(0 + 6 - 15) / 3)
    # Each turn counts once, however many tokens it has.
    assert float(out.baseline_loss) == pytest.approx((0 + 4 + 1) / 3)


def test_expectiles_and_weights_match_hand_computation() -> None:
    error = torch.tensor([[1.0, -1.0], [2.0, 0.0]])
    assert float(expectile_loss(error, 0.9)) == pytest.approx((0.9 + 0.1) / 2 + 3.6 / 2)
    log_probs = -torch.arange(1.0, 7.0)
    advantages = torch.tensor([0.0, np.log(2.0), np.log(8.0)])
    assert float(weighted_cloning_loss(log_probs, BATCH, advantages, 1.0, 0.0)) == pytest.approx(
        (3 + 2 * 3 + 8 * 15) / 3
    )
    assert float(weighted_cloning_loss(log_probs, BATCH, advantages, 1.0, 4.0)) == pytest.approx(
        (3 + 2 * 3 + 4 * 15) / 3
    )


def test_the_target_moves_by_tau_and_starts_equal() -> None:
    online: Any = nn.Linear(2, 1)
    target: Any = target_of(online)
    start = online.weight.detach().clone()
    assert torch.equal(target.weight, start)
    with torch.no_grad():
        online.weight.add_(1.0)
    polyak(target, online, 0.25)
    torch.testing.assert_close(target.weight, start + 0.25)
    assert not target.weight.requires_grad


@pytest.mark.parametrize(("source", "model"), [("", MODEL), (POLICY, MODEL), (POLICY, SEEING)])
def test_values_do_not_depend_on_padding_and_long_histories_lose_their_beginning(
    source: str, model: TinyLMConfig | TinyVLMConfig
) -> None:
    policy = Policy.load(model, 0)
    critic = make_critic(CriticConfig(source, hidden=16, layers=1, heads=2, max_tokens=8), policy, 0)
    rng = np.random.default_rng(0)
    states = [rng.integers(1, 50, n) for n in (3, 8, 30)]
    utterances = [rng.integers(1, 50, n) for n in (2, 5, 1)]
    with torch.no_grad():
        together = critic(states, utterances)
        for index in range(3):
            alone = critic(states[index : index + 1], utterances[index : index + 1])
            torch.testing.assert_close(together.q[:, index], alone.q[:, 0], atol=1e-6, rtol=0)
        cut = critic([states[2][-8:]], None)
    torch.testing.assert_close(together.v[:, 2], cut.v[:, 0], atol=1e-6, rtol=0)
    assert not torch.equal(together.q[0], together.q[1])


def test_a_critic_on_the_policys_network_reads_an_utterance_where_the_answer_to_it_would_begin() -> None:
    policy = Policy.load(MODEL, 0)
    critic = make_critic(CriticConfig(POLICY), policy, 0)
    state, said = policy.conversation().observe(Observation("a")).ids, np.array([65, policy.end_ids[0]])
    whole = [*state, *said, *policy.renderer.opening().after(said)]
    assert len(whole) > len(state) + len(said)
    with torch.no_grad():
        hidden = policy.backbone(input_ids=torch.tensor([whole])).last_hidden_state[0]
        scores = policy(policy.batch([response_row(Prompt(state, ()), said)]))
        likely = scores.log_probs.sum().clamp(min=LEAST_LOG_PROB)[None]
        both = torch.cat([hidden[len(state) - 1], hidden[-1], likely])
        expected = torch.cat([head(both) for head in critic.q_heads])
        torch.testing.assert_close(critic([state], [said]).q[:, 0], expected, atol=1e-6, rtol=0)


def test_a_critic_reads_a_state_up_to_the_end_of_what_every_utterance_begins_with() -> None:
    policy = Policy.load(MODEL, 0)
    state = policy.conversation().observe(Observation("a")).ids
    prefix = policy.renderer.text_ids("Is it")
    for utterances in (None, [np.array([65, policy.end_ids[0]])]):
        critic = make_critic(CriticConfig(POLICY, prefix="Is it"), policy, 0)
        with torch.no_grad():
            hidden = policy.backbone(input_ids=torch.tensor([[*state, *prefix]])).last_hidden_state[0, -1]
            expected = torch.cat([head(hidden) for head in critic.v_heads])
            torch.testing.assert_close(critic([state], utterances).v[:, 0], expected, atol=1e-6, rtol=0)


def test_a_prefix_for_a_critic_that_reads_utterances_apart_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prefix='Is it' is for source=policy"):
        CriticConfig(prefix="Is it")


def test_a_critic_on_the_policys_network_starts_as_its_copy_and_learns_apart_from_it(
    warm: Path, tmp_path: Path
) -> None:
    config = replace(SMALL, critic=CriticConfig(POLICY))
    running = job(config, tmp_path, weights=warm, updates=1)
    before = running.weights()
    copied = dict(running.algorithm.critic.encoder.network.named_parameters())
    own = dict(language_of(running.policy).backbone.named_parameters())
    assert copied.keys() == own.keys()
    assert all(torch.equal(copied[name], own[name]) for name in own)
    running.train()
    assert all(torch.equal(weight, before[key]) for key, weight in running.weights().items())
    assert all(not torch.equal(copied[name], own[name]) for name in own)


def test_an_encoder_without_a_rate_stays_as_it_is_while_the_heads_learn(warm: Path, tmp_path: Path) -> None:
    critic = CriticConfig(POLICY, encoder_rate=0.0)
    running = job(replace(SMALL, critic=critic), tmp_path, weights=warm, updates=1)
    before = {name: weight.clone() for name, weight in running.algorithm.critic.named_parameters()}
    running.train()
    for name, weight in running.algorithm.critic.named_parameters():
        assert torch.equal(weight, before[name]) is name.startswith("encoder."), name


def test_when_an_encoder_that_has_learnt_nothing_is_to_stay_so_expect_it_refused() -> None:
    with pytest.raises(ValueError, match=r"encoder_rate=0 .* set source"):
        CriticConfig(encoder_rate=0.0)


def test_several_utterances_of_a_state_are_judged_by_the_others_mean() -> None:
    q = torch.tensor([[1.0, 2.0, 6.0, 0.0, 0.0, 3.0], [9.0, 9.0, 9.0, 0.0, 9.0, 9.0]])
    v = torch.tensor([[0.5, 1.0, 2.0, 1.0, -1.0, 1.0], [0.0, 2.0, 2.0, 2.0, 0.0, 1.0]])
    values = UtteranceValues(q, v)
    assert utterance_advantages(values, 3).tolist() == [1 - 4, 2 - 3.5, 6 - 1.5, 0 - 1.5, 0 - 1.5, 3 - 0]
    assert utterance_advantages(values, 1).tolist() == [1.0, 1.0, 4.0, -1.0, 1.0, 2.0]


def test_utterances_of_a_state_stand_side_by_side_and_only_differences_among_them_move_the_actor(
    warm: Path, tmp_path: Path
) -> None:
    config = replace(SMALL, utterances=4, step_turns=8, micro_turns=4, token_baseline=False)
    running = job(config, tmp_path, weights=warm)
    algorithm = running.algorithm
    algorithm.collect(0)
    drawn = algorithm._draw(np.random.default_rng(0), 4)
    assert [len(part) for part in drawn] == [1, 1]
    judged: list[list[list[int]]] = []

    def alike(states: Any, utterances: Any) -> UtteranceValues:  # noqa: ANN401  token ids
        judged.append([ids.tolist() for ids in states])
        return UtteranceValues(torch.full((2, len(states)), 3.0), torch.zeros(2, len(states)))

    algorithm.critic = alike
    before = running.weights()
    algorithm._actor_step(np.random.default_rng(0))
    assert len(judged) == 2
    assert all(len(states) == 4 and states.count(states[0]) == 4 for states in judged)
    assert all(torch.equal(weight, before[key]) for key, weight in running.weights().items())


def test_what_the_policy_at_the_start_would_rarely_say_costs_its_divergence(
    warm: Path, tmp_path: Path
) -> None:
    config = replace(SMALL, utterances=2, step_turns=8, micro_turns=8, kl_coefficient=0.5)
    running = job(config, tmp_path, weights=warm)
    policy = language_of(running.policy)
    prompt = policy.conversation().observe(Observation("a"))
    said = [np.array([65, policy.end_ids[0]]), np.array([66, 67, policy.end_ids[0]])]
    batch = policy.batch([response_row(prompt, ids) for ids in said])
    before = policy(batch).log_probs.detach()
    advantages = torch.tensor([1.0, 2.0])
    kept, _ = running.algorithm._held(advantages, batch, before)
    torch.testing.assert_close(kept, advantages, atol=1e-5, rtol=0)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    after = policy(batch).log_probs.detach()
    ratios = batch.per_turn(after - before)
    held, metrics = running.algorithm._held(advantages, batch, after)
    assert float((ratios[0] - ratios[1]).abs()) > 0.01
    expected = advantages - 0.5 * torch.stack([ratios[0] - ratios[1], ratios[1] - ratios[0]])
    torch.testing.assert_close(held, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(metrics["kl"], ratios.mean(), atol=1e-5, rtol=0)


def test_transitions_that_several_steps_use_keep_their_utterances(warm: Path, tmp_path: Path) -> None:
    running = job(replace(SMALL, critic_steps=6, reuse=3), tmp_path, weights=warm)
    algorithm = running.algorithm
    algorithm.collect(0)
    asked: list[int] = []
    respond = algorithm._respond

    def counted(prompts: Any, rngs: Any) -> Any:  # noqa: ANN401  as it gets them
        asked.append(len(prompts))
        return respond(prompts, rngs)

    algorithm._respond = counted
    algorithm._critic_steps(np.random.default_rng(0))
    assert sum(asked) == 2 * SMALL.step_turns


@pytest.mark.parametrize(("step_turns", "micro_turns"), [(4, 6), (6, 4)])
def test_when_a_batch_cannot_hold_whole_states_expect_it_refused(step_turns: int, micro_turns: int) -> None:
    with pytest.raises(ValueError, match="multiples of utterances=3"):
        ArcherConfig(utterances=3, step_turns=step_turns, micro_turns=micro_turns)


def test_what_an_encoder_remembers_is_what_it_would_read(warm: Path) -> None:
    policy = Policy.load(MODEL, 0)
    rng = np.random.default_rng(0)
    states = [rng.integers(1, 50, n) for n in (3, 8, 30, 3)]
    utterances = [rng.integers(1, 50, n) for n in (2, 5, 1, 2)]
    plain = make_critic(CriticConfig(POLICY), policy, 0)
    remembering = make_critic(CriticConfig(POLICY, encoder_rate=0.0), policy, 0)
    reads: list[int] = []
    network = remembering.encoder._encoder.network
    network.register_forward_hook(lambda *args: reads.append(len(args[2].last_hidden_state)))
    with torch.no_grad():
        for _ in range(2):
            for said in (utterances, None):
                found, expected = remembering(states, said), plain(states, said)
                torch.testing.assert_close(found.v, expected.v, atol=1e-6, rtol=0)
                torch.testing.assert_close(found.q, expected.q, atol=1e-6, rtol=0)
        assert sum(reads) == 4 + 4
        remembering.forget()
        remembering(states[:1], None)
    assert sum(reads) == 4 + 4 + 1
    assert target_of(remembering).encoder is remembering.encoder


def test_experience_follows_turns_and_bootstraps_cut_ends_alone(warm: Path, tmp_path: Path) -> None:
    for truncate in (True, False):
        running = job(SMALL, tmp_path, weights=warm, make_env=lambda t=truncate: LettersEnv(truncate=t))
        (item,) = running.tools.collector.collect("a", 1).finished
        parts = [Transition(item.trajectory, index) for index in range(3)]
        data = experience(running.policy, parts, cap_is_terminal=False)
        assert data.done.tolist() == [0.0, 0.0, float(not truncate)]
        assert data.following[0].ids.tolist() == data.prompts[1].ids.tolist()
        assert experience(running.policy, parts, cap_is_terminal=True).done.tolist() == [0.0, 0.0, 1.0]
        if truncate:
            final = running.policy.conversation().observe(item.trajectory.final_observation)
            assert data.following[2].ids.tolist() == final.ids.tolist()


def test_the_actor_stays_bit_identical_during_the_warm_up_and_moves_after_it(
    warm: Path, tmp_path: Path
) -> None:
    running = job(SMALL, tmp_path, weights=warm, updates=1)
    before, critic = running.weights(), [w.clone() for w in running.algorithm.critic.parameters()]
    running.train()
    assert all(torch.equal(weight, before[key]) for key, weight in running.weights().items())
    assert any(
        not torch.equal(a, b) for a, b in zip(running.algorithm.critic.parameters(), critic, strict=True)
    )
    running.algorithm.collect(1)
    running.algorithm.update(1)
    assert all(not torch.equal(weight, before[key]) for key, weight in running.weights().items())


def test_the_actors_gradient_reaches_no_critic_weight(warm: Path, tmp_path: Path) -> None:
    running = job(SMALL, tmp_path, weights=warm)
    running.algorithm.collect(0)
    for weight in running.algorithm.critic.parameters():
        weight.grad = None
    running.algorithm._actor_step(np.random.default_rng(0))
    assert all(weight.grad is None for weight in running.algorithm.critic.parameters())


@pytest.mark.parametrize("name", ["archer", "archer_frugal", "best_of_n", "best_of_n_frugal"])
def test_stopped_and_continued_ends_bit_identical(name: str, warm: Path, tmp_path: Path) -> None:
    reading = CriticConfig(POLICY, encoder_rate=0.0)
    frugal = replace(
        SMALL, critic=reading, step_turns=8, micro_turns=8, utterances=2, reuse=2, kl_coefficient=0.1
    )
    config = {
        "archer": SMALL,
        "archer_frugal": frugal,
        "best_of_n": BestOfNConfig(samples=2, critic=SMALL),
        "best_of_n_frugal": BestOfNConfig(samples=2, critic=frugal),
    }[name]
    whole = job(config, tmp_path / "whole", weights=warm, updates=3)
    whole.train()
    job(config, tmp_path / "parts", weights=warm, updates=2).train()
    rest = job(config, tmp_path / "parts", weights=warm, updates=3)
    assert len(rest.train()) == 1
    for key, weight in whole.weights().items():
        assert torch.equal(rest.weights()[key], weight), key
    for ours, theirs in zip(
        rest.algorithm.target.parameters(), whole.algorithm.target.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert len(rest.algorithm.buffer) == 3 * 6 * 3


def test_the_offline_variant_stopped_and_continued_ends_bit_identical(warm: Path, tmp_path: Path) -> None:
    source = job(SMALL, tmp_path / "source", weights=warm)
    TrajectoryStore(tmp_path / "data").write("data", source.tools.collector.collect("a", 6).finished)
    config = OfflineArcherConfig(
        tmp_path / "data", steps=2, warmup=1, step_turns=8, critic=CriticConfig(hidden=16, layers=1, heads=2)
    )
    whole = job(config, tmp_path / "whole", weights=warm, updates=3)
    whole.train()
    job(config, tmp_path / "parts", weights=warm, updates=2).train()
    rest = job(config, tmp_path / "parts", weights=warm, updates=3)
    assert len(rest.train()) == 1
    weights = [{**one.weights(), **one.algorithm.target.state_dict()} for one in (rest, whole)]
    for key, weight in weights[0].items():
        assert torch.equal(weight, weights[1][key]), key


# Of an actor that draws lots, a value is learnt from single answers, whose noise the last steps average.
@pytest.mark.parametrize(
    ("temperature", "step_turns", "tolerance"),
    [(0.01, 256, 2e-3), (1.0, 512, 1e-2)],
    ids=["sure", "draws"],
)
def test_the_critic_reaches_the_values_of_dynamic_programming(
    temperature: float, step_turns: int, tolerance: float, warm: Path, tmp_path: Path
) -> None:
    """The buffer is of random answers, the frozen actor's own are sharper or alike: its Q and V are known."""
    config = ArcherConfig(
        episodes=150,
        critic_steps=20,
        actor_steps=0,
        warmup=1000,
        step_turns=step_turns,
        micro_turns=step_turns,
        gamma=0.5,
        tau=0.2,
        critic=CriticConfig(hidden=32, layers=1, heads=2),
        critic_optimizer=OptimizerConfig(learning_rate=3e-3, schedule="cosine"),
    )
    running = job(
        config,
        tmp_path,
        weights=warm,
        make_env=TableEnv,
        updates=24,
        checkpoint_every=100,
        slots=256,
        max_new_tokens=1,
    )
    policy = language_of(running.policy)
    say_letters_alone(policy)
    running.algorithm._generator = SlotDecoder(policy, 256, 1, temperature)
    running.train()
    exact = exact_values(policy, config.gamma, temperature)
    assert np.ptp(exact.v) > 0.5
    states = [policy.conversation().observe(asks(state)).ids for state in range(N)]
    answers = letter_ids(policy)
    with torch.no_grad():
        found = running.algorithm.critic([state for state in states for _ in answers], N * answers)
    q, v = (part.double().numpy().reshape(2, N, N) for part in found)
    np.testing.assert_allclose(q, np.stack([exact.q, exact.q]), rtol=0, atol=tolerance)
    np.testing.assert_allclose(v[:, :, 0], np.stack([exact.v, exact.v]), rtol=0, atol=tolerance)


def test_the_offline_variant_prefers_what_paid(warm: Path, tmp_path: Path) -> None:
    source = job(SMALL, tmp_path / "source", weights=warm, slots=32, max_new_tokens=2)
    store = TrajectoryStore(tmp_path / "data")
    store.write("data", source.tools.collector.collect("a", 80).finished)
    config = OfflineArcherConfig(
        tmp_path / "data",
        steps=30,
        warmup=2,
        gamma=0.0,
        beta=6.0,
        weight_limit=20.0,
        step_turns=64,
        critic=CriticConfig(hidden=32, layers=1, heads=2),
        critic_optimizer=OptimizerConfig(learning_rate=3e-3),
        optimizer=OptimizerConfig(learning_rate=3e-3),
    )
    running = job(config, tmp_path / "run", weights=warm, updates=5, slots=32, max_new_tokens=2)
    before = source.tools.collector.collect("b", 60).metrics["rollout/return"]
    running.train()
    after = running.tools.collector.collect("c", 60).metrics["rollout/return"]
    assert after > before + 0.4, (before, after)


class Prefers(nn.Module):
    """A critic that likes long utterances."""

    def forward(self, states: list[Any], utterances: list[Any]) -> UtteranceValues:
        q = torch.tensor([float(len(ids)) for ids in utterances]).expand(2, -1)
        return UtteranceValues(q, torch.zeros(2, len(states)))


def test_the_best_of_n_is_the_critics_choice_among_what_the_policy_says(policy: Policy) -> None:
    prompts = [policy.conversation().observe(Observation("x" * n)) for n in range(6)]

    def lengths(samples: int) -> list[int]:
        decoder = SlotDecoder(policy, 3 * samples, 200, 3.0)
        chooser = BestOfN(decoder, Prefers(), samples)
        rngs = [np.random.default_rng(n) for n in range(6)]
        return [len(response.ids) for response in respond_all(chooser, prompts, rngs)]

    one, four = lengths(1), lengths(4)
    assert all(many >= single for many, single in zip(four, one, strict=True))
    assert sum(four) > sum(one)
    assert best(Prefers(), Prompt(np.arange(3), ()), [np.arange(2), np.arange(5), np.arange(3)]) == 1
