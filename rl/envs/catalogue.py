"""A small made-up catalogue for the shop: products of a few kinds, drawn from a seed; a search; goals."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np


@dataclass(frozen=True)
class ProductKind:
    """What all products of a kind share.

    Attributes:
        name: what shoppers call it; its words are the nouns of a title.
        categories: from the widest to the narrowest.
        attributes: that a product of this kind may have.
        sizes: on offer.
        price: (lowest, highest), dollars.
    """

    name: str
    categories: tuple[str, ...]
    attributes: tuple[str, ...]
    sizes: tuple[str, ...]
    price: tuple[int, int]


_SHOE_SIZES = ("38", "40", "42", "44")
_CLOTHES_SIZES = ("small", "medium", "large")
KINDS: tuple[ProductKind, ...] = (
    ProductKind(
        "running shoes", ("clothing", "shoes", "sports shoes"),
        ("lightweight", "breathable", "wide fit", "reflective"), _SHOE_SIZES, (40, 140),
    ),
    ProductKind(
        "hiking boots", ("clothing", "shoes", "boots"),
        ("waterproof", "insulated", "leather", "wide fit"), _SHOE_SIZES, (60, 200),
    ),
    ProductKind(
        "rain jacket", ("clothing", "outerwear", "jackets"),
        ("waterproof", "hooded", "packable", "reflective"), _CLOTHES_SIZES, (30, 150),
    ),
    ProductKind(
        "cotton shirt", ("clothing", "tops", "shirts"),
        ("slim fit", "long sleeve", "non iron", "organic"), _CLOTHES_SIZES, (15, 70),
    ),
    ProductKind(
        "desk lamp", ("home", "lighting", "lamps"),
        ("dimmable", "usb charging", "foldable", "energy saving"), ("30 cm", "45 cm"), (15, 90),
    ),
    ProductKind(
        "coffee mug", ("home", "kitchen", "drinkware"),
        ("dishwasher safe", "double wall", "hand painted", "with lid"), ("250 ml", "400 ml"), (6, 35),
    ),
    ProductKind(
        "water bottle", ("home", "kitchen", "drinkware"),
        ("leak proof", "stainless steel", "insulated", "bpa free"), ("500 ml", "750 ml"), (8, 45),
    ),
    ProductKind(
        "travel backpack", ("luggage", "bags", "backpacks"),
        ("waterproof", "anti theft", "usb charging", "lightweight"), ("20 litres", "35 litres"), (25, 160),
    ),
    ProductKind(
        "wireless headphones", ("electronics", "audio", "headphones"),
        ("noise cancelling", "foldable", "with microphone", "sweat proof"), ("on ear", "over ear"), (25, 250),
    ),
    ProductKind(
        "phone case", ("electronics", "accessories", "cases"),
        ("shockproof", "slim fit", "with stand", "leather"), ("5.5 inch", "6.1 inch", "6.7 inch"), (8, 40),
    ),
)  # fmt: skip
COLOURS = ("black", "white", "red", "blue", "green", "grey", "yellow")
BRANDS = ("Alderfen", "Borrowick", "Calderly", "Dunmoor", "Eastlea", "Farrowby")


@dataclass(frozen=True)
class Product:
    """Something for sale.

    Attributes:
        code: that names it on pages.
        kind: what it is.
        brand: who made it up.
        attributes: it has.
        options: choices by option, "colour" and "size".
        price: dollars.
    """

    code: str
    kind: ProductKind
    brand: str
    attributes: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    price: float

    @property
    def title(self) -> str:
        """Brand, first attribute and kind; further attributes show on other pages."""
        return f"{self.brand} {self.attributes[0]} {self.kind.name}"

    @property
    def features(self) -> str:
        """What the page "Features" says."""
        return "; ".join(f"{attribute}" for attribute in self.attributes)

    @property
    def description(self) -> str:
        """What the page "Description" says."""
        return f"The {self.kind.name} by {self.brand} from our range of {self.kind.categories[-1]}."

    @cached_property
    def nouns(self) -> frozenset[str]:
        """The nouns of the title."""
        return frozenset(self.kind.name.split())


@dataclass(frozen=True)
class Goal:
    """What a shopper wants.

    Attributes:
        product: one that satisfies everything.
        attributes: wanted.
        options: wanted, by option.
        price_cap: dollars; the price must be lower or equal.
    """

    product: Product
    attributes: tuple[str, ...]
    options: Mapping[str, str]
    price_cap: float

    @property
    def instruction(self) -> str:
        """The wish in words."""
        options = ", ".join(f"{name}: {value}" for name, value in self.options.items())
        wanted = " and ".join(self.attributes)
        return (
            f"I am looking for {wanted} {self.product.kind.name}, {options}, "
            f"and price lower than {self.price_cap:.2f} dollars"
        )


class Catalogue:
    """Products and a search over them.

    Args:
        products: with codes that are all different.
    """

    def __init__(self, products: Sequence[Product]) -> None:
        self.products = {product.code: product for product in products}
        self._words = {product.code: Counter(words(_searched(product))) for product in products}
        found = Counter(word for counts in self._words.values() for word in counts)
        self._weight = {word: math.log(1 + len(products) / count) for word, count in found.items()}

    def search(self, query: str, most: int) -> list[Product]:
        """The products that share the most telling words with a query, the best first; ties by code."""
        # In a fixed order: sums of floats depend on it, and a set's order on the process.
        wanted = sorted(set(words(query)))
        scores = {
            code: sum(self._weight[word] for word in wanted if word in counts)
            for code, counts in self._words.items()
        }
        hits = sorted((code for code in scores if scores[code] > 0), key=lambda code: (-scores[code], code))
        return [self.products[code] for code in hits[:most]]

    def draw_goal(self, rng: np.random.Generator) -> Goal:
        """A wish that one of the products satisfies."""
        codes = sorted(self.products)
        product = self.products[codes[int(rng.integers(len(codes)))]]
        count = int(rng.integers(1, len(product.attributes) + 1))
        attributes = tuple(str(a) for a in rng.permutation(product.attributes)[:count])
        options = {name: str(rng.choice(choices)) for name, choices in product.options.items()}
        return Goal(product, attributes, options, round(product.price * float(rng.uniform(1.05, 1.5)), 2))


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"[a-z0-9.]+", text.lower())


def _searched(product: Product) -> str:
    options = " ".join(choice for choices in product.options.values() for choice in choices)
    return " ".join((product.title, product.features, options, *product.kind.categories))


@lru_cache(maxsize=8)
def catalogue(products: int, seed: int) -> Catalogue:
    """The catalogue of a seed: kinds in turn, everything else drawn."""
    rng = np.random.default_rng(seed)
    return Catalogue([_draw(rng, index) for index in range(products)])


def _draw(rng: np.random.Generator, index: int) -> Product:
    kind = KINDS[index % len(KINDS)]
    count = int(rng.integers(2, len(kind.attributes)))
    attributes = tuple(str(a) for a in rng.permutation(kind.attributes)[:count])
    colours = tuple(str(c) for c in rng.permutation(COLOURS)[: int(rng.integers(2, 5))])
    price = round(float(rng.uniform(*kind.price)), 2)
    options = {"colour": colours, "size": kind.sizes}
    return Product(f"P{index:04d}", kind, str(rng.choice(BRANDS)), attributes, options, price)
