"""Scoring: exact, independent of the batch, and equal to what was sampled."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from kalie.rl.batches import Row, by_size, collate, joined_rows, turn_rows
from kalie.rl.decoder import SlotDecoder
from kalie.rl.models import LanguageConfig, TinyLMConfig, TinyVLMConfig
from kalie.rl.policy import Policy
from kalie.rl.rollout import Finished, RolloutConfig, RolloutEngine, episodes

from .letters import LettersEnv

TINY: dict[str, Any] = {"hidden": 32, "layers": 2, "heads": 2, "window": 0}
CONFIGS: dict[str, LanguageConfig] = {
    "lm": TinyLMConfig(**TINY),
    "lm_lora": TinyLMConfig(**TINY, lora_rank=2),
    "lm_window": TinyLMConfig(**{**TINY, "window": 2}),
    "vlm": TinyVLMConfig(**TINY, vision_layers=1, image_size=32),
}


def sampled(policy: Policy, temperature: float = 0.7, slots: int = 5, count: int = 8) -> list[Finished]:
    size = 24 if policy.images else 0
    engine = RolloutEngine(
        lambda: LettersEnv(rounds=3, image_size=size),
        policy,
        SlotDecoder(policy, slots, 7, temperature),
        RolloutConfig(step_seconds=0),
        "letters",
    )
    return sorted(engine.run(episodes(3, "train", 0, count)), key=lambda item: item.index)


def rows_of(finished: list[Finished], window: int) -> list[Row]:
    return [row for item in finished for row in turn_rows(item.trajectory, window)]


@pytest.mark.parametrize("name", CONFIGS)
def test_stored_sampling_log_probs_equal_recomputed_ones(name: str) -> None:
    policy = Policy.load(CONFIGS[name], seed=1)
    finished = sampled(policy)
    stored = np.concatenate([turn.log_probs for item in finished for turn in item.trajectory.turns])
    with torch.no_grad():
        scores = policy(policy.batch(rows_of(finished, policy.config.window)), temperature=0.7)
    assert len(stored) == len(scores.log_probs) > 24
    assert np.abs(scores.log_probs.numpy() - stored).max() < 1e-5


@pytest.mark.parametrize("name", ["lm", "vlm"])
def test_a_batch_scores_each_row_as_it_is_scored_alone(name: str) -> None:
    policy = Policy.load(CONFIGS[name], seed=1)
    rows = rows_of(sampled(policy), 0)
    with torch.no_grad():
        together = policy(policy.batch(rows), entropy=True)
        alone = [policy(policy.batch([row]), entropy=True) for row in rows]
    for part in ("log_probs", "entropy", "states"):
        apart = torch.cat([getattr(scores, part) for scores in alone])
        assert (getattr(together, part) - apart).abs().max() < 1e-5


def test_scores_equal_the_models_own_logits(policy: Policy) -> None:
    row = rows_of(sampled(policy), 0)[0]
    (start, end), *_ = row.spans
    with torch.no_grad():
        logits = policy.network(input_ids=torch.from_numpy(row.ids)[None]).logits[0, start - 1 : end - 1]
        scores = policy(policy.batch([row]), temperature=0.5, entropy=True)
    log_probs = functional.log_softmax(logits / 0.5, dim=-1)
    wanted = log_probs.gather(1, torch.from_numpy(row.ids[start:end])[:, None])[:, 0]
    torch.testing.assert_close(scores.log_probs, wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(scores.entropy, -(log_probs.exp() * log_probs).sum(-1), atol=1e-5, rtol=0)


def test_turns_of_an_episode_scored_in_one_row_score_the_same() -> None:
    policy = Policy.load(CONFIGS["vlm"], seed=1)
    rows = rows_of(sampled(policy), 0)
    joined = joined_rows(rows)
    assert len(rows) == 3 * len(joined)
    with torch.no_grad():
        torch.testing.assert_close(
            policy(policy.batch(joined)).log_probs, policy(policy.batch(rows)).log_probs, atol=1e-5, rtol=0
        )


def test_windowed_turns_are_not_joined() -> None:
    policy = Policy.load(CONFIGS["lm_window"], seed=1)
    rows = rows_of(sampled(policy), 2)
    for before, after in itertools.pairwise(joined_rows(rows)):
        assert not np.array_equal(after.ids[: len(before.ids)], before.ids)
    assert len(joined_rows(rows)) > len(rows) // 3


def test_only_response_tokens_have_a_gradient(policy: Policy) -> None:
    rows = rows_of(sampled(policy), 0)[:4]
    batch = policy.batch(rows)
    inputs = policy.backbone.get_input_embeddings()(batch.input_ids).detach().requires_grad_()
    hidden = policy.backbone(inputs_embeds=inputs).last_hidden_state
    # The gradient with respect to what predicts each column is zero but before response tokens.
    hidden.retain_grad()
    logits = policy.logits(hidden[batch.rows, batch.columns - 1])
    functional.cross_entropy(logits, batch.tokens).backward()
    assert hidden.grad is not None
    moved = hidden.grad.abs().sum(-1) > 0
    wanted = torch.zeros_like(moved)
    wanted[batch.rows, batch.columns - 1] = True
    assert torch.equal(moved, wanted)


def test_image_placeholders_are_never_sampled_and_have_probability_zero() -> None:
    policy = Policy.load(CONFIGS["vlm"], seed=1)
    assert policy.images is not None
    logits = policy.logits(torch.zeros(1, policy.hidden_size))
    assert logits.softmax(-1)[0, policy.images.token] == 0
    with torch.no_grad():
        entropy = policy(policy.batch(rows_of(sampled(policy), 0)), entropy=True).entropy
    assert torch.isfinite(entropy).all()


def test_the_reference_stays_while_the_policy_moves() -> None:
    for name in ("lm", "lm_lora"):
        policy = Policy.load(CONFIGS[name], seed=1)
        batch = policy.batch(rows_of(sampled(policy), 0))
        policy.keep_reference()
        with torch.no_grad():
            before = policy(batch).log_probs
            for weight in policy.parameters():
                if weight.requires_grad:
                    weight.add_(0.1)
            moved = policy(batch).log_probs
        kept = policy.reference_scores(batch).log_probs
        assert torch.equal(kept, before)
        assert not torch.equal(moved, before)
        with torch.no_grad():
            assert torch.equal(policy(batch).log_probs, moved)


def test_trained_weights_go_to_another_policy_and_only_those() -> None:
    first, second = (Policy.load(CONFIGS["lm_lora"], seed) for seed in (1, 1))
    assert all("lora" in name for name in first.trained())
    with torch.no_grad():
        for weight in first.trained().values():
            weight.add_(0.1)
    second.load_trained(first.trained())
    for name, weight in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], weight)
    with pytest.raises(ValueError, match="another model"):
        second.load_trained({"head": torch.zeros(1)})


def test_models_of_one_seed_are_equal_and_of_two_differ() -> None:
    config = TinyLMConfig(**TINY)
    weights = [Policy.load(config, seed).trained() for seed in (1, 1, 2)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_when_a_turn_has_no_response_token_expect_an_error(policy: Policy) -> None:
    row = rows_of(sampled(policy), 0)[0]
    with pytest.raises(ValueError, match="one or more response tokens"):
        collate([row._replace(spans=((3, 3),))], 0, None)


def test_batches_by_size_hold_every_row_once(policy: Policy) -> None:
    rows = rows_of(sampled(policy), 0)
    batches = list(by_size(rows, 5, np.random.default_rng(0)))
    assert sorted(itertools.chain(*batches)) == list(range(len(rows)))
    assert [len(batch) for batch in batches[:-1]] == [5] * (len(batches) - 1)
    assert batches != list(by_size(rows, 5))


def test_the_config_refuses_what_cannot_be() -> None:
    for wrong in ({"hidden": 30}, {"lora_rank": -1}, {"lora_layers": ()}, {"max_prompt_tokens": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(TinyLMConfig(), **wrong)
    with pytest.raises(ValueError, match="image_size=60"):
        TinyVLMConfig(image_size=60)
