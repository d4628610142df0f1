"""Arithmetic on formulas made of tokens: exact fractions, a real parser, no evaluation of anyone's text.

formula = term (("+" | "-") term)*
term    = factor (("*" | "/") factor)*
factor  = ("+" | "-")* (number | "(" formula ")")
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import permutations
from typing import NamedTuple, TypeAlias

Tokens: TypeAlias = tuple[str, ...]
OPERATORS = ("+", "-", "*", "/")


class InvalidFormula(ValueError):
    """Tokens that are no formula, or one that divides by zero."""


def evaluate(tokens: Sequence[str], concatenate: bool = False) -> Fraction:
    """The exact value of a formula.

    Args:
        tokens: numbers, + - * / ( ).
        concatenate: whether neighbouring numbers join their digits ("2", "4" is 24), which the published
            environments allowed by accident; an error otherwise.

    Raises:
        InvalidFormula: naming the token at fault.
    """
    parser = _Parser(_joined(tokens) if concatenate else list(tokens))
    value = parser.formula()
    if parser.rest:
        raise InvalidFormula(f"{parser.rest[0]!r} is not expected here")
    return value


def _joined(tokens: Sequence[str]) -> list[str]:
    joined: list[str] = []
    for token in tokens:
        if token.isdecimal() and joined and joined[-1].isdecimal():
            joined[-1] += token
        else:
            joined.append(token)
    return joined


class _Parser:
    """Recursive descent; `rest` is what has not been read yet."""

    def __init__(self, tokens: list[str]) -> None:
        self.rest = tokens

    def formula(self) -> Fraction:
        value = self.term()
        while self._next() in ("+", "-"):
            value += self.term() if self._take() == "+" else -self.term()
        return value

    def term(self) -> Fraction:
        value = self.factor()
        while self._next() in ("*", "/"):
            operator, factor = self._take(), self.factor()
            if operator == "/" and factor == 0:
                raise InvalidFormula("division by zero")
            value = value * factor if operator == "*" else value / factor
        return value

    def factor(self) -> Fraction:
        first = self._take()
        if first in ("+", "-"):
            return self.factor() if first == "+" else -self.factor()
        if first == "(":
            value = self.formula()
            if self._take() != ")":
                raise InvalidFormula("')' is missing")
            return value
        if not first.isdecimal():
            raise InvalidFormula(f"{first!r} is not expected here")
        return Fraction(int(first))

    def _next(self) -> str:
        return self.rest[0] if self.rest else ""

    def _take(self) -> str:
        if not self.rest:
            raise InvalidFormula("the formula ends too early")
        return self.rest.pop(0)


# The search runs on floats: a value of at most four numbers up to 13 that is not the target misses it by at
# least one over its denominator, far more than this.
_CLOSE = 1e-6


@lru_cache(maxsize=4096)
def solvable(numbers: tuple[int, ...], target: int) -> bool:
    """Whether + - * / and brackets can make the target of all numbers, each used once.

    Args:
        numbers: at most four, sorted, so that equal hands share one answer.
        target: wanted value.
    """
    return _reaches(tuple(float(number) for number in numbers), float(target))


@lru_cache(maxsize=200_000)
def _reaches(values: tuple[float, ...], target: float) -> bool:
    if len(values) == 1:
        return abs(values[0] - target) < _CLOSE
    for i in range(len(values)):
        for j in range(i + 1, len(values)):
            rest = values[:i] + values[i + 1 : j] + values[j + 1 :]
            for value in _combined(values[i], values[j]):
                if _reaches(tuple(sorted((*rest, value))), target):
                    return True
    return False


def _combined(a: float, b: float) -> set[float]:
    quotients = {a / b} if abs(b) > _CLOSE else set()
    return {a + b, a - b, b - a, a * b} | quotients | ({b / a} if abs(a) > _CLOSE else set())


@lru_cache(maxsize=1024)
def solutions(
    numbers: tuple[int, ...], target: int, operators: tuple[str, ...] = OPERATORS
) -> tuple[Tokens, ...]:
    """Every formula that makes the target of all numbers, with no needless brackets, the shortest first.

    Args:
        numbers: at most four, sorted, so that equal hands share one answer.
        target: wanted value.
        operators: those that may be used.
    """
    if not solvable(numbers, target):
        return ()
    found: set[Tokens] = set()
    for order in set(permutations(numbers)):
        hits = (tree for tree in _trees(order, operators) if abs(tree.value - target) < _CLOSE)
        found |= {_written(tree) for tree in hits}
    return tuple(sorted(found, key=lambda tokens: (len(tokens), tokens)))


class _Tree(NamedTuple):
    """An expression: its value, its outermost operator and both sides; a number has no operator."""

    value: float
    operator: str = ""
    left: _Tree | None = None
    right: _Tree | None = None


@lru_cache(maxsize=20_000)
def _trees(numbers: tuple[int, ...], operators: tuple[str, ...]) -> tuple[_Tree, ...]:
    """Every expression over the numbers in this order."""
    if len(numbers) == 1:
        return (_Tree(float(numbers[0])),)
    found = []
    for cut in range(1, len(numbers)):
        for left in _trees(numbers[:cut], operators):
            for right in _trees(numbers[cut:], operators):
                found += _joins(left, right, operators)
    return tuple(found)


def _joins(left: _Tree, right: _Tree, operators: tuple[str, ...]) -> list[_Tree]:
    a, b = left.value, right.value
    values = {"+": a + b, "-": a - b, "*": a * b}
    if abs(b) > _CLOSE:
        values["/"] = a / b
    return [_Tree(values[operator], operator, left, right) for operator in operators if operator in values]


def _written(tree: _Tree) -> Tokens:
    if tree.left is None or tree.right is None:
        return (str(int(tree.value)),)
    first = _bracketed(tree.left, tree.operator in "*/" and tree.left.operator in ("+", "-"))
    second = _bracketed(tree.right, _needs_brackets(tree.operator, tree.right.operator))
    return (*first, tree.operator, *second)


def _needs_brackets(operator: str, inner: str) -> bool:
    """Whether the right side of an operator needs brackets, by its own outermost operator."""
    if not inner or operator == "+":
        return False
    return inner in ("+", "-") or operator == "/"


def _bracketed(tree: _Tree, needed: bool) -> Tokens:
    return ("(", *_written(tree), ")") if needed else _written(tree)
