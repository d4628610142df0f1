"""Print the shell lines that let a shell find ROS 2 and the built workspace."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass

from ._ros_env import find_ros, ros_environment
from ._verb import Verb


@dataclass(frozen=True)
class RosEnvConfig:
    """Keys of `kalie ros env`."""


def main(cfg: RosEnvConfig) -> None:
    """Write one export for every variable that differs from this process's."""
    for name, value in ros_environment(find_ros()).items():
        if os.environ.get(name) != value:
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


VERB = Verb(
    RosEnvConfig,
    main,
    examples=("kalie ros env", "kalie ros env --help"),
)
