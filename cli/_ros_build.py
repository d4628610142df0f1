"""Builds the ROS workspace with colcon, against a sourced ROS 2 or the pip wheels."""

from __future__ import annotations

import logging
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core.files import write_text
from ._ros_env import RosInstall, find_ros, ros_environment, workspace

log = logging.getLogger(__name__)
# Where the machine that made the wheels kept its Python; their CMake files still say so.
FOREIGN_INCLUDE = "/opt/python/cp311-cp311/include/python3.11"
FOREIGN_SITE = "/opt/python/cp311-cp311/lib/python3.11/site-packages"
# Built only where ROS 2 does not bring them; PyPI has neither.
COMPAT = ("control_msgs", "tf2_msgs")


class BuildError(OSError):
    """colcon failed; the message names the log."""


def build(packages: Sequence[str] = ()) -> RosInstall:
    """Build packages of the workspace, all of them if none is named.

    Raises:
        RosMissing: there is no ROS 2 to build against.
        BuildError: a package does not build.
    """
    ros, root = find_ros(), workspace()
    if ros.origin == "wheels":
        mend_wheels(Path(sys.prefix))
    log.info("ROS 2 %s (%s), building %s", ros.distro, ros.origin, root)
    environment = ros_environment(ros, built=False)
    ended = subprocess.run(colcon_command(ros, root, packages), cwd=root, env=environment, check=False)  # noqa: S603
    if ended.returncode != 0:
        raise BuildError(f"colcon build failed; its logs are in {root / 'log' / 'latest_build'}")
    return ros


def colcon_command(ros: RosInstall, root: Path, packages: Sequence[str]) -> list[str]:
    """How colcon is called."""
    sources = [root / "src", *(root / "compat" / name for name in COMPAT if not ros.has(name))]
    return [
        *("colcon", "build", "--merge-install", "--base-paths", *map(str, sources)),
        *(("--packages-select", *packages) if packages else ()),
        *("--event-handlers", "console_cohesion-", "desktop_notification-"),
        *("--cmake-args", f"-DPython3_EXECUTABLE={sys.executable}", "-DPython3_FIND_VIRTUALENV=ONLY"),
        *("-DBUILD_TESTING=OFF", "-Wno-dev"),
    ]


def mend_wheels(prefix: Path) -> None:
    """Put this interpreter's folders into the CMake files of the wheels, in the place of foreign ones."""
    own_include, own_site = sysconfig.get_path("include"), sysconfig.get_path("purelib")
    for path in (prefix / "share").rglob("*.cmake"):
        text = path.read_text("utf-8")
        if FOREIGN_INCLUDE in text or FOREIGN_SITE in text:
            numpy_include = f"{FOREIGN_SITE}/numpy/_core/include"
            mended = text.replace(numpy_include, np.get_include()).replace(FOREIGN_SITE, own_site)
            write_text(path, mended.replace(FOREIGN_INCLUDE, own_include))
