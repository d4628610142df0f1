"""A small ROS graph of real node processes for one test, and a client of it in this process."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

from kalie.cli._ros_lifecycle import GOALS, LifecycleClient, Transition

# Loaded machines start a node that imports torch in half a minute.
PATIENCE = 90.0
_counter = itertools.count()


def domain() -> int:
    """A ROS domain that no other test of this machine is likely to use at the same time."""
    return 20 + (os.getpid() * 13 + next(_counter)) % 80


class Graph:
    """Node processes in a domain of their own.

    Attributes:
        node: a client in this process, spun in the background.
        logs: folder with one log per node.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.domain = domain()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._context = Context()
        rclpy.init(context=self._context, domain_id=self.domain)
        self.node = Node("test_client", context=self._context)
        self._executor = MultiThreadedExecutor(2, context=self._context)
        self._executor.add_node(self.node)
        self._thread = Thread(target=self._spin, daemon=True)
        self._thread.start()

    def start(self, name: str, *, module: str = "", active: bool = True, **parameters: object) -> None:
        """Start a node; wait until it is active, unless told not to.

        Args:
            name: of the node, and of its module `kalie_ros.<name>_node` unless `module` names another.
            module: to run instead.
            active: whether to bring it to active.
            parameters: of the node.
        """
        command = [sys.executable, "-m", module or f"kalie_ros.{name}_node", "--ros-args"]
        command += ["-r", "__ns:=/kalie"]
        for key, value in parameters.items():
            command += ["-p", f"{key}:={_yaml(value)}"]
        log = (self.logs / f"{name}.log").open("ab")
        environment = os.environ | {"ROS_DOMAIN_ID": str(self.domain), "PYTHONUNBUFFERED": "1"}
        self._processes[name] = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        log.close()
        if active:
            self.transition(name, "configure")
            self.transition(name, "activate")

    def owns(self, process: subprocess.Popen[Any]) -> Any:  # noqa: ANN401 - the same process
        """End a process of the test with the graph, whatever becomes of the test."""
        self._processes[f"process {process.pid}"] = process
        return process

    def transition(self, name: str, which: Transition, *, expect: bool = True) -> None:
        """Take a node through a lifecycle transition, and check that it succeeds, or fails."""
        client = LifecycleClient(self.node, f"/kalie/{name}")

        def polled(done: Callable[[], object]) -> Callable[[], object]:
            # Asks again where a request went to a process that was killed: it stays in the graph for a while.
            def look() -> object:
                client.poll(time.monotonic())
                return done()

            return look

        self.until(polled(lambda: client.state))
        client.ask(which, time.monotonic())
        self.until(polled(lambda: client.refused or client.state == GOALS[which]))
        assert client.refused is not expect, self.log(name)

    def call(self, kind: Any, name: str, request: Any = None, timeout: float = PATIENCE) -> Any:  # noqa: ANN401
        """Call a service, and wait for the answer."""
        client = self.node.create_client(kind, name)
        try:
            assert client.wait_for_service(timeout), f"no service {name}\n{self.log()}"
            future = client.call_async(request or kind.Request())
            self.until(future.done, timeout)
            return future.result()
        finally:
            self.node.destroy_client(client)

    def hear(self, kind: Any, topic: str, quality: QoSProfile | int = 10) -> list[Any]:  # noqa: ANN401
        """A list that fills with the messages of a topic."""
        heard: list[Any] = []
        self.node.create_subscription(kind, topic, heard.append, quality)
        return heard

    def until(self, condition: Callable[[], object], timeout: float = PATIENCE) -> float:
        """Wait for a condition; seconds that it took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < timeout, f"not within {timeout} s\n{self.log()}"
            time.sleep(0.005)
        return time.monotonic() - began

    def send_signal(self, name: str, number: int) -> None:
        """Send a signal to a node's process."""
        self._processes[name].send_signal(number)

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a node's process, and wait for its end; the exit status."""
        self.send_signal(name, number)
        return self._processes[name].wait(10)

    def alive(self, name: str) -> bool:
        """Whether a node's process runs."""
        return self._processes[name].poll() is None

    def log(self, name: str = "") -> str:
        """What a node, or every node, has logged."""
        names = [name] if name else [item for item in self._processes if (self.logs / f"{item}.log").exists()]
        texts = [(self.logs / f"{item}.log").read_text("utf-8", errors="replace") for item in names]
        return "\n".join(f"--- {item}\n{text}" for item, text in zip(names, texts, strict=True))

    def close(self) -> None:
        """End every process and the client."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
        rclpy.shutdown(context=self._context)
        self._thread.join(5)
        self._executor.shutdown()
        self.node.destroy_node()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            while self._context.ok():
                # The test's thread may destroy what this one is about to wait for.
                with suppress(InvalidHandle):
                    self._executor.spin_once(timeout_sec=0.1)


@contextmanager
def graph_in(logs: Path) -> Iterator[Graph]:
    """A graph that ends with the block."""
    graph = Graph(logs)
    try:
        yield graph
    finally:
        graph.close()


def _yaml(value: object) -> str:
    """A parameter value as the command line wants it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(_yaml(item) for item in value) + "]"
    return f"'{value}'" if isinstance(value, str) else str(value)
