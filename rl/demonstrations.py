"""Demonstrations: episodes that a scripted player plays, as trajectories of the policy's own tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .envs.base import AgentEnv
from .envs.players import Player
from .policy import Policy
from .rollout import Episode, Finished
from .types import Trajectory, Turn


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
