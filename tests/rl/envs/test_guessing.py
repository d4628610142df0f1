"""Twenty Questions and Guess My City: rules, the exhaustive optimum, oracles, players."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

from kalie.rl.envs.base import EnvironmentFailure
from kalie.rl.envs.check import check_env
from kalie.rl.envs.cities import CITIES
from kalie.rl.envs.guess_my_city import GuessMyCityConfig, GuessMyCityEnv
from kalie.rl.envs.guessing import GuessingGame, all_questions, expert, mediocre, optimum
from kalie.rl.envs.guessing_values import Optimum
from kalie.rl.envs.knowledge import Knowledge
from kalie.rl.envs.objects import OBJECTS
from kalie.rl.envs.players import best_share, play_many, random_example
from kalie.rl.envs.registry import make_env
from kalie.rl.envs.twenty_questions import TwentyQuestionsConfig, TwentyQuestionsEnv

GAMES = (TwentyQuestionsEnv, GuessMyCityEnv)
ALL_OBJECTS = TwentyQuestionsConfig(names=len(OBJECTS.names), facts=len(OBJECTS.facts))


def hiding(secret: str, **keys: Any) -> TwentyQuestionsEnv:  # noqa: ANN401
    everything = {"names": len(OBJECTS.names), "facts": len(OBJECTS.facts)}
    env = TwentyQuestionsEnv(TwentyQuestionsConfig(**{**everything, **keys}))
    env.reset(seed=0, options={"secret": secret})
    return env


@pytest.mark.parametrize(
    "config", [TwentyQuestionsConfig(), GuessMyCityConfig(shown="newest", instructions=True)]
)
def test_both_games_keep_the_contract(config: TwentyQuestionsConfig | GuessMyCityConfig) -> None:
    check_env(lambda: make_env(config))


@pytest.mark.parametrize("knowledge", [OBJECTS, CITIES])
def test_every_thing_of_the_table_differs_from_all_others(knowledge: Knowledge) -> None:
    assert len(set(knowledge.table.values())) == len(knowledge.names)
    assert all(0 < mask < knowledge.everything for mask in knowledge.masks)


def test_facts_are_answered_from_the_table_and_cost_one() -> None:
    env = hiding("eagle")
    assert [env.step(f"Is it {fact}?")[1] for fact in ("an animal", "food")] == [-1.0, -1.0]
    assert env.observe().text == "Questions:\nIs it an animal? Yes.\nIs it food? No.\n"


def test_a_win_costs_nothing_and_ends() -> None:
    env = hiding("eagle")
    env.step("Is it an animal?")
    _, reward, terminated, truncated, info = env.step("is it an Eagle ?")
    assert (reward, terminated, truncated, info["success"]) == (0.0, True, False, True)


@pytest.mark.parametrize("name", [name for name in OBJECTS.names if " " in name or "-" in name])
def test_names_of_several_words_can_be_won(name: str) -> None:
    env = hiding(name)
    assert env.step(env.name_question(name))[4]["success"] is True


@pytest.mark.parametrize(
    "question", ["Is it a ball?", "Is it a tennis?", "Is it a ball tennis?", "Is it tennis balls?"]
)
def test_half_a_name_wins_nothing(question: str) -> None:
    _, reward, terminated, _, info = hiding("tennis ball").step(question)
    assert (reward, terminated, info["valid"]) == (-1.0, False, False)


def test_a_wrong_guess_is_answered_no() -> None:
    env = hiding("tennis ball")
    assert env.step("Is it a football?")[1:4] == (-1.0, False, False)
    assert env.observe().text.endswith("Is it a football? No.\n")


@pytest.mark.parametrize(
    "text", ["What is it?", "Is it nice?", "an animal", "Is it an animal? Is it food?", "Is it ?"]
)
def test_when_it_is_no_question_of_the_game_expect_invalid_question(text: str) -> None:
    env = hiding("eagle")
    _, reward, _, _, info = env.step(text)
    assert (reward, info["valid"]) == (-1.0, False)
    assert env.observe().text == f"Questions:\n{text} Invalid Question.\n"


def test_when_the_text_is_endless_expect_a_short_echo() -> None:
    env = hiding("eagle")
    observation, *_ = env.step("Is it \x00\ud800 an animal? " * 10_000)
    assert len(observation.text) < 250
    assert observation.text.isprintable() is False  # the line breaks
    assert "\x00" not in observation.text
    observation.text.encode("utf-8")


@pytest.mark.parametrize(("terminates", "ends"), [(False, (False, True)), (True, (True, False))])
def test_running_out_of_turns_truncates_unless_configured(terminates: bool, ends: tuple[bool, bool]) -> None:
    env = hiding("eagle", max_turns=3, limit_terminates=terminates)
    steps = [env.step(text) for text in ("Is it food?", "nonsense", "Is it food?")]
    assert [step[2:4] for step in steps] == [(False, False), (False, False), ends]
    assert steps[-1][4]["success"] is False


def test_only_the_newest_answer_is_shown_where_asked_for() -> None:
    env = hiding("eagle", shown="newest")
    env.step("Is it food?")
    assert env.step("Is it an animal?")[0].text == "Yes.\n"


def test_when_a_size_is_too_large_expect_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="names=1000 must lie between"):
        TwentyQuestionsEnv(TwentyQuestionsConfig(names=1000))
    with pytest.raises(ValueError, match="facts=99 must lie between"):
        GuessMyCityEnv(GuessMyCityConfig(facts=99))


def brute_force(knowledge: Knowledge, things: frozenset[str], turns: int) -> float:
    """The best sum of returns over the things, with no bound and no memory."""
    if turns == 0:
        return 0.0
    best = -float("inf")
    for fact in knowledge.facts:
        yes = frozenset(name for name in things if knowledge.holds(name, fact))
        parts = [part for part in (yes, things - yes) if part]
        best = max(best, sum(brute_force(knowledge, part, turns - 1) for part in parts) - len(things))
    for name in things:
        rest = things - {name}
        later = brute_force(knowledge, rest, turns - 1) if rest else 0.0
        best = max(best, later - len(rest))
    return best


@pytest.mark.parametrize(("names", "facts", "turns"), [(4, 2, 4), (5, 3, 3), (5, 2, 5), (6, 3, 2)])
def test_the_optimum_equals_a_search_without_bounds(names: int, facts: int, turns: int) -> None:
    for knowledge in (OBJECTS.first(names, facts), CITIES.first(names, facts)):
        exact = brute_force(knowledge, frozenset(knowledge.names), turns) / names
        assert Optimum(knowledge, turns).mean_return == pytest.approx(exact)


def test_four_things_and_two_perfect_facts_need_no_more_than_guesses() -> None:
    """By hand: guessing in turn costs 0 + 1 + 2 + 3, as does splitting 2|2: 4 + (0 + 1) + (0 + 1)."""
    rows = dict(zip("abcd", ("x, y", "x", "y", "z"), strict=True))
    assert Optimum(Knowledge.of(("x", "y", "z"), rows), 10).mean_return == -1.5


@pytest.mark.parametrize("game", GAMES)
def test_the_expert_plays_the_optimum(game: type[TwentyQuestionsEnv] | type[GuessMyCityEnv]) -> None:
    env = game()
    returns = []
    for name in env.knowledge.names:
        env.reset(seed=0, options={"secret": name})
        total, terminated = 0.0, False
        while not terminated:
            _, reward, terminated, truncated, _ = env.step(expert(env, np.random.default_rng(0)))
            total += reward
            assert not truncated
        returns.append(total)
    assert np.mean(returns) == pytest.approx(optimum(game, env.config).mean_return)


def test_a_turn_limit_lowers_what_can_be_reached_only_when_it_binds() -> None:
    knowledge = OBJECTS.first(32, 12)
    wide, narrow = Optimum(knowledge, 20).mean_return, Optimum(knowledge, 4).mean_return
    assert Optimum(knowledge, 30).mean_return == wide
    assert narrow > -4.0
    assert wide < narrow  # the limit cuts the costs off with the game


def test_players_stand_in_order_between_floor_and_ceiling() -> None:
    env = make_env(TwentyQuestionsConfig())
    floor, middle = (play_many(env, player, range(200)) for player in (random_example, mediocre()))
    means = [np.mean([episode.episode_return for episode in episodes]) for episodes in (floor, middle)]
    ceiling = optimum(TwentyQuestionsEnv, TwentyQuestionsConfig()).mean_return
    assert means[0] + 2 < means[1] < ceiling - 1


def test_filtered_demonstrations_are_the_best_ones() -> None:
    episodes = play_many(make_env(TwentyQuestionsConfig()), mediocre(), range(100))
    kept = best_share(episodes, 0.2)
    assert 20 <= len(kept) < 50
    worst = min(episode.episode_return for episode in kept)
    assert all(episode.episode_return < worst for episode in episodes if episode not in kept)


def test_every_question_of_the_examples_is_valid() -> None:
    for game in GAMES:
        env: GuessingGame = game()
        for question in all_questions(env):
            env.reset(seed=0)
            assert env.step(question)[4]["valid"] is True, question


@contextmanager
def server(replies: list[str]) -> Iterator[tuple[str, list[str]]]:
    """A chat server that gives these replies in turn, then 500; yields its address and the prompts it got."""
    prompts: list[str] = []
    left = itertools.chain(replies)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompts.append(body["messages"][0]["content"][0]["text"])
            reply = next(left, None)
            self.send_response(200 if reply is not None else 400)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": reply}}]}).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/v1", prompts
    running.shutdown()
    running.server_close()


def test_a_chat_model_can_be_the_oracle() -> None:
    with server(["Yes, it does.", "no", "Perhaps."]) as (url, prompts):
        env = hiding("eagle", oracle="chat", oracle_url=url, oracle_model="m")
        steps = [env.step(text) for text in ("Can it fly?", "Is it blue?", "Does it dream?")]
        assert env.observe().text.splitlines()[1:] == [
            "Can it fly? Yes.",
            "Is it blue? No.",
            "Does it dream? Invalid Question.",
        ]
        assert all(step[4]["valid"] for step in steps)
        assert "eagle" in prompts[0]
        assert env.step("Is it an eagle?")[4]["success"] is True
        assert len(prompts) == 3


def test_when_the_chat_oracle_gives_the_city_away_expect_it_not_passed_on() -> None:
    with server(["I live in Paris.", "We have a river."]) as (url, _):
        env = GuessMyCityEnv(GuessMyCityConfig(oracle="chat", oracle_url=url, oracle_model="m"))
        env.reset(seed=0, options={"secret": "paris"})
        env.step("Where do you live?")
        env.step("What is there to see?")
        assert env.observe().text.splitlines()[1:] == [
            "Where do you live? I can't answer that question.",
            "What is there to see? We have a river.",
        ]


def test_when_the_oracle_is_out_of_reach_expect_an_environment_failure_and_no_reward() -> None:
    with server([]) as (url, _):
        env = hiding("eagle", oracle="chat", oracle_url=url, oracle_model="m")
        with pytest.raises(EnvironmentFailure, match="oracle"):
            env.step("Can it fly?")


def test_when_a_chat_oracle_has_no_address_expect_an_error_before_any_work() -> None:
    with pytest.raises(ValueError, match="oracle=chat needs oracle_url"):
        TwentyQuestionsConfig(oracle="chat")
