"""Does an environment keep the contract of `base.py`? In the manner of Gymnasium's `check_env`.

    check_env(lambda: gymnasium.make("kalie/NumberLine-v0"))

raises `ContractViolation` at the first breach; each message names the method and the expected value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..types import Observation
from .base import AgentEnv, ObservationSpace, Step, TextSpace, TurnEnv
from .players import Player, random_example

Make: TypeAlias = Callable[[], AgentEnv]

INVALID: tuple[str, ...] = (
    "",
    " \n\t",
    "no JSON at all",
    "spam " * 20_000,
    '{"action": "no such action"}',
    '{"action": "a"} {"action": "b"}',
    '{"action": ["a", "b"]}',
    '{"action": null, "action": null}',
    "[" * 200,
    "\x00\x07\x1b[2J\ud800",
)
"""Responses that hold no action in any environment: empty, endless, doubled, unknown, nested, control."""


class ContractViolation(AssertionError):
    """An environment breaks the contract; the message names the method and the expected value."""


@dataclass(frozen=True)
class Limits:
    """How much is tried.

    Attributes:
        seeds: episodes that are played.
        most_turns: an episode must have ended by then.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    most_turns: int = 500


def check_env(make: Make, player: Player = random_example, limits: Limits | None = None) -> None:
    """Check every rule of the contract.

    Args:
        make: builds the environment; it is called several times.
        player: answers with actions now and then; the environment's examples by default.
        limits: how much is tried.

    Raises:
        ContractViolation: at the first rule that is broken.
    """
    limits = limits or Limits()
    env = make()
    _check_declarations(env)
    _check_step_before_reset(env)
    _check_reset(env, limits)
    for seed in limits.seeds:
        _check_episode(env, player, seed, limits)
    _check_invalid_responses(env, player, limits)
    _check_determinism(env, make, player, limits)
    env.close()


def _demand(kept: bool, method: str, expected: str, found: object) -> None:
    if not kept:
        raise ContractViolation(f"{method}: expected {expected}, got {str(found)[:200]}")


def _check_declarations(env: AgentEnv) -> None:
    bare = env.unwrapped
    _demand(isinstance(bare, TurnEnv), "env.unwrapped", "a TurnEnv (rl/envs/base.py)", type(bare).__name__)
    _demand(isinstance(env.action_space, TextSpace), "action_space", "a TextSpace", env.action_space)
    space = env.observation_space
    _demand(isinstance(space, ObservationSpace), "observation_space", "an ObservationSpace", space)
    rule = getattr(type(bare), "invalid_rule", "")
    _demand(isinstance(rule, str) and bool(rule), "invalid_rule", "the rule for invalid text, in words", rule)


def _check_step_before_reset(env: AgentEnv) -> None:
    try:
        env.step("")
    except Exception:  # noqa: BLE001  Gymnasium's wrapper has an error class of its own
        return
    raise ContractViolation("step: expected an error before the first reset, got a step")


def _check_reset(env: AgentEnv, limits: Limits) -> None:
    result = env.reset(seed=limits.seeds[0])
    _demand(isinstance(result, tuple) and len(result) == 2, "reset", "(observation, info)", result)
    _check_observation("reset", env, result[0])
    _check_json("reset: info", result[1])
    known, responses = env.unwrapped, env.action_space.examples  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(known, TurnEnv)  # noqa: S101  _check_declarations has seen to it
    readable = [response for response in responses if _reads(known, response)]
    _demand(bool(readable), "action_space.examples", "one that holds an action after reset", responses)


def _reads(env: TurnEnv, response: str) -> bool:
    try:
        env.read(response)
    except ValueError:
        return False
    return True


def _check_observation(method: str, env: AgentEnv, observation: object) -> None:
    space = env.observation_space
    _demand(space.contains(observation), method, f"an observation in {_shown(space)}", _shown(observation))  # pyright: ignore[reportArgumentType]


def _shown(thing: object) -> str:
    if isinstance(thing, ObservationSpace):
        return f"ObservationSpace(images={thing.images})"
    if isinstance(thing, Observation):
        images = [f"{image.dtype}{image.shape}" for image in thing.images]
        return f"Observation({type(thing.text).__name__}, images={images})"
    return repr(thing)


