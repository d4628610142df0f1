"""Bring up the ROS 2 graph: nodes, their lifecycle, restarts after crashes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from ..affordance.shipped import weights_folder
from ..core.config import ConfigError
from ..core.runs import Run, RunConfig
from ._ros_client import Asker, asker, where
from ._ros_env import enter_ros, find_ros, localhost_only
from ._ros_graph import (
    Mode,
    NodeSpec,
    RobotName,
    TaskName,
    Wish,
    check_parameter_file,
    config_folder,
    node_specs,
)
from ._ros_lifecycle import LifecycleClient
from ._ros_process import NodeProcess, stop_all
from ._supervisor import BringUpError, Patience, Seen, Step, Supervision
from ._verb import Verb

# How long to look for another graph under the same names before ours is started, and how long to wait for its
# answer when it seems to be there, in seconds.
LOOK = 1.5
ANSWER = 5.0
DEACTIVATE = 3.0


@dataclass(frozen=True)
class RosUpConfig:
    """Keys of `kalie ros up`.

    Attributes:
        mode: sim has a simulated arm and camera, real uses the drivers of the robot and the camera,
            perception_only moves nothing.
        robot: whose parameters; franka is also the simulated arm.
        task: the scene of the simulation; sweep if null.
        seed: of the scene; 0 if null.
        weights: folder of a tuned keypoint model, or the name of shipped ones: tasks or base.
        record: whether everything is recorded, to recordings/ in the run's folder.
        params: a ROS parameter file of your own, which goes before the shipped ones.
        discovery: localhost keeps the graph on this computer, environment leaves that to the variables of
            ROS; auto is localhost for sim and environment otherwise.
        patience: how long nodes may take, and how soon they are started again.
        run: where the nodes' logs go.
    """

    mode: Mode = "sim"
    robot: RobotName = "franka"
    task: TaskName | None = None
    seed: int | None = None
    weights: Path = Path("tasks")
    record: bool = False
    params: Path | None = None
    discovery: Literal["auto", "localhost", "environment"] = "auto"
    patience: Patience = field(default_factory=Patience)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.mode == "sim" and self.robot != "franka":
            raise ValueError(f"robot={self.robot}: mode=sim simulates a Panda, robot=franka")
        for name in ("task", "seed"):
            if self.mode != "sim" and getattr(self, name) is not None:
                raise ValueError(f"{name}={getattr(self, name)}: only mode=sim has a scene")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"seed={self.seed} must not be negative")


class Graph:
    """The running nodes: their processes and lifecycle clients."""

    def __init__(self, specs: Sequence[NodeSpec], ask: Asker, folder: Path, console: Console) -> None:
        self._ask, self._console = ask, console
        self._processes = {
            s.name: NodeProcess(s.name, s.module, s.arguments, folder / f"{s.name}.log") for s in specs
        }
        self._clients = {s.name: LifecycleClient(ask.node, s.full_name) for s in specs}
        self._environment = {**os.environ, "ROS_LOG_DIR": str((folder / "ros").resolve())}

    def check_alone(self) -> None:
        """Refuse to start nodes under names that another graph uses. Raises BringUpError."""
        begun = time.monotonic()
        while (now := time.monotonic()) < begun + (ANSWER if self._any_found() else LOOK):
            self._ask.spin(0.1)
            for name, client in self._clients.items():
                client.poll(now)
                if client.state:
                    raise BringUpError(f"{name}: runs already, with {where()}")

    def _any_found(self) -> bool:
        return any(client.found for client in self._clients.values())

    def supervise(self, patience: Patience, stopped: Stop) -> None:
        """Make every node active and keep it so, until the user stops it. Raises BringUpError."""
        supervision, announced = Supervision(list(self._processes), patience), False
        while not stopped.asked:
            self._ask.spin(0.1)
            for step in supervision.step(time.monotonic(), self._look(supervision)):
                self._take(step)
            if supervision.all_active and not announced:
                self._console.print(f"[bold]up[/] ({where()}); Ctrl-C ends it")
                announced = True

    def shut_down(self) -> None:
        """Deactivate, the last node first, so that what moves stops; then end every process."""
        now = time.monotonic()
        for name in reversed(self._processes):
            client = self._clients[name]
            if self._processes[name].runs and client.state == "active":
                client.ask("deactivate", now)
                self._ask.wait(lambda client=client: self._inactive(client), DEACTIVATE)
        for name in stop_all(list(reversed(self._processes.values()))):
            self._say(name, "had to be killed")

    def _look(self, supervision: Supervision) -> Mapping[str, Seen]:
        seen, now = {}, time.monotonic()
        for name, course in supervision.courses.items():
            process, client = self._processes[name], self._clients[name]
            if process.runs and course.phase not in ("waiting", "active"):
                client.poll(now)
            failure = process.failure() if client.refused or process.exit else ""
            reason = f"{failure}; see {process.log}" if failure else f"see {process.log}"
            seen[name] = Seen(process.exit, client.state, client.refused, reason)
        return seen

    def _take(self, step: Step) -> None:
        process, client = self._processes[step.node], self._clients[step.node]
        self._say(step.node, step.note)
        if step.act == "start":
            client.forget()
            process.start(self._environment)
        elif step.act == "kill":
            process.signal(signal.SIGKILL)
        elif step.act is not None:
            client.ask(step.act, time.monotonic())

    def _inactive(self, client: LifecycleClient) -> bool:
        client.poll(time.monotonic())
        return client.state != "active" or client.refused

    def _say(self, name: str, note: str) -> None:
        self._console.print(f"[bold]{name}[/]: {escape(note)}", soft_wrap=True)


class Stop:
    """Whether the user asked for the end, by Ctrl-C or a signal."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take SIGINT, SIGTERM and SIGHUP as that, for the time of the block."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, *_: object) -> None:
        self.asked = True


