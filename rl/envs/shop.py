"""A shop in WebShop's protocol: search[...], click[...], think[...] over a small catalogue of our own.

Pages: the search page; three results; a product with options to choose; its description, features, reviews
and attributes. "Buy Now" ends the episode with a reward in [0, 1] (`shop_reward.py`). An action that the
page does not offer is answered "Invalid action!" and costs its turn. The instruction comes last in every
observation, so that cutting off its beginning never loses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from ...core.ranges import at_least
from ..types import Json, Observation
from .base import AgentEnv, EnvConfig, InvalidResponse, Outcome, TurnEnv
from .catalogue import Goal, Product, catalogue
from .shop_reward import purchase_reward
from .transcript import Shown, Transcript, echo

BUY, BACK, PREVIOUS = "Buy Now", "Back to Search", "< Prev"
Section = Literal["Description", "Features", "Reviews", "Attributes"]
SECTIONS: tuple[Section, ...] = ("Description", "Features", "Reviews", "Attributes")
SHOWN_RESULTS = 3
MOST_CHARACTERS = 300
_FORM = re.compile(r"(search|click|think)\[([^\[\]]+)\]")


@dataclass(frozen=True)
class ShopConfig(EnvConfig):
    """The shop.

    Attributes:
        products: in the catalogue.
        catalogue_seed: of the catalogue; episodes' seeds choose only what is wished for.
        max_turns: of an episode.
        shown: whether observations show the whole log or the newest page.
    """

    env_id: ClassVar[str] = "kalie/Shop-v0"
    products: int = 100
    catalogue_seed: int = 0
    max_turns: int = 10
    shown: Shown = "whole"

    def __post_init__(self) -> None:
        at_least(self, 1, "products", "max_turns")
        at_least(self, 0, "catalogue_seed")


@dataclass(frozen=True)
class SearchPage:
    """Where every visit begins."""


@dataclass(frozen=True)
class ResultsPage:
    """What a search found."""

    products: tuple[Product, ...]


@dataclass(frozen=True)
class ProductPage:
    """One product, the options chosen so far, and the section that is open."""

    results: ResultsPage
    product: Product
    chosen: tuple[tuple[str, str], ...] = ()
    section: Section | None = None


Page = SearchPage | ResultsPage | ProductPage


def clickable(page: Page) -> tuple[str, ...]:
    """What can be clicked on a page."""
    if isinstance(page, SearchPage):
        return ()
    if isinstance(page, ResultsPage):
        return (BACK, *(product.code for product in page.products))
    if page.section is not None:
        return (BACK, PREVIOUS)
    options = (choice for choices in page.product.options.values() for choice in choices)
    return (BACK, PREVIOUS, *options, *SECTIONS, BUY)


def clicked(page: Page, button: str) -> Page:
    """The page after a click on one of `clickable` but "Buy Now"."""
    if button == BACK or isinstance(page, SearchPage):
        return SearchPage()
    if isinstance(page, ResultsPage):
        return ProductPage(page, next(p for p in page.products if p.code == button))
    if button == PREVIOUS:
        return page.results if page.section is None else _opened(page, None)
    for section in SECTIONS:
        if button == section:
            return _opened(page, section)
    name = next(name for name, choices in page.product.options.items() if button in choices)
    chosen = {**dict(page.chosen), name: button}
    return ProductPage(page.results, page.product, tuple(chosen.items()))


def _opened(page: ProductPage, section: Section | None) -> ProductPage:
    return ProductPage(page.results, page.product, page.chosen, section)


def page_text(page: Page) -> str:
    """A page as text, its buttons in square brackets."""
    if isinstance(page, SearchPage):
        return "Type search[words] to find products."
    buttons = [f"[{BACK}]"]
    if isinstance(page, ResultsPage):
        found = [f"[{p.code}] {p.title}, ${p.price:.2f}" for p in page.products]
        return "\n".join([*buttons, *(found or ["Nothing found."])])
    product = page.product
    buttons.append(f"[{PREVIOUS}]")
    if page.section is not None:
        return "\n".join([*buttons, _section_text(product, page.section)])
    for name, choices in product.options.items():
        picked = dict(page.chosen).get(name)
        listed = " ".join(f"[{choice}]" for choice in choices)
        buttons.append(f"{name}: {listed}" + (f" (chosen: {picked})" if picked else ""))
    sections = " ".join(f"[{section}]" for section in SECTIONS)
    return "\n".join([*buttons, product.title, f"Price: ${product.price:.2f}", sections, f"[{BUY}]"])


def _section_text(product: Product, section: Section) -> str:
    texts: Mapping[Section, str] = {
        "Description": product.description,
        "Features": product.features,
        "Reviews": "No reviews yet.",
        "Attributes": ", ".join((*product.attributes, *product.kind.categories)),
    }
    return texts[section]


class ShopEnv(TurnEnv):
    """`kalie/Shop-v0`."""

    invalid_rule = 'answered "Invalid action!", reward 0; the page stays, the turn counts'

    def __init__(self, config: ShopConfig | None = None) -> None:
        self.config = config or ShopConfig()
        super().__init__(("search[blue coffee mug]", "think[I should search]"), self.config.max_turns)
        self.catalogue = catalogue(self.config.products, self.config.catalogue_seed)
        self._goal: Goal | None = None
        self.page: Page = SearchPage()
        self._log = Transcript(self.config.shown)

    @property
    def goal(self) -> Goal:
        """What is wished for in this episode."""
        if self._goal is None:
            raise RuntimeError("goal: call reset first")
        return self._goal

    def begin(self, options: Mapping[str, Any]) -> Mapping[str, Json]:
        """Draw a wish; open the search page."""
        self._goal, self.page = self.catalogue.draw_goal(self.np_random), SearchPage()
        self._log.clear(f"Observation:\n{page_text(self.page)}")
        return {"instruction": self.goal.instruction}

    def observe(self) -> Observation:
        """The log, then the instruction."""
        return Observation(f"{self._log.text}\nInstruction:\n{self.goal.instruction}")

    def read(self, response: str) -> Json:
        """An action that this page offers, as {verb: argument}."""
        if len(response) > MOST_CHARACTERS:
            raise InvalidResponse(f"{len(response)} characters, at most {MOST_CHARACTERS} are read")
        form = _FORM.fullmatch(response.strip())
        if form is None:
            raise InvalidResponse("neither search[...] nor click[...] nor think[...]")
        verb, argument = form.group(1), " ".join(form.group(2).split())
        if verb == "search" and not isinstance(self.page, SearchPage):
            raise InvalidResponse(f"search: only on the search page; click[{BACK}] first")
        if verb == "click":
            argument = self._button(argument)
        return {verb: argument}

    def _button(self, wanted: str) -> str:
        for button in clickable(self.page):
            if button.lower() == wanted.lower():
                return button
        raise InvalidResponse(f"click: {wanted[:80]!r} is no button of this page")

    def act(self, action: Json, response: str) -> Outcome:
        """Search, click, think or buy."""
        assert isinstance(action, Mapping)  # noqa: S101  what read returned
        ((verb, argument),) = action.items()
        if verb == "think":
            return self._answer(response, "OK.")
        if verb == "search":
            self.page = ResultsPage(tuple(self.catalogue.search(str(argument), SHOWN_RESULTS)))
        elif argument == BUY:
            return self._buy(response)
        else:
            self.page = clicked(self.page, str(argument))
        return self._answer(response, page_text(self.page))

    def _buy(self, response: str) -> Outcome:
        assert isinstance(self.page, ProductPage)  # noqa: S101  the only page with this button
        reward = purchase_reward(self.page.product, dict(self.page.chosen), self.goal)
        self._answer(response, "Thank you.")
        return Outcome(reward, terminated=True, success=reward == 1.0)

    def _answer(self, response: str, text: str) -> Outcome:
        self._log.add(f"Observation:\n{text}", f"\nAction:\n{echo(response)}\n")
        return Outcome(0.0)

    def refuse(self, response: str, error: str) -> Outcome:
        """The page stays."""
        return self._answer(response, "Invalid action!")

    def world_state(self) -> Json:
        """The page and what is chosen on it."""
        page = self.page
        if isinstance(page, ProductPage):
            chosen: dict[str, Json] = dict(page.chosen)
            return {"product": page.product.code, "chosen": chosen, "section": page.section}
        found = [product.code for product in page.products] if isinstance(page, ResultsPage) else None
        return {"results": found}


def shop(env: AgentEnv) -> ShopEnv:
    """The environment itself, under whatever wraps it."""
    bare = env.unwrapped
    if not isinstance(bare, ShopEnv):
        raise TypeError(f"expected a ShopEnv, got {type(bare).__name__}")
    return bare


def window_shopper(env: AgentEnv, rng: np.random.Generator) -> str:
    """The floor: searches for the kind wanted, then clicks any button."""
    game = shop(env)
    buttons = clickable(game.page)
    if not buttons:
        return f"search[{game.goal.product.kind.name}]"
    return f"click[{buttons[int(rng.integers(len(buttons)))]}]"


def hasty(env: AgentEnv, rng: np.random.Generator) -> str:
    """A demonstrator of a warm start: searches the instruction, buys the first result without options."""
    game = shop(env)
    if isinstance(game.page, SearchPage):
        return f"search[{game.goal.instruction}]"
    return f"click[{game.page.products[0].code if isinstance(game.page, ResultsPage) else BUY}]"


def expert(env: AgentEnv, rng: np.random.Generator) -> str:
    """The ceiling: finds the very product that was wished for, chooses its options, buys it."""
    game = shop(env)
    page, goal = game.page, game.goal
    if isinstance(page, SearchPage):
        return f"search[{goal.product.title} {' '.join(goal.product.attributes)} {_options(goal)}]"
    if isinstance(page, ResultsPage):
        return f"click[{best_result(page, goal).code}]"
    for name, value in goal.options.items():
        if dict(page.chosen).get(name) != value and value in page.product.options[name]:
            return f"click[{value}]"
    return f"click[{BUY}]"


def _options(goal: Goal) -> str:
    return " ".join(choice for choices in goal.product.options.values() for choice in choices)


def best_result(page: ResultsPage, goal: Goal) -> Product:
    """The result that can earn most."""

    def worth(product: Product) -> float:
        fitting = {k: v for k, v in goal.options.items() if v in product.options.get(k, ())}
        return purchase_reward(product, fitting, goal)

    return max(page.products, key=worth)