def _check_json(method: str, info: object) -> None:
    _demand(isinstance(info, dict), method, "a dict", type(info).__name__)
    try:
        json.dumps(info, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ContractViolation(f"{method}: expected JSON with finite numbers only, got {error}") from None


def _check_step(env: AgentEnv, step: Any) -> bool:  # noqa: ANN401  whatever step returned
    """Every rule on one step's result; returns whether the episode is over."""
    _demand(isinstance(step, tuple) and len(step) == 5, "step", "five values", step)
    observation, reward, terminated, truncated, info = step
    _check_observation("step", env, observation)
    finite = type(reward) in (float, int) and math.isfinite(reward)
    _demand(finite, "step", "reward as a finite float", repr(reward))
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        _demand(type(flag) is bool, "step", f"{name} as a bool", repr(flag))
    both = terminated and truncated
    _demand(not both, "step", "terminated or truncated, not both", "both true")
    _check_info(info, terminated or truncated)
    return terminated or truncated


def _check_info(info: Any, over: bool) -> None:  # noqa: ANN401  whatever step returned
    _check_json("step: info", info)
    _demand(type(info.get("valid")) is bool, "step", 'info["valid"] as a bool', info.get("valid"))
    _demand("action" in info, "step", 'info["action"]', sorted(info))
    if info["valid"]:
        _demand(info["action"] is not None, "step", 'info["action"] of a valid response', None)
    else:
        _demand(info["action"] is None, "step", 'info["action"] None when invalid', info["action"])
    if over:
        found = info.get("success")
        _demand(type(found) is bool, "step", 'info["success"] as a bool on the last step', found)


def _check_episode(env: AgentEnv, player: Player, seed: int, limits: Limits) -> None:
    """One episode to its end; observations stay as they were handed out."""
    rng = np.random.default_rng(seed)
    shown, _ = env.reset(seed=seed)
    kept = _copied(shown)
    for _ in range(limits.most_turns):
        step = env.step(player(env, rng))
        over = _check_step(env, step)
        _demand(shown == kept, "step", "earlier observations left alone", "a changed one")
        shown, kept = step[0], _copied(step[0])
        if over:
            _check_after_the_end(env)
            return
    raise ContractViolation(f"step: expected an end within {limits.most_turns} turns, got none (seed {seed})")


def _check_after_the_end(env: AgentEnv) -> None:
    try:
        env.step("")
    except RuntimeError:
        return
    raise ContractViolation("step: expected RuntimeError after the episode's end, got a step")


def _check_invalid_responses(env: AgentEnv, player: Player, limits: Limits) -> None:
    """Every hostile text is taken, called invalid, changes nothing and draws nothing."""
    bare = env.unwrapped
    assert isinstance(bare, TurnEnv)  # noqa: S101  _check_declarations has seen to it
    rewards: dict[float, str] = {}
    for response in INVALID:
        env.reset(seed=limits.seeds[0])
        world, random = bare.world_state(), _random_state(bare)
        _check_json("world_state", {"state": world})
        step = _taken(env, response)
        _check_step(env, step)
        shown = repr(response[:40])
        _demand(step[4]["valid"] is False, "step", f'info["valid"] False for {shown}', step[4]["valid"])
        after = bare.world_state()
        _demand(after == world, "step", f"the world as it was after {shown}: {world}", after)
        _demand(_random_state(bare) == random, "step", f"no random draw for {shown}", "a changed generator")
        rewards[step[1]] = shown
    _demand(len(rewards) == 1, "step", "one reward for all invalid responses", rewards)


def _taken(env: AgentEnv, response: str) -> Step:
    try:
        return env.step(response)  # pyright: ignore[reportReturnType]  gymnasium types the reward more widely
    except Exception as error:
        shown = repr(response[:40])
        raise ContractViolation(f"step: expected any text to be taken, got {error!r} for {shown}") from error


def _random_state(env: TurnEnv) -> str:
    return str(env.np_random.bit_generator.state)


def _check_determinism(env: AgentEnv, make: Make, player: Player, limits: Limits) -> None:
    other = make()
    for seed in limits.seeds:
        first, again, elsewhere = (_record(e, player, seed, limits) for e in (env, env, other))
        _demand(first == again, "reset", f"the same episode again for seed {seed}", "another")
        same = first == elsewhere
        _demand(same, "reset", f"the same episode in another env for seed {seed}", "another")
    other.close()


Record: TypeAlias = "list[tuple[Observation, tuple[Any, ...]]]"


def _record(env: AgentEnv, player: Player, seed: int, limits: Limits) -> Record:
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    record: Record = [(_copied(observation), (json.dumps(info),))]
    for _ in range(limits.most_turns):
        observation, reward, terminated, truncated, info = env.step(player(env, rng))
        record.append((_copied(observation), (reward, terminated, truncated, json.dumps(info))))
        if terminated or truncated:
            break
    return record


def _copied(observation: Observation) -> Observation:
    return Observation(observation.text, tuple(image.copy() for image in observation.images))
