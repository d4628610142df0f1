"""Answers in JSON: exactly one legal action, and whether what stands before it is true."""

from __future__ import annotations

import pytest

from kalie.rl.envs.answers import agrees, read_action, write_answer
from kalie.rl.envs.base import InvalidResponse

LEGAL = ("1", "10", "+")


@pytest.mark.parametrize("action", LEGAL)
def test_what_is_written_is_read(action: str) -> None:
    assert read_action(write_answer(action, {"thoughts": 'a "quoted" {brace}'}), LEGAL) == action


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ('{"thoughts": "1"}', "action: missing"),
        ('{"action": 1}', "action: 1 is none of 1, 10, \\+"),
        ('{"action": "11"}', "'11' is none of"),
        ('{"action": ["1"]}', "is none of"),
        ('{"action": "1 "}', "is none of"),
        ('{"action": "1", "action": "10"}', "given twice"),
        ('{"action": "1"} {"action": "10"}', "not one JSON object"),
        ('I choose "action": "1"', "not one JSON object"),
    ],
)
def test_when_there_is_not_exactly_one_legal_action_expect_the_reason(response: str, message: str) -> None:
    with pytest.raises(InvalidResponse, match=message):
        read_action(response, LEGAL)


def test_long_actions_are_quoted_short() -> None:
    with pytest.raises(InvalidResponse) as caught:
        read_action(write_answer("x" * 5000), LEGAL)
    assert len(str(caught.value)) < 200


FACTS = {"sum": 14, "soft": False, "cards": ["2", "Q"]}


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ('{"sum": 14, "action": "1"}', True),
        ('{"sum": 14, "soft": false, "cards": ["2", "Q"], "action": "1"}', True),
        ('{"sum": 15, "soft": false, "action": "1"}', False),
        ('{"sum": "14", "action": "1"}', False),
        ('{"soft": 0, "action": "1"}', False),
        ('{"cards": ["Q", "2"], "action": "1"}', False),
        ('{"action": "1"}', None),
        ("no JSON", None),
    ],
)
def test_statements_are_compared_with_the_truth(response: str, expected: bool | None) -> None:
    assert agrees(response, FACTS) is expected


@pytest.mark.parametrize(
    ("thoughts", "expected"),
    [("14 is low", True), ("15 is low", False), ("low", None), ("14 or 13", False), ("x14y", None)],
)
def test_numbers_said_in_thoughts_are_compared_where_they_are_known(
    thoughts: str, expected: bool | None
) -> None:
    assert agrees(write_answer("1", {"thoughts": thoughts}), FACTS, frozenset({14})) is expected
