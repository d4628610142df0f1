"""`kalie ros send` and `kalie ros stop` before a control node that works, refuses, dies, or is not there."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros
_counter = itertools.count()


class Commands:
    """Runs `kalie ros ...` in a domain of its own, with a tiny control node or without."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        domain = str(1 + (os.getpid() + next(_counter)) % 19)
        self._environment = {
            **os.environ,
            "ROS_DOMAIN_ID": domain,
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        }
        self._node: subprocess.Popen[bytes] | None = None

    def start_node(self) -> None:
        program = Path(__file__).with_name("tiny_control.py")
        self._node = subprocess.Popen([sys.executable, str(program)], env=self._environment)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "kalie.cli.main", "ros", *words],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str]:
        process = self.begin(*words)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said

    def close(self) -> None:
        if self._node is not None:
            self._node.kill()
            self._node.wait()


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    made = Commands(tmp_path)
    yield made
    made.close()


def test_a_task_that_succeeds_shows_phases_waypoints_and_the_gate_s_deeds(commands: Commands) -> None:
    commands.start_node()
    code, said = commands.run("send", 'sweep "it" ${away}', "dry_run=true")
    assert code == 0, said
    assert "lift, waypoint 1 of 3" in said
    assert "safety gate: clamped: panda_joint4 too fast" in said
    # One line of them a phase.
    assert "panda_joint5 too fast" not in said
    assert said.splitlines()[-1] == "succeeded"


def test_when_a_task_fails_expect_outcome_reason_and_exit_1(commands: Commands) -> None:
    commands.start_node()
    code, said = commands.run("send", "stall")
    assert code == 1
    assert said.splitlines()[-1] == "stalled: lift: the arm stands still"


def test_when_interrupted_expect_the_goal_canceled_and_its_end_awaited(commands: Commands) -> None:
    commands.start_node()
    process = commands.begin("send", "wait")
    assert process.stdout is not None
    assert "lift" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "canceling" in said
    assert said.splitlines()[-1] == "canceled: canceled by the client"


@pytest.mark.parametrize("fault", ["die", "silence"])
def test_when_the_node_dies_or_falls_silent_mid_goal_expect_one_error_and_no_hang(
    commands: Commands, fault: str
) -> None:
    commands.start_node()
    code, said = commands.run("send", fault)
    assert code == 1
    assert said.splitlines()[-1].startswith(
        "kalie: ros send: the control node is gone: /kalie/control/safety has"
    )


def test_when_the_goal_is_rejected_expect_one_error(commands: Commands) -> None:
    commands.start_node()
    code, said = commands.run("send", "busy")
    assert code == 1
    assert said.startswith("kalie: ros send: the control node rejected the goal")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["send", "sweep"], "control node: /kalie/execute_task"),
        (["stop"], "control node: /kalie/control/emergency_stop"),
        (["reset"], "simulated arm: /kalie/sim_arm/reset"),
        (["reset", "seed=3"], "simulated arm: /kalie/sim_arm/set_parameters"),
    ],
)
def test_when_there_is_no_such_node_expect_one_error_soon(
    commands: Commands, words: list[str], name: str
) -> None:
    begun = time.monotonic()
    code, said = commands.run(*words)
    assert code == 1
    assert said.startswith(f"kalie: ros {words[0]}: no {name} was not found within 5 s (ROS_DOMAIN_ID=")
    assert len(said.splitlines()) == 1
    assert time.monotonic() - begun < 60


def test_stop_presses_and_releases_and_says_what_the_node_said(commands: Commands) -> None:
    commands.start_node()
    assert commands.run("stop") == (0, "stopped\n")
    assert commands.run("stop", "reset=true") == (1, "a goal is still ending\n")
