"""Formulas are read by a parser over exact fractions; nothing is ever evaluated as code."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalie.rl.envs.formulas import OPERATORS, InvalidFormula, evaluate, solutions, solvable

TOKENS = (*map(str, range(1, 11)), *OPERATORS, "(", ")")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("( 1 + 2 ) * 3", 9),
        ("8 / ( 3 - 8 / 3 )", 24),
        ("10 - 2 - 3", 5),
        ("8 / 4 / 2", 1),
        ("- 2 + 5", 3),
        ("2 * - 3", -6),
        ("1 / 3 + 1 / 3 + 1 / 3", 1),
    ],
)
def test_values_are_exact(text: str, value: int) -> None:
    assert evaluate(text.split()) == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2 4",
        "2 +",
        "( 2",
        "2 )",
        "* 2",
        "2 * * 4",
        "2 / / 4",
        "2 ( 3 )",
        "8 / ( 2 - 2 )",
        "( )",
        "__import__",
    ],
)
def test_when_tokens_are_no_formula_expect_an_error(text: str) -> None:
    with pytest.raises(InvalidFormula):
        evaluate(text.split())


def test_neighbouring_numbers_join_only_where_that_is_allowed() -> None:
    assert evaluate(["2", "4"], concatenate=True) == 24
    assert evaluate(["10", "1", "+", "2"], concatenate=True) == 103
    with pytest.raises(InvalidFormula, match="'4' is not expected"):
        evaluate(["2", "4"])


@given(st.lists(st.sampled_from(TOKENS), max_size=20))
def test_any_tokens_give_what_python_gives_or_an_error(tokens: list[str]) -> None:
    """Python's own arithmetic agrees wherever ours finds a formula."""
    try:
        value = evaluate(tokens)
    except InvalidFormula:
        return
    source = "".join(f"Fraction({token})" if token.isdecimal() else token for token in tokens)
    assert value == eval(source, {"Fraction": Fraction})  # noqa: S307


@pytest.mark.parametrize("hand", [(1, 1, 1, 1), (1, 1, 1, 5), (1, 1, 10, 10)])
def test_hands_without_a_solution_are_known(hand: tuple[int, ...]) -> None:
    assert not solvable(hand, 24)
    assert solutions(hand, 24) == ()


@pytest.mark.parametrize("hand", [(3, 3, 8, 8), (1, 3, 4, 6), (4, 4, 10, 10), (1, 5, 5, 5), (6, 6, 6, 6)])
def test_solutions_of_hard_hands_are_right_and_use_every_number(hand: tuple[int, ...]) -> None:
    assert solvable(hand, 24)
    found = solutions(hand, 24)
    assert found
    for tokens in found:
        assert evaluate(tokens) == 24
        assert tuple(sorted(int(token) for token in tokens if token.isdecimal())) == hand


def test_solutions_use_only_the_operators_allowed() -> None:
    assert solutions((3, 9), 12, ("+", "*")) == (("3", "+", "9"), ("9", "+", "3"))
    assert solutions((2, 10), 12, ("*",)) == ()
