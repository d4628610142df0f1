"""Publish a recording again, at the pace at which it was recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from ..core.progress import progress_bar
from ._ros_client import asker
from ._ros_env import enter_ros, find_ros, localhost_only
from ._verb import Verb


@dataclass(frozen=True)
class RosReplayConfig:
    """Keys of `kalie ros replay`.

    Attributes:
        bag: the MCAP file; one that was cut off is played to the cut.
        rate: how fast time passes; 2.0 is twice as fast.
        topics: which; empty for all.
        loop: begin again at the end, until Ctrl-C.
        commands: publish topics too that can move a robot or set a task; without it they are left out.
        discovery: localhost keeps it on this computer, environment leaves that to the variables of ROS.
    """

    bag: Path
    rate: float = 1.0
    topics: tuple[str, ...] = ()
    loop: bool = False
    commands: bool = False
    discovery: Literal["localhost", "environment"] = "localhost"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"rate={self.rate} must be positive")


def main(cfg: RosReplayConfig) -> None:
    """Publish it, unless somebody else publishes the same topics now."""
    enter_ros(localhost_only(find_ros().distro) if cfg.discovery == "localhost" else {})
    from kalie_ros.bag import BagReader
    from kalie_ros.replay import Player, ReplaySettings

    settings = ReplaySettings(cfg.rate, cfg.topics, cfg.loop, cfg.commands)
    console = Console(highlight=False)
    with BagReader(cfg.bag) as bag, asker("replay") as ask:
        player = Player(ask.node, bag, settings)
        for name, reason in player.left_out.items():
            console.print(f"{name} is left out: {escape(reason)}", soft_wrap=True)
        player.check_alone()
        with progress_bar("replaying, seconds") as progress:
            count = player.play(progress)
        console.print(f"{count} messages of {len(player.topics)} topics")
        if bag.losses:
            console.print(f"{cfg.bag} is damaged; lost: {escape('; '.join(bag.losses))}", soft_wrap=True)


VERB = Verb(
    RosReplayConfig,
    main,
    examples=(
        "kalie ros replay bag=recordings/20260101-120000.mcap",
        "kalie ros replay bag=episode.mcap rate=2.0 topics=[/joint_states,/tf_static] loop=true",
    ),
)
