"""What the verbs of agents share: the task of their environment, figures of episodes, how they are shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.config import ConfigError
from ..core.loggers import Series, read_metrics
from ..core.plots import line_panels
from ..core.report import Picture, Section
from ..core.runs import Run
from ..core.stats import Interval, bootstrap_mean, wilson
from ..rl.collect import judgements
from ..rl.envs.base import EnvConfig
from ..rl.envs.manipulation_config import ManipulationConfig
from ..rl.rollout import Finished
from ..rl.store import TrajectoryStore
from ..rl.types import Json
from ._pages import spread, thinned

EPISODES_SHOWN = 8
_LONGEST = 600


def task_of(env: EnvConfig, task: str) -> EnvConfig:
    """The environment with the task that the command names.

    Raises:
        ConfigError: only manipulation has tasks, and not this one.
    """
    if not task:
        return env
    if not isinstance(env, ManipulationConfig):
        raise ConfigError(f"task={task}: only env=manipulation has tasks")
    chosen = dataclasses.replace(env, task=task)  # pyright: ignore[reportArgumentType]  checked below
    if task not in ("sweep", "drawer", "towel", "pour", "unplug"):
        raise ConfigError(f"task={task}: must be sweep, drawer, towel, pour or unplug")
    return chosen


def episode_figures(finished: Sequence[Finished]) -> dict[str, Interval]:
    """Success with its Wilson interval, return and turns with bootstrap intervals, and shares of turns.

    `invalid` is the share without an action; `faithful`, where the environment judges it, the share of
    answers that state something about the game of which all is true.
    """
    trajectories = [item.trajectory for item in finished]
    turns = [turn for one in trajectories for turn in one.turns]
    judged = judgements(turns)
    faithful = {"faithful": wilson(sum(judged), len(judged))} if judged else {}
    return {
        "success": wilson(sum(one.success for one in trajectories), len(trajectories)),
        "return": bootstrap_mean([one.episode_return for one in trajectories]),
        "turns": bootstrap_mean([len(one.turns) for one in trajectories]),
        "invalid": wilson(sum(not turn.valid for turn in turns), len(turns)),
        **faithful,
    }


def add_episode_rows(run: Run, folder: Path, **labels: str) -> list[Finished]:
    """Add the figures of the newest file of evaluation episodes to the summary; those episodes."""
    store = TrajectoryStore(folder)
    names = store.names()
    if not names:
        return []
    finished = list(store.read(names[-1:]))
    for metric, (value, low, high, n) in episode_figures(finished).items():
        run.add_row(metric, value, low, high, n, split="evaluation", **labels)
    return finished


def show_training(section: Section, path: Path) -> None:
    """A run's `metrics.jsonl`: curves in small charts, and what was measured once as a table."""
    groups: dict[str, dict[str, Series]] = {}
    once = []
    for name, curve in read_metrics(path).items():
        kind, _, short = name.rpartition("/")
        if len(curve[0]) == 1:
            once.append((kind, short, curve[1][0]))
        else:
            groups.setdefault(kind, {})[short] = thinned(curve)
    charts: dict[str, dict[str, Series]] = {}
    for kind in sorted(groups, key=lambda kind: (kind not in _CHARTS, not kind)):
        charts |= _charts(kind, groups[kind])
    if charts:
        section.plot(line_panels(charts, "update"))
    if once:
        section.table(["of", "figure", "value"], once, caption="measured once")


# What matters first, and which curves share a chart.
_CHARTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "evaluation": (("success", "invalid", "faithful"), ("return",)),
    "rollout": (
        ("success", "invalid", "faithful", "repetition"),
        ("return",),
        ("response_tokens",),
        ("turns",),
    ),
}


def _charts(kind: str, curves: Mapping[str, Series]) -> dict[str, dict[str, Series]]:
    """Curves by the chart that they share; of kinds without a choice each has its own."""
    charts = {}
    for names in _CHARTS.get(kind, [(name,) for name in curves]):
        found = {name: curves[name] for name in names if name in curves}
        if found:
            charts[f"{kind}: {', '.join(found)}".removeprefix(": ").replace("_", " ")] = found
    return charts


def show_episodes(section: Section, finished: Sequence[Finished]) -> None:
    """Some episodes turn by turn: what was shown, answered, done and given."""
    for item in spread(list(finished), EPISODES_SHOWN):
        trajectory = item.trajectory
        word = "success" if trajectory.success else "no success"
        rows = [
            (turn.observation.text[-_LONGEST:], turn.text[:_LONGEST], str(turn.action), turn.reward)
            for turn in trajectory.turns
        ]
        caption = f"episode {item.index}: return {trajectory.episode_return:g}, {word}"
        section.table(["shown", "answered", "action", "reward"], rows, caption=caption)
        pictures = [
            Picture(image, f"turn {number + 1}", keypoints_in(turn.action))
            for number, turn in enumerate(trajectory.turns)
            for image in turn.observation.images
        ]
        if pictures:
            section.pictures(pictures, width=240 if any(one.keypoints for one in pictures) else 96)


def keypoints_in(action: Json) -> dict[str, tuple[float, float]]:
    """The keypoints that an action names (env=manipulation), by name, as fractions; none of other actions."""
    affordance = action.get("affordance") if isinstance(action, Mapping) else None
    if not isinstance(affordance, Mapping):
        return {}
    found = {}
    for name, at in affordance.items():
        match at:
            case [int() | float() as x, int() | float() as y]:
                found[name] = (x, y)
            case _:
                pass
    return found
