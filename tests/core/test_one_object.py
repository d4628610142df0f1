"""A reply is exactly one JSON object, or it is refused; nothing is searched for in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalie.core.one_object import MAX_CHARACTERS, NotOneObject, read_object


@pytest.mark.parametrize("text", ['{"a": 1}', ' {"a": 1}\n', '```json\n{"a": 1}\n```', '```\n{"a": 1}\n```'])
def test_one_object_is_read_bare_or_in_one_fence(text: str) -> None:
    assert read_object(text) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not one JSON object"),
        ('{"a": 1} {"b": 2}', "not one JSON object"),
        ('Sure: {"a": 1}', "not one JSON object"),
        ("[1, 2]", "got list"),
        ('{"a": 1, "a": 2}', "a: given twice"),
        ('{"a": NaN}', "NaN is not a number"),
        ("[" * 100_000, "at most"),
        ("[" * 100, "brackets"),
        ('{"a": ' + "9" * 10_000 + "}", "not one JSON object"),
        ("x" * (MAX_CHARACTERS + 1), "characters"),
    ],
)
def test_when_a_reply_is_anything_else_expect_refusal_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(NotOneObject, match=message):
        read_object(text)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        data = read_object(text)
    except NotOneObject:
        return
    assert isinstance(data, dict)
