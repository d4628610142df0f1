"""The shop: WebShop's protocol and reward formula, the catalogue, players."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from kalie.rl.envs.catalogue import KINDS, Catalogue, Goal, Product, ProductKind, catalogue
from kalie.rl.envs.check import check_env
from kalie.rl.envs.players import play_many
from kalie.rl.envs.registry import make_env
from kalie.rl.envs.shop import (
    ResultsPage,
    SearchPage,
    ShopConfig,
    ShopEnv,
    clickable,
    expert,
    hasty,
    window_shopper,
)
from kalie.rl.envs.shop_reward import attribute_hit, purchase_reward, token_set_ratio, type_reward

MUG, BOTTLE, BOOTS = KINDS[5], KINDS[6], KINDS[1]


def product(
    kind: ProductKind = MUG,
    attributes: tuple[str, ...] = ("double wall", "with lid"),
    price: float = 20.0,
    options: Mapping[str, tuple[str, ...]] | None = None,
) -> Product:
    offered = {"colour": ("red", "blue"), "size": ("250 ml", "400 ml")} if options is None else options
    return Product("P0001", kind, "Dunmoor", attributes, offered, price)


WISH = Goal(product(), ("double wall", "with lid"), {"colour": "red", "size": "400 ml"}, 25.0)
CHOSEN = {"colour": "red", "size": "400 ml"}


@pytest.mark.parametrize("player", [window_shopper, hasty, expert])
def test_it_keeps_the_contract(player: object) -> None:
    check_env(lambda: make_env(ShopConfig()), player)  # pyright: ignore[reportArgumentType]
    check_env(lambda: make_env(ShopConfig(shown="newest")), player)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("bought", "chosen", "reward"),
    [
        (product(), CHOSEN, 1.0),
        (product(), {"colour": "red"}, 4 / 5),
        (product(), {"colour": "blue", "size": "250 ml"}, 3 / 5),
        (product(price=25.0), CHOSEN, 1.0),
        (product(price=25.01), CHOSEN, 4 / 5),
        (product(attributes=("double wall",)), CHOSEN, 4 / 5),
        (product(BOTTLE), CHOSEN, 0.0),
        (product(BOOTS), CHOSEN, 0.0),
    ],
)
def test_the_reward_equals_the_formula_by_hand(
    bought: Product, chosen: dict[str, str], reward: float
) -> None:
    assert purchase_reward(bought, chosen, WISH) == pytest.approx(reward)


def kind(name: str, *categories: str) -> ProductKind:
    return ProductKind(name, categories, ("plain",), ("one",), (1, 2))


@pytest.mark.parametrize(
    ("bought", "expected"),
    [
        (kind("red clay pot", "a", "b"), 1.0),
        (kind("iron pot", "a", "x"), 1.0),
        (kind("a b c d e pot", "a", "b"), 1.0),
        (kind("lamp", "a", "b"), 0.0),
    ],
)
def test_the_type_factor_falls_with_what_is_shared(bought: ProductKind, expected: float) -> None:
    wanted = product(kind("red clay pot", "a", "b"))
    assert type_reward(product(bought), wanted) == expected


def test_the_type_factor_takes_its_middle_values_for_small_overlaps() -> None:
    wanted = product(kind("one two three four five six", "a"))
    assert type_reward(product(kind("one", "z")), wanted) == 0.5
    long = product(kind(" ".join(f"w{i}" for i in range(11)), "a"))
    assert type_reward(product(kind("w0", "z")), long) == 0.1


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("double wall", "wall double", True),
        ("Stainless Steel", "stainless steel body", True),
        ("waterproofing", "waterproof", True),
        ("red", "blue", False),
        ("dishwasher safe", "microwave safe", False),
        ("", "red", False),
    ],
)
def test_texts_agree_as_sets_of_words(first: str, second: str, same: bool) -> None:
    assert (token_set_ratio(first, second) > 85) is same
    assert token_set_ratio(first, second) == token_set_ratio(second, first)


def test_an_attribute_counts_wherever_it_is_written() -> None:
    assert attribute_hit(product(), "double wall")
    assert attribute_hit(product(), "coffee mug")
    assert not attribute_hit(product(), "hand painted")


def shopping(*responses: str, seed: int = 0) -> ShopEnv:
    env = ShopEnv()
    env.reset(seed=seed)
    for response in responses:
        assert env.step(response)[4]["valid"], response
    return env


def test_a_search_shows_three_results_and_only_their_buttons() -> None:
    env = shopping("search[coffee mug]")
    assert isinstance(env.page, ResultsPage)
    assert len(env.page.products) == 3
    assert all(found.kind.name == "coffee mug" for found in env.page.products)
    assert set(clickable(env.page)) == {"Back to Search", *(found.code for found in env.page.products)}


@pytest.mark.parametrize(
    "response",
    [
        "click[Buy Now]",
        "click[P0005]",
        "search[]",
        "search mug",
        "buy[mug]",
        "search[a] click[b]",
        "click[Next >]",
        "search[[mug]]",
    ],
)
def test_when_the_page_does_not_offer_it_expect_invalid_action(response: str) -> None:
    env = shopping()
    observation, reward, terminated, _, info = env.step(response)
    assert (reward, terminated, info["valid"]) == (0.0, False, False)
    assert "Invalid action!" in observation.text
    assert isinstance(env.page, SearchPage)


def test_search_is_only_for_the_search_page() -> None:
    env = shopping("search[mug]")
    assert env.step("search[lamp]")[4]["valid"] is False
    assert env.step("click[back to search]")[4]["valid"] is True
    assert env.step("search[lamp]")[4]["valid"] is True


def test_thinking_is_answered_ok_and_changes_nothing() -> None:
    env = shopping("search[mug]")
    before = env.world_state()
    observation, reward, _, _, info = env.step("think[The first one looks right.]")
    assert (reward, info["valid"]) == (0.0, True)
    assert "Observation:\nOK." in observation.text
    assert env.world_state() == before


def test_pages_lead_back_and_keep_what_was_chosen() -> None:
    env = shopping("search[coffee mug]")
    assert isinstance(env.page, ResultsPage)
    first = env.page.products[0]
    colour = first.options["colour"][0]
    for response in (f"click[{first.code}]", f"click[{colour}]", "click[Features]", "click[< Prev]"):
        assert env.step(response)[4]["valid"]
    assert env.world_state() == {"product": first.code, "chosen": {"colour": colour}, "section": None}
    env.step("click[< Prev]")
    assert isinstance(env.page, ResultsPage)


def test_buying_ends_with_the_reward_of_the_formula() -> None:
    env = shopping("search[coffee mug]")
    assert isinstance(env.page, ResultsPage)
    first = env.page.products[0]
    env.step(f"click[{first.code}]")
    _, reward, terminated, truncated, info = env.step("click[Buy Now]")
    assert (terminated, truncated) == (True, False)
    assert reward == purchase_reward(first, {}, env.goal)
    assert info["success"] is (reward == 1.0)


def test_ten_turns_truncate_with_nothing() -> None:
    env = shopping()
    steps = [env.step("think[hm]") for _ in range(10)]
    assert [step[2:4] for step in steps] == [(False, False)] * 9 + [(False, True)]
    assert sum(step[1] for step in steps) == 0


def test_the_instruction_comes_last() -> None:
    env = shopping("search[mug]")
    assert env.observe().text.endswith(f"\nInstruction:\n{env.goal.instruction}")


def test_every_wish_can_be_fulfilled() -> None:
    shelves = catalogue(100, 0)
    rng = np.random.default_rng(0)
    for _ in range(200):
        goal = shelves.draw_goal(rng)
        assert purchase_reward(goal.product, goal.options, goal) == 1.0


def test_the_catalogue_depends_on_its_seed_alone() -> None:
    catalogue.cache_clear()
    first = catalogue(40, 1).products
    catalogue.cache_clear()
    again, other = catalogue(40, 1).products, catalogue(40, 2).products
    assert first == again != other


def test_search_prefers_telling_words_and_breaks_ties_by_code() -> None:
    shelves = Catalogue([Product(f"P{i}", MUG, "Dunmoor", ("with lid",), {}, 1.0) for i in range(3)])
    assert [found.code for found in shelves.search("coffee mug", 2)] == ["P0", "P1"]
    assert shelves.search("zebra", 3) == []


def test_players_stand_in_order_between_floor_and_ceiling() -> None:
    env = make_env(ShopConfig())
    means = [
        np.mean([episode.episode_return for episode in play_many(env, player, range(100))])
        for player in (window_shopper, hasty, expert)
    ]
    assert means[0] < 0.25 < 0.4 < means[1] < 0.7
    assert means[2] == 1.0
