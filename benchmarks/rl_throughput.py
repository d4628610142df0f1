"""Speed of rl/ beside a bare loop of PyTorch, TRL and Stable-Baselines3.

    python benchmarks/rl_throughput.py --peers .venv-peers/bin/python [--name NAME] [--resume]
    kalie report run=outputs/rl_throughput/latest document=docs/results.md name=rl_throughput

* updates: one optimiser step on about 512 tokens (rows of L/2 to L, half of them the response), with the
  losses of TRL's SFT, DPO and GRPO trainers: the same weights, rows, order and rates on every side, and the
  largest difference between their losses over all steps. No algorithm of ours has DPO's loss or GRPO's
  groups: here they stand on our parts
* rollouts: responses of up to 64 tokens, 32 at a time, with the reward of each, beside the same phase of
  TRL's GRPO trainer; of a model that hardly ever ends one earlier, and of one taught to end them after some
  tokens, sooner or later, as a fine-tuned policy does
* slots: episodes of 4 turns in 32 slots, beside one environment at a time
* conversations of 64 turns: the cache kept from turn to turn, beside every prompt read again; and with a
  window of 8 turns, the last 16 turns beside the first 16 with a full window
* cartpole: iterations of PPO with an MLP on 8 environments, beside Stable-Baselines3's

CPU time of one thread; the sides take turns in blocks of calls. Every cell is kept as it is finished, and
`--resume` goes on with what is missing. Without `--peers` nothing is held against TRL and Stable-Baselines3.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import gymnasium
import numpy as np
import torch
from _cartpole import CartPoleConfig, CartPolePPO
from _measure import Aim, Measured, Yardstick, all_in_turns, cpu_seconds, in_turns, median
from _peers import Peer
from _updates import BETA, CLIP, GRADIENT_CLIP, RATE, Bare, Method, Ours, Rows, draw_rows
from accelerate import Accelerator

from kalie.core.files import write_json
from kalie.core.runs import Run, RunConfig
from kalie.rl.algorithms.sft import cloning_loss
from kalie.rl.batches import Row as TokenRow
from kalie.rl.decoder import SlotDecoder
from kalie.rl.envs.base import ObservationSpace, Step, TextSpace
from kalie.rl.learner import Learner, Loss, OptimizerConfig
from kalie.rl.models import TinyLMConfig
from kalie.rl.policy import Policy, Scores
from kalie.rl.rollout import RolloutConfig, RolloutEngine, episodes
from kalie.rl.samples import Sample, batch_samples, tokens_of
from kalie.rl.types import Observation

Row = dict[str, Any]
SIZES: Mapping[str, TinyLMConfig] = {
    "0.1 M": TinyLMConfig(hidden=48, layers=2),
    "0.35 M": TinyLMConfig(hidden=104, layers=2),
    "1.4 M": TinyLMConfig(hidden=240, layers=2),
    "2.7 M": TinyLMConfig(hidden=280, layers=3),
}
SMALLEST, LARGEST = "0.1 M", "2.7 M"
CONVERSING = ("0.1 M", "0.35 M")
LENGTHS = (32, 128, 512)
STEP_TOKENS = 512
BLOCKS = {"0.1 M": 4, "0.35 M": 4, "1.4 M": 1, "2.7 M": 1}
SLOTS, EACH, RESPONSE_TOKENS, ROLLOUT_BLOCK = 32, 8, 64, 4
MEAN_TOKENS, LESSONS = 16, 60
TURNS, TALKERS, ANSWER_TOKENS, WINDOW, SPAN = 64, 4, 8, 8, 16
UPDATE_AIM = Aim("most", 1.1)
ROLLOUT_AIMS = {size: Aim("least", 2.0 if size == SMALLEST else 1.2) for size in SIZES}
SLOTS_AIM, CACHE_AIM, WINDOW_AIM, CARTPOLE_AIM = (
    Aim("least", 5.0),
    Aim("least", 4.0),
    Aim("most", 1.1),
    Aim("least", 1.0),
)


@dataclass(frozen=True)
class ThroughputConfig:
    """What is written beside the figures.

    Attributes:
        peers: interpreter of the environment with TRL and Stable-Baselines3; empty leaves them out.
        rounds: turns of each side.
        quick: whether the figures mean nothing.
    """

    peers: str
    rounds: int
    quick: bool


# ---- updates ---------------------------------------------------------------------------------------------


def updates(method: Method, size: str, length: int, trl: Peer | None, rounds: int) -> list[Row]:
    """One optimiser step: ours beside the bare loop, and beside TRL's trainer."""
    policy = Policy.load(SIZES[size], 0)
    rows = draw_rows(method, policy.network, length, max(2, STEP_TOKENS // length), seed=0)
    bare, ours = Bare(method, copy.deepcopy(policy.network), rows), Ours(method, policy, rows)
    yardsticks = [Yardstick("bare loop", partial(cpu_seconds, bare.step), UPDATE_AIM)]
    losses = [bare.losses]
    if trl is not None:
        begin_training(trl, method, policy, rows)
        losses.append([])
        yardsticks.append(Yardstick(f"TRL {trl.versions['trl']}", partial(their_steps, trl, losses[1]), None))
    what = f"{method} step, {size}, {length} tokens"
    measured = all_in_turns(what, partial(cpu_seconds, ours.step), yardsticks, rounds, BLOCKS[size])
    if trl is not None:
        trl.ask(end=True)
    return [row_of(one, difference(ours.losses, other)) for one, other in zip(measured, losses, strict=True)]


def begin_training(trl: Peer, method: Method, policy: Policy, rows: Rows) -> None:
    """Let TRL's trainer of that name wait for steps, with the weights that the policy has now."""
    settings = {"rate": RATE, "gradient_clip": GRADIENT_CLIP, "beta": BETA, "clip": CLIP}
    with saved(policy) as folder:
        trl.ask(trainer=method, model=str(folder), rows={**rows.plain(), "settings": settings})


def their_steps(trl: Peer, losses: list[float], steps: int) -> float:
    """CPU time of so many steps of the trainer that waits; their losses are added."""
    reply = trl.ask(calls=steps)
    losses += reply["losses"]
    return float(reply["seconds"])


def difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest between the losses of the same steps."""
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def row_of(measured: Measured, loss_difference: float | None = None) -> Row:
    """As a row of the run."""
    shown = "" if loss_difference is None else f"{loss_difference:.1e}"
    return {**measured.row(), "loss_difference": shown}


# ---- rollouts --------------------------------------------------------------------------------------------


class Chatter(gymnasium.Env[Observation, str]):
    """A few turns in which anything may be said; the reward is the share of the letter e.

    Args:
        turns: of an episode.
    """

    def __init__(self, turns: int) -> None:
        self.action_space, self.observation_space = TextSpace(("e",)), ObservationSpace()
        self._turns = turns

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin."""
        super().reset(seed=seed)
        self._turn = 0
        return Observation(prompt_text(int(self.np_random.integers(10)))), {}

    def step(self, action: str) -> Step:
        """A turn."""
        self._turn += 1
        over = self._turn == self._turns
        info: dict[str, Any] = {"valid": True, "action": action, "success": True}
        reward = action.count("e") / max(1, len(action))
        return Observation(prompt_text(int(self.np_random.integers(10)))), reward, over, False, info


def prompt_text(number: int) -> str:
    """What is shown."""
    return f"write something with the letter e, number {number}"


class Engine:
    """Rollouts of `Chatter`, always of new episodes.

    Args:
        policy: that answers.
        slots: how many run at a time.
        turns: of an episode.
    """

    def __init__(self, policy: Policy, slots: int, turns: int) -> None:
        decoder = SlotDecoder(policy, slots, RESPONSE_TOKENS, 1.0)
        make_env = partial(Chatter, turns)
        self._engine = RolloutEngine(make_env, policy, decoder, RolloutConfig(), "chatter")
        self._decoder = decoder
        self._first = 0

    def seconds(self, count: int) -> float:
        """CPU time of so many batches of episodes, as many as TRL has in a batch."""
        source = episodes(0, "speed", self._first, SLOTS * count)
        self._first += len(source)
        begin = time.process_time()
        list(self._engine.run(source))
        return time.process_time() - begin

    def mean_tokens(self) -> float:
        """Of a rollout so far."""
        return self._decoder.tokens_sampled / self._first

    def close(self) -> None:
        """End the environments."""
        self._engine.close()


def rollouts(size: str, ending: bool, trl: Peer, rounds: int) -> list[Row]:
    """Batches of single-turn rollouts of a model that ends its responses, or of one that does not."""
    policy = ending_policy(size) if ending else Policy.load(SIZES[size], 0)
    name = f"TRL {trl.versions['trl']}, GRPO"
    prompts = [prompt_text(index // EACH) for index in range(SLOTS)]
    with saved(policy) as folder, closing(Engine(policy, SLOTS, turns=1)) as engine:
        trl.ask(rollouts=str(folder), prompts=prompts, each=EACH, tokens=RESPONSE_TOKENS)
        lengths: list[float] = []

        def theirs(calls: int) -> float:
            reply = trl.ask(calls=calls)
            lengths.extend(reply["lengths"])
            return float(reply["seconds"])

        measured = in_turns("", engine.seconds, name, theirs, ROLLOUT_AIMS.get(size), rounds, ROLLOUT_BLOCK)
        trl.ask(end=True)
        tokens = f"of {engine.mean_tokens():.0f} tokens (theirs {np.mean(lengths):.0f})"
    return [row_of(replace(measured, what=f"{SLOTS} rollouts {tokens}, {size}"))]


def ending_policy(size: str) -> Policy:
    """A model taught to end its responses after so many tokens on average, wherever it is."""
    policy, rng = Policy.load(SIZES[size], 0), np.random.default_rng(0)
    learner = Learner(policy, OptimizerConfig(learning_rate=3e-3), Accelerator(cpu=True))
    end, words = policy.end_ids[0], np.setdiff1d(np.arange(len(policy.tokenizer)), policy.end_ids)

    def draw_sample() -> Sample:
        begin = policy.conversation().observe(Observation(prompt_text(int(rng.integers(10))))).ids
        said = rng.choice(words, size=rng.geometric(1 / MEAN_TOKENS) - 1)
        ids = np.concatenate([begin, said, [end]])
        return Sample(TokenRow(ids, (), ((len(begin), len(ids)),)), {})

    def loss(samples: list[Sample]) -> Loss:
        scores: Scores = learner.module(batch_samples(policy, samples).tokens)
        return Loss(cloning_loss(scores.log_probs).loss, tokens_of(samples), {})

    for _ in range(LESSONS):
        learner.step([[draw_sample() for _ in range(SLOTS)]], loss, tokens_of)
    return policy


def slots(size: str, rounds: int) -> list[Row]:
    """The same number of episodes in many slots, and one after the other."""
    what = f"{SLOTS} episodes of 4 turns, {SLOTS} slots, {size}"
    policy = Policy.load(SIZES[size], 0)
    with closing(Engine(policy, SLOTS, turns=4)) as many, closing(Engine(policy, 1, turns=4)) as single:
        yardstick = "one environment at a time"
        return [row_of(in_turns(what, many.seconds, yardstick, single.seconds, SLOTS_AIM, rounds))]


# ---- conversations ---------------------------------------------------------------------------------------


class Talk:
    """Conversations of 64 turns, answered greedily.

    Args:
        size: of the model.
        window: turns that a prompt shows; 0 for all.
        reuse: whether the cache is kept from turn to turn.
    """

    def __init__(self, size: str, window: int = 0, reuse: bool = True) -> None:
        self._policy = Policy.load(replace(SIZES[size], window=window, max_prompt_tokens=8192), 0)
        self._decoder = SlotDecoder(self._policy, TALKERS, ANSWER_TOKENS, 0.0, refill=1.0, reuse=reuse)
        self.tokens: list[list[int]] = []
        self.turn_seconds: list[float] = []

    def run(self) -> None:
        """Once, from nothing; `tokens` and `turn_seconds` are then of this run."""
        self.tokens, self.turn_seconds = [[] for _ in range(TALKERS)], []
        self._decoder.restart()
        talks = [self._policy.conversation() for _ in range(TALKERS)]
        rng = np.random.default_rng(0)
        for turn in range(TURNS):
            begin = time.process_time()
            for slot, talk in enumerate(talks):
                shown = talk.observe(Observation(prompt_text(100 + 10 * turn + slot)))
                self._decoder.submit(slot, shown, rng)
            left = TALKERS
            while left:
                for slot, response in self._decoder.poll():
                    talks[slot].respond(response.ids.tolist())
                    self.tokens[slot] += response.ids.tolist()
                    left -= 1
            self.turn_seconds.append(time.process_time() - begin)


def conversations(size: str, rounds: int) -> list[Row]:
    """The cache kept beside reading again, and the cost of late turns with a window."""
    kept, again = Talk(size), Talk(size, reuse=False)
    measured = in_turns(
        f"{TALKERS} conversations of {TURNS} turns, {size}",
        partial(cpu_seconds, kept.run),
        "every prompt read again",
        partial(cpu_seconds, again.run),
        CACHE_AIM,
        rounds,
    )
    if kept.tokens != again.tokens:
        raise RuntimeError(f"{size}: the kept cache changed greedy tokens")
    windowed = Talk(size, window=WINDOW)
    late, early = [], []
    for _ in range(rounds + 1):
        windowed.run()
        late.append(sum(windowed.turn_seconds[-SPAN:]))
        early.append(sum(windowed.turn_seconds[WINDOW : WINDOW + SPAN]))
    ratio = median([a / b for a, b in zip(late[1:], early[1:], strict=True)])
    what = f"turns {TURNS - SPAN + 1}-{TURNS} with a window of {WINDOW}, {size}"
    yardstick = f"turns {WINDOW + 1}-{WINDOW + SPAN}"
    sides = float(np.median(late[1:])), yardstick, float(np.median(early[1:]))
    return [row_of(measured), row_of(Measured(what, *sides, ratio, WINDOW_AIM))]


# ---- CartPole --------------------------------------------------------------------------------------------


def cartpole(python: str, rounds: int) -> list[Row]:
    """Iterations of PPO: environment steps a second, and that both sides learn."""
    config = CartPoleConfig()
    block, steps = 5, config.n_envs * config.n_steps
    ours, returns = CartPolePPO(config), {"ours": list[float](), "theirs": list[float]()}
    with closing(Peer(python, "peer_sb3.py")) as peer:
        peer.ask(settings=config.plain())

        def mine(calls: int) -> float:
            before, seconds = ours.episodes, ours.seconds(calls)
            returns["ours"].append(calls * steps / max(1, ours.episodes - before))
            return seconds

        def theirs(calls: int) -> float:
            reply = peer.ask(calls=calls)
            returns["theirs"].append(calls * steps / max(1, reply["episodes"]))
            return reply["seconds"]

        name = f"Stable-Baselines3 {peer.versions['stable_baselines3']}"
        what = f"PPO on CartPole, {steps} steps"
        measured = in_turns(what, mine, name, theirs, CARTPOLE_AIM, rounds, block)
    last = {side: float(np.mean(found[-3:])) for side, found in returns.items()}
    learnt = f"mean return at the end {last['ours']:.0f} and {last['theirs']:.0f}"
    return [row_of(replace(measured, what=f"{what} ({learnt})"))]


# ---- the run ---------------------------------------------------------------------------------------------


@contextmanager
def saved(policy: Policy) -> Iterator[Path]:
    """A folder with the model, for another process."""
    with tempfile.TemporaryDirectory() as folder:
        policy.network.save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)
        yield Path(folder)


def cells(config: ThroughputConfig, trl: Peer | None) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """The name of each cell, and what computes it."""
    rounds = config.rounds
    for size in [SMALLEST] if config.quick else SIZES:
        for length in LENGTHS[:1] if config.quick else LENGTHS:
            for method in get_args(Method):
                yield f"{method}-{size}-{length}", partial(updates, method, size, length, trl, rounds)
        if trl is not None:
            yield f"rollouts-{size}", partial(rollouts, size, False, trl, rounds)
            yield f"rollouts-ending-{size}", partial(rollouts, size, True, trl, rounds)
        if size in (SMALLEST, LARGEST):
            yield f"slots-{size}", partial(slots, size, min(rounds, 3))
        if size in CONVERSING:
            yield f"conversations-{size}", partial(conversations, size, min(rounds, 3))
    if config.peers:
        yield "cartpole", partial(cartpole, config.peers, 2 * rounds)


def main() -> None:
    """Measure and write the run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers", default="", metavar="PYTHON", help="interpreter with TRL and Stable-Baselines3"
    )
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of all runs")
    parser.add_argument("--name", default="", help="of the run; the time of the start when left out")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run of this name, or the latest"
    )
    parser.add_argument("--quick", action="store_true", help="tiny: to see that it runs, not to measure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = ThroughputConfig(options.peers, 2 if options.quick else 10, options.quick)
    where = RunConfig(options.outputs, options.name, options.resume)
    trl = Peer(options.peers, "peer_trl.py") if options.peers else None
    with Run.open("rl_throughput", where, config, seeds=[0]) as run:
        for name, compute in cells(config, trl):
            for row in kept(run, name, compute):
                sys.stdout.write(
                    f"{row['what']:56} {row['yardstick']:32} {row['value']:7.3f}  {row['aim']}\n"
                )
                run.add_row(**row)
    if trl is not None:
        trl.close()


def kept(run: Run, name: str, compute: Callable[[], list[Row]]) -> list[Row]:
    """A cell's rows, computed unless they were before."""
    path = run.path / "cells" / f"{name.replace(' ', '')}.json"
    if not path.exists():
        with run.stage(name):
            write_json(path, {"rows": compute()})
    return json.loads(path.read_text("utf-8"))["rows"]


if __name__ == "__main__":
    main()