def wish_of(cfg: RosUpConfig, recordings: Path) -> Wish:
    """What the config asks for."""
    given = {"task": cfg.task, "seed": cfg.seed}
    scene = {name: str(value) for name, value in given.items() if value is not None}
    values = {
        "sim_arm": scene,
        "affordance": {"weights": str(weights_folder(cfg.weights).resolve())},
        "recorder": {"directory": str(recordings.resolve()), "on_activate": "true"},
    }
    extra = ("recorder",) if cfg.record else ()
    return Wish(cfg.mode, cfg.robot, extra, (cfg.params,) if cfg.params else (), values)


def discovery_of(cfg: RosUpConfig, distro: str) -> dict[str, str]:
    """The variables that keep the graph on this computer, where it is to stay there."""
    localhost = cfg.discovery == "localhost" or (cfg.discovery == "auto" and cfg.mode == "sim")
    return localhost_only(distro) if localhost else {}


def bring_up(specs: Sequence[NodeSpec], logs: Path, patience: Patience, console: Console) -> None:
    """Run nodes until the user stops it, by Ctrl-C or a signal.

    Raises:
        BringUpError: a node could not be made active, or runs already; none is left running.
    """
    stop = Stop()
    with stop.on_signals(), asker("supervisor") as ask:
        graph = Graph(specs, ask, logs, console)
        graph.check_alone()
        try:
            graph.supervise(patience, stop)
        finally:
            console.print("stopping")
            graph.shut_down()


def main(cfg: RosUpConfig) -> None:
    """Run the graph until it is stopped."""
    if not weights_folder(cfg.weights).is_dir():
        raise ConfigError(f"weights={cfg.weights}: no such folder")
    enter_ros(discovery_of(cfg, find_ros().distro))
    folder = config_folder()
    if cfg.params:
        names = [spec.name for spec in node_specs(wish_of(cfg, Path()), folder)]
        check_parameter_file(cfg.params, names)
    with Run.open("ros_up", cfg.run, cfg) as run:
        specs = node_specs(wish_of(cfg, run.path / "recordings"), folder)
        bring_up(specs, run.path / "logs", cfg.patience, Console(highlight=False))


VERB = Verb(
    RosUpConfig,
    main,
    examples=(
        "kalie ros up mode=sim task=sweep",
        "kalie ros up mode=sim task=drawer weights=outputs/finetune/latest/model",
        "kalie ros up mode=real robot=wx250s params=my_table.yaml",
        "kalie ros up mode=perception_only discovery=localhost",
    ),
)
