"""How well a bought product fits a wish: WebShop's formula (Yao et al. 2022, section 3.2; appendix A.3).

r = r_type * (attribute hits + option hits + [price <= cap]) / (attributes + options + 1)
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher

from .catalogue import Goal, Product, words

# Texts that agree more than this, in percent, mean the same.
SAME = 85.0


def purchase_reward(product: Product, chosen: Mapping[str, str], goal: Goal) -> float:
    """The reward of buying a product with the options chosen, in [0, 1]."""
    hits = sum(attribute_hit(product, wanted) for wanted in goal.attributes)
    hits += sum(_meant(wanted, tuple(chosen.values())) for wanted in goal.options.values())
    hits += product.price <= goal.price_cap
    demands = len(goal.attributes) + len(goal.options) + 1
    return type_reward(product, goal.product) * hits / demands


def type_reward(product: Product, wanted: Product) -> float:
    """How far a product is of the wanted type: 1, 0.5, 0.1 or 0."""
    overlap = len(product.nouns & wanted.nouns) / len(wanted.nouns)
    shared = len(set(product.kind.categories) & set(wanted.kind.categories))
    matches = product.kind.name == wanted.kind.name or shared >= 2 or overlap > 0.2
    if overlap == 0:
        return 0.0
    if overlap < 0.1:
        return 0.1
    return 1.0 if matches else 0.5


def attribute_hit(product: Product, wanted: str) -> bool:
    """Whether a product has an attribute, by its list or anywhere in its texts."""
    text = " ".join((product.title, product.features, product.description)).lower()
    return _meant(wanted, product.attributes) or wanted.lower() in text


def _meant(wanted: str, offered: tuple[str, ...]) -> bool:
    return any(token_set_ratio(wanted, text) > SAME for text in offered)


def token_set_ratio(first: str, second: str) -> float:
    """How far two texts agree as sets of words, in percent: 100 where one's words are all in the other."""
    a, b = set(words(first)), set(words(second))
    if not a or not b:
        return 0.0
    common = " ".join(sorted(a & b))
    if common and (a <= b or b <= a):
        return 100.0
    full = [" ".join((common, *sorted(rest))).strip() for rest in (a - b, b - a)]
    pairs = [(common, full[0]), (common, full[1]), (full[0], full[1])]
    return 100 * max(SequenceMatcher(None, x, y, autojunk=False).ratio() for x, y in pairs if x)
