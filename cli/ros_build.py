"""Build the ROS 2 workspace, against a sourced ROS 2 or the pip wheels."""

from __future__ import annotations

from dataclasses import dataclass

from ._ros_build import build
from ._verb import Verb


@dataclass(frozen=True)
class RosBuildConfig:
    """Keys of `kalie ros build`.

    Attributes:
        packages: only these of the workspace; all if empty.
    """

    packages: tuple[str, ...] = ()


def main(cfg: RosBuildConfig) -> None:
    """Run colcon."""
    build(cfg.packages)


VERB = Verb(
    RosBuildConfig,
    main,
    examples=("kalie ros build", "kalie ros build packages=[kalie_ros,kalie_bringup]"),
)
