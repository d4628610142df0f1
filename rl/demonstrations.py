"""Demonstrations: episodes that a scripted player plays, as trajectories of the policy's own tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .envs.adventure import AdventureConfig
from .envs.base import AgentEnv, EnvConfig
from .envs.blackjack import BlackjackConfig
from .envs.guessing import GuessingConfig
from .envs.number_line import NumberLineConfig
from .envs.players import Player, mixed, random_example
from .envs.points import PointsConfig
from .policy import Policy
from .rollout import Episode, Finished
from .types import Trajectory, Turn


def demonstrator(config: EnvConfig, misread: float, misjudge: float) -> Player:
    """A scripted player of an environment, deliberately imperfect.

    Args:
        config: of the environment.
        misread: share of answers that read something wrong, where there is something to read.
        misjudge: share of answers that decide wrong.

    Raises:
        ValueError: the environment has none.
    """
    if isinstance(config, NumberLineConfig):
        from .envs import number_line

        return number_line.demonstrator(misread, misjudge)
    if isinstance(config, PointsConfig):
        from .envs import points

        return points.demonstrator(misread, misjudge)
    if isinstance(config, BlackjackConfig):
        from .envs import blackjack

        return blackjack.demonstrator(misread, misjudge)
    if isinstance(config, GuessingConfig):
        from .envs.guessing import expert, mediocre

        return mediocre(misjudge) if misjudge else expert
    if isinstance(config, AdventureConfig):
        from .envs.adventure import expert as adventurer

        return mixed(adventurer, random_example, misjudge)
    raise ValueError(f"{config.env_id} has no scripted demonstrator; give stored trajectories instead")


def demonstrate(
    env: AgentEnv, player: Player, policy: Policy, episodes: Iterable[Episode], env_id: str
) -> Iterator[Finished]:
    """Play episodes; each response is tokenised once, as the policy would have sampled it.

    Log-probabilities are 0: nobody sampled the responses.
    """
    for item in episodes:
        yield Finished(item.index, _demonstration(env, player, policy, item, env_id))


def _demonstration(env: AgentEnv, player: Player, policy: Policy, item: Episode, env_id: str) -> Trajectory:
    rng = item.rng()
    conversation = policy.conversation()
    observation, reset_info = env.reset(seed=item.env_seed)
    turns: list[Turn] = []
    while not turns or not (turns[-1].terminated or turns[-1].truncated):
        prompt = conversation.observe(observation)
        text = player(env, rng)
        ids = [*policy.renderer.text_ids(text), policy.tokenizer.eos_token_id]
        conversation.respond(ids, text)
        after, reward, terminated, truncated, info = env.step(text)
        more = {key: value for key, value in info.items() if key not in ("action", "valid")}
        turns.append(
            Turn(
                observation=observation,
                prompt_ids=prompt.ids,
                response_ids=np.array(ids, dtype=np.int64),
                log_probs=np.zeros(len(ids), dtype=np.float32),
                text=text,
                action=info["action"],
                valid=bool(info["valid"]),
                reward=float(reward),
                terminated=bool(terminated),
                truncated=bool(truncated),
                info=more,
            )
        )
        observation = after
    return Trajectory(env_id, item.env_seed, tuple(turns), observation, dict(reset_info))
