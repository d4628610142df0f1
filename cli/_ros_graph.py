"""The graph of kalie's nodes, from `kalie_bringup/config/graph.yaml`, which the launch files read too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from ..core.config import ConfigError, nearest
from ._ros_env import RosMissing, workspace

Mode = Literal["sim", "real", "perception_only"]
RobotName = Literal["franka", "wx250s", "xarm6"]
# Those of sim.task, whose import takes seconds.
TaskName = Literal["sweep", "drawer", "towel", "pour", "unplug"]


@dataclass(frozen=True)
class NodeSpec:
    """One node and how it is run.

    Attributes:
        name: without the namespace.
        full_name: with it, as ROS calls it.
        module: what runs it, as with `python -m`.
        arguments: its ROS arguments.
    """

    name: str
    full_name: str
    module: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Wish:
    """What is to be run.

    Attributes:
        mode: which way to run the graph.
        robot: whose parameters.
        extra_nodes: of the graph, besides the mode's.
        files: more parameter files; the last word is theirs, but for `values`.
        values: parameters by node and name.
    """

    mode: Mode
    robot: RobotName
    extra_nodes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    values: Mapping[str, Mapping[str, str]] | None = None


def config_folder() -> Path:
    """Where the installed parameter files are.

    Raises:
        RosMissing: the workspace is not built.
    """
    folder = workspace() / "install" / "share" / "kalie_bringup" / "config"
    if not (folder / "graph.yaml").is_file():
        raise RosMissing(f"{workspace()} is not built: run `make ros`")
    return folder


def node_specs(wish: Wish, folder: Path) -> list[NodeSpec]:
    """The nodes to run, in the order in which they become active."""
    graph = yaml.safe_load((folder / "graph.yaml").read_text("utf-8"))
    mode = graph["modes"][wish.mode]
    files = [
        folder / graph["robots"][wish.robot],
        *(folder / name for name in mode["parameters"]),
        *wish.files,
    ]
    wanted = {*mode["nodes"], *wish.extra_nodes}
    values = wish.values or {}
    return [_spec(graph, name, files, values.get(name, {})) for name in graph["nodes"] if name in wanted]


def _spec(graph: Mapping[str, Any], name: str, files: Sequence[Path], values: Mapping[str, str]) -> NodeSpec:
    namespace = graph["namespace"]
    arguments = ["--ros-args", "-r", f"__ns:={namespace}", "-r", f"__node:={name}"]
    for file in files:
        arguments += ["--params-file", str(file.resolve())]
    for key, value in values.items():
        arguments += ["-p", f"{key}:={value}"]
    arguments += ["--enclave", f"{namespace}/{name}"]
    return NodeSpec(name, f"{namespace}/{name}", f"{graph['package']}.{name}_node", tuple(arguments))


def check_parameter_file(path: Path, nodes: Sequence[str]) -> None:
    """Refuse a parameter file that no node would read.

    Raises:
        ConfigError: it is no ROS parameter file, or one of its sections names no node of the graph.
    """
    content = yaml.safe_load(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: not a ROS parameter file")
    for section, node in content.items():
        if not isinstance(node, dict) or set(node) != {"ros__parameters"}:
            raise ConfigError(
                f"{path}: {section}: expected ros__parameters below the node's name, and nothing else"
            )
        last = str(section).rsplit("/", 1)[-1]
        if "*" not in last and last not in nodes:
            raise ConfigError(f"{path}: {section}: no such node{nearest(last, nodes)}")
