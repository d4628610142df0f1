"""Losses equal hand computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kalie.rl.algorithms.cot_ppo import turn_log_probs
from kalie.rl.algorithms.reinforce import reinforce_loss
from kalie.rl.batches import Row, collate
from kalie.rl.losses import clipped_policy_loss, clipped_value_loss, entropy, kl_to_reference
from kalie.rl.markers import action_start, token_weights
from kalie.rl.tokenizer import tiny_tokenizer

BATCH = collate(
    [Row(np.arange(6), (), ((2, 4),)), Row(np.arange(9), (), ((1, 2), (5, 8)))], pad=0, images=None
)
"""Turns of 2, 1 and 3 tokens."""


def text(ids: object) -> str:
    decoded = tiny_tokenizer().decode(ids)  # pyright: ignore[reportArgumentType]
    assert isinstance(decoded, str)
    return decoded


def test_the_thought_weight_splits_a_turns_log_probability_as_computed_by_hand() -> None:
    log_probs = torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0, -6.0])
    weights = torch.tensor([0.5, 1.0, 1.0, 0.5, 0.5, 1.0])
    assert turn_log_probs(log_probs, weights, BATCH).tolist() == [-2.5, -3.0, -2.0 - 2.5 - 6.0]


@pytest.mark.parametrize(
    ("response", "thought"),
    [
        ('{"thoughts": "3 < 5", "action": "+"}', '{"thoughts": "3 < 5", '),
        ('{"action": "+"}', "{"),
        ('"action": "-" then "action": "+"', '"action": "-" then '),
        ("no key at all", "no key at all"),
        ("", ""),
        ('é漢 "action": "+"', "é漢 "),
    ],
)
def test_the_action_is_found_by_its_place_in_the_text(response: str, thought: str) -> None:
    ids = tiny_tokenizer()(response, add_special_tokens=False).input_ids
    start = action_start(ids, text, '"action":')
    assert text(ids[:start]).rstrip() == thought.rstrip()
    assert text(ids) == response


def test_weights_are_lambda_for_thoughts_1_for_the_action_0_for_skipped_tokens() -> None:
    assert token_weights(5, 3, 0.25, 0).tolist() == [0.25, 0.25, 0.25, 1, 1]
    assert token_weights(5, 3, 0.25, 2).tolist() == [0, 0, 0.25, 1, 1]
    assert token_weights(2, 2, 0.25, 0).tolist() == [0.25, 0.25]


def test_the_clipped_loss_matches_hand_computation() -> None:
    new = torch.log(torch.tensor([1.5, 0.5, 1.5, 0.5, 1.0]))
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0, 2.0])
    out = clipped_policy_loss(new, torch.zeros(5), advantages, clip=0.1)
    # min(rho A, clip(rho) A): 1.1, 0.5, -1.5, -0.9, 2
    assert float(out.loss) == pytest.approx(-(1.1 + 0.5 - 1.5 - 0.9 + 2) / 5)
    assert float(out.clipped) == pytest.approx(4 / 5)


def test_the_published_guard_drops_the_unclipped_term_only_above_its_bound() -> None:
    new, advantages = torch.log(torch.tensor([11.0, 0.5])), torch.tensor([-1.0, 1.0])
    kept = clipped_policy_loss(new, torch.zeros(2), advantages, 0.1)
    dropped = clipped_policy_loss(new, torch.zeros(2), advantages, 0.1, drop_unclipped_above=10)
    below = clipped_policy_loss(new, torch.zeros(2), advantages, 0.1, drop_unclipped_above=12)
    assert float(kept.loss) == float(below.loss) == pytest.approx((11 - 0.5) / 2)
    assert float(dropped.loss) == pytest.approx((1.1 - 0.9) / 2)


def test_the_value_loss_matches_hand_computation() -> None:
    values, old, returns = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0])
    # (V - R)^2: 0, 1; clipped at 0.5: (1.5 - 2)^2 = .25, 1
    assert float(clipped_value_loss(values, old, returns, 0.5)) == pytest.approx(0.5 * (0.25 + 1) / 2)
    assert float(clipped_value_loss(values, old, returns, 0.0)) == pytest.approx(0.5 * (0 + 1) / 2)


def test_reinforce_matches_hand_computation() -> None:
    log_probs = torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0, -6.0], requires_grad=True)
    loss = reinforce_loss(log_probs, BATCH, torch.tensor([1.0, -1.0, 2.0]))
    assert float(loss.detach()) == pytest.approx(-(-3 + 3 - 30) / 3)
    loss.backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == pytest.approx([-1 / 3, -1 / 3, 1 / 3, -2 / 3, -2 / 3, -2 / 3])


def test_the_divergence_estimate_is_0_for_equal_policies_and_unbiased() -> None:
    same = torch.tensor([-1.0, -2.0])
    assert float(kl_to_reference(same, same).sum()) == 0
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    samples = torch.multinomial(p, 200_000, replacement=True, generator=torch.Generator().manual_seed(0))
    wanted = float((p * (p / q).log()).sum())
    assert float(kl_to_reference(p.log()[samples], q.log()[samples]).mean()) == pytest.approx(
        wanted, rel=0.02
    )
    assert not math.isclose(wanted, 0)


def test_the_entropy_and_its_gradient_are_those_of_the_distribution_also_where_a_token_is_impossible() -> (
    None
):
    logits = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits[1, 2] = -torch.inf
    gradients = []
    for finite in (True, False):
        free = logits.clone().requires_grad_()
        log_probs = free.log_softmax(-1).clamp_min(torch.finfo(torch.float64).min)
        terms = log_probs.exp() * log_probs
        value = entropy(log_probs) if finite else -terms.sum(-1)
        torch.testing.assert_close(value.detach(), torch.distributions.Categorical(logits=logits).entropy())
        (value * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
        gradients.append(free.grad)
    torch.testing.assert_close(*gradients)
    assert torch.isfinite(gradients[0]).all()
