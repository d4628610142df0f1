"""Where ROS 2 comes from, a sourced install or the wheels beside kalie, and how a process finds it."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Folder of the colcon workspace, for installs of kalie without one beside it.
WORKSPACE_VARIABLE = "KALIE_ROS_WS"
# Set where a process was started anew, so that it is not done twice.
ENTERED_VARIABLE = "KALIE_ROS_ENTERED"
WHEELS_DISTRO = "kilted"
# Name a file of settings for Fast DDS 3, and for the Fast DDS 2 of older distributions; 3 warns of 2's.
PROFILES, PROFILES_2 = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
FAST_DDS_2 = ("humble", "iron", "jazzy")
Origin = Literal["sourced", "wheels"]


class RosMissing(ImportError):
    """ROS 2, or the built workspace, is not there; the message says what to run."""


class StartAnew(BaseException):
    """This command must start anew, with the environment as it is now; not an error, whence no Exception."""


@dataclass(frozen=True)
class RosInstall:
    """A ROS 2 that this interpreter can use.

    Attributes:
        origin: a sourced ROS 2, or the pip wheels in this environment.
        distro: its name, e.g. jazzy.
        prefixes: folders with `share/` and `lib/`, newest overlay first.
    """

    origin: Origin
    distro: str
    prefixes: tuple[Path, ...]

    def has(self, package: str) -> bool:
        """Whether a ROS package is installed."""
        return any((prefix / "share" / package / "package.xml").exists() for prefix in self.prefixes)


def find_ros(environment: Mapping[str, str] = os.environ) -> RosInstall:
    """The ROS 2 to use: a sourced one goes before the wheels.

    Raises:
        RosMissing: there is none, or it is built for another Python.
    """
    own = Path(sys.prefix)
    sourced = [Path(part) for part in environment.get("AMENT_PREFIX_PATH", "").split(":") if part]
    sourced = [part for part in sourced if part not in (own, workspace() / "install")]
    distro = environment.get("ROS_DISTRO", "")
    if sourced and distro:
        if importlib.util.find_spec("rclpy") is None:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise RosMissing(f"ROS 2 {distro} is sourced, but its rclpy is not built for Python {version}")
        return RosInstall("sourced", distro, tuple(sourced))
    if (own / "share" / "rclpy" / "package.xml").exists():
        return RosInstall("wheels", WHEELS_DISTRO, (own,))
    raise RosMissing("no ROS 2 here: run `make ros`, or source a ROS 2 install first")


def workspace() -> Path:
    """The colcon workspace of kalie's ROS packages."""
    named = os.environ.get(WORKSPACE_VARIABLE)
    return Path(named).resolve() if named else Path(__file__).resolve().parents[1] / "ros_ws"


def ros_environment(ros: RosInstall, *, built: bool = True) -> dict[str, str]:
    """The environment of a process that uses ROS 2, and the workspace when it is `built`.

    Raises:
        RosMissing: the workspace should be built, and is not.
    """
    install = workspace() / "install"
    if built and not (install / "share" / "kalie_interfaces").exists():
        raise RosMissing(f"{workspace()} is not built: run `make ros`")
    environment = dict(os.environ)
    prefixes = [*([install] if built else []), *ros.prefixes]
    # What follows is what sourcing a setup file would do; there is none in the wheels.
    _prepend(environment, "AMENT_PREFIX_PATH", prefixes)
    _prepend(environment, "CMAKE_PREFIX_PATH", prefixes)
    _prepend(environment, "PATH", [Path(sys.prefix) / "bin", *(prefix / "bin" for prefix in prefixes)])
    _prepend(environment, "PYTHONPATH", [_site(prefix) for prefix in prefixes])
    libraries = [prefix / "lib" for prefix in prefixes]
    if ros.origin == "wheels":
        libraries += sorted(_site(Path(sys.prefix)).glob("ros_*.libs"))
    _prepend(environment, "LD_LIBRARY_PATH", libraries)
    environment |= {"ROS_DISTRO": ros.distro, "ROS_VERSION": "2", "ROS_PYTHON_VERSION": "3"}
    profiles = install / "share" / "kalie_bringup" / "config" / "fastdds.xml"
    if built and profiles.exists() and not {PROFILES, PROFILES_2} & environment.keys():
        environment[PROFILES_2 if ros.distro in FAST_DDS_2 else PROFILES] = str(profiles)
    return environment


def enter_ros(extra: Mapping[str, str] | None = None) -> None:
    """Give this process the environment that ROS 2 and the workspace need, and variables besides.

    Raises:
        RosMissing: there is no ROS 2, or the workspace is not built.
        StartAnew: a search path changes, which only a new process reads; `kalie` makes itself one.
    """
    environment = ros_environment(find_ros()) | dict(extra or {})
    changed = any(environment[name] != os.environ.get(name) for name in ("LD_LIBRARY_PATH", "PYTHONPATH"))
    os.environ.update(environment)
    if changed and ENTERED_VARIABLE not in os.environ:
        os.environ[ENTERED_VARIABLE] = "1"
        raise StartAnew


def localhost_only(distro: str) -> dict[str, str]:
    """The variables that keep discovery on this machine."""
    if distro == "humble":
        return {"ROS_LOCALHOST_ONLY": "1"}
    return {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def _site(prefix: Path) -> Path:
    """The site-packages folder of a prefix."""
    return Path(sysconfig.get_path("purelib", "posix_prefix", {"base": str(prefix), "platbase": str(prefix)}))


def _prepend(environment: dict[str, str], name: str, paths: list[Path]) -> None:
    old = [part for part in environment.get(name, "").split(os.pathsep) if part]
    new = [str(path) for path in paths if path.exists()]
    environment[name] = os.pathsep.join(dict.fromkeys([*new, *old]))
