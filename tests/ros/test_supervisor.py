"""`kalie ros up`: what is done next with each node, and real processes that die, refuse and hang."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalie.cli._ros_graph import TaskName as CommandTaskName
from kalie.cli._ros_process import NodeProcess, stop_all
from kalie.cli._supervisor import Backoff, BringUpError, Patience, Seen, Supervision
from kalie.sim.task import TaskName

_counter = itertools.count()
NAMES = ("one", "two")
UP = {name: Seen(state="active") for name in NAMES}


def acts(supervision: Supervision, now: float, **seen: Seen) -> dict[str, str | None]:
    """What is to be done with each node, those that are not named being active."""
    return {step.node: step.act for step in supervision.step(now, {**UP, **seen})}


def brought_up() -> Supervision:
    supervision = Supervision(NAMES, Patience())
    supervision.step(0.0, {name: Seen() for name in NAMES})
    supervision.step(1.0, UP)
    assert supervision.all_active
    return supervision


# ---- what is done next; no process -----------------------------------------------------------------------


def test_delays_double_up_to_ten_seconds_and_a_minute_of_health_forgives() -> None:
    backoff = Backoff(Patience())
    assert [backoff.crashed(1.0) for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert backoff.crashed(59.9) == 10.0
    assert [backoff.crashed(lived) for lived in (60.0, 1.0)] == [0.5, 1.0]


def test_nodes_start_at_once_and_become_active_one_after_the_other() -> None:
    supervision = Supervision(NAMES, Patience())
    new = Seen(state="unconfigured")
    assert acts(supervision, 0.0, one=Seen(), two=Seen()) == {"one": "start", "two": "start"}
    assert acts(supervision, 1.0, one=Seen(), two=new) == {}
    assert acts(supervision, 2.0, one=new, two=new) == {"one": "configure"}
    assert acts(supervision, 3.0, one=Seen(state="inactive"), two=new) == {"one": "activate"}
    assert acts(supervision, 4.0, two=new) == {"one": None, "two": "configure"}
    assert not supervision.all_active


@given(st.lists(st.tuples(*[st.sampled_from(["", "unconfigured", "inactive", "active"])] * 2), max_size=30))
def test_whatever_nodes_say_the_second_is_never_configured_before_the_first_was_active(
    states: list[tuple[str, str]],
) -> None:
    supervision, was_active = Supervision(NAMES, Patience()), False
    for now, (one, two) in enumerate(states):
        done = acts(supervision, float(now), one=Seen(state=one), two=Seen(state=two))
        was_active = was_active or (one == "active" and now > 0)
        assert was_active or done.get("two") != "configure"


def test_when_an_active_node_dies_expect_it_started_after_the_delay_and_the_other_left_alone() -> None:
    supervision = brought_up()
    dead = Seen(exit="signal 9")
    (step,) = supervision.step(10.0, {**UP, "one": dead})
    assert (step.node, step.act) == ("one", None)
    assert "died (signal 9), again in 0.5 s" in step.note
    assert acts(supervision, 10.4, one=dead) == {}
    assert acts(supervision, 10.5, one=dead) == {"one": "start"}
    assert acts(supervision, 11.0, one=Seen(state="unconfigured")) == {"one": "configure"}
    assert acts(supervision, 12.0, one=Seen(state="inactive")) == {"one": "activate"}
    assert acts(supervision, 13.0) == {"one": None}
    assert supervision.all_active


def test_when_a_node_dies_again_and_again_expect_growing_delays() -> None:
    supervision, now, delays = brought_up(), 10.0, []
    for _ in range(6):
        died = now
        assert acts(supervision, now, one=Seen(exit="signal 9")) == {"one": None}
        while acts(supervision, now, one=Seen(exit="signal 9")) != {"one": "start"}:
            now += 0.5
        delays.append(now - died)
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0]


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (Seen(exit="exit code 1", reason="ImportError: torch"), r"one: ended with exit code 1.*ImportError"),
        (
            Seen(state="unconfigured", refused=True, reason="no such weights"),
            "one: configuring failed: no such",
        ),
    ],
)
def test_when_a_node_cannot_come_up_at_first_expect_an_error_with_the_reason(seen: Seen, says: str) -> None:
    supervision = Supervision(NAMES, Patience())
    acts(supervision, 0.0, one=Seen(), two=Seen())
    acts(supervision, 1.0, one=Seen(state="unconfigured"), two=Seen())
    with pytest.raises(BringUpError, match=says):
        acts(supervision, 2.0, one=seen, two=Seen())


def test_when_a_node_is_silent_or_slow_expect_an_error_that_says_how_long() -> None:
    patience = Patience(answer=5.0, transition=20.0)
    supervision = Supervision(["one"], patience)
    supervision.step(0.0, {"one": Seen()})
    with pytest.raises(BringUpError, match="no answer within 5 s"):
        supervision.step(5.1, {"one": Seen()})
    supervision = Supervision(["one"], patience)
    supervision.step(0.0, {"one": Seen()})
    supervision.step(1.0, {"one": Seen(state="unconfigured")})
    assert supervision.step(20.9, {"one": Seen(state="unconfigured")}) == []
    with pytest.raises(BringUpError, match="configuring took more than 20 s"):
        supervision.step(21.1, {"one": Seen(state="unconfigured")})


def test_when_a_restarted_node_cannot_be_configured_expect_it_killed_and_tried_again() -> None:
    supervision = brought_up()
    acts(supervision, 10.0, one=Seen(exit="signal 9"))
    acts(supervision, 10.5, one=Seen(exit="signal 9"))
    acts(supervision, 11.0, one=Seen(state="unconfigured"))
    refused = Seen(state="unconfigured", refused=True)
    assert acts(supervision, 12.0, one=refused) == {"one": "kill"}
    assert acts(supervision, 12.1, one=Seen(exit="signal 9")) == {"one": None}
    assert acts(supervision, 13.2, one=Seen(exit="signal 9")) == {"one": "start"}


def test_the_command_knows_the_tasks_of_the_simulation() -> None:
    assert get_args(CommandTaskName) == get_args(TaskName)


# ---- processes without ROS -------------------------------------------------------------------------------

STUBBORN = """
import signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
sys.stdout.write("ready\\n")
time.sleep(600)
"""


def _until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[NodeProcess]:
    """A process that ignores SIGINT and SIGTERM."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    process = NodeProcess("stubborn", "stubborn", (), tmp_path / "stubborn.log")
    process.start({**os.environ, "PYTHONPATH": str(tmp_path)})
    _until(lambda: "ready" in process.log.read_text())
    yield process
    process.signal(signal.SIGKILL)


def test_when_a_process_ignores_signals_expect_it_killed_and_named(
    stubborn: NodeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = ((signal.SIGINT, 0.3), (signal.SIGTERM, 0.3), (signal.SIGKILL, 5.0))
    monkeypatch.setattr("kalie.cli._ros_process.STOPPING", quick)
    assert stop_all([stubborn]) == ["stubborn"]
    assert stubborn.exit == "signal 9"


def test_when_a_log_ends_in_a_failure_expect_its_last_line_of_the_newest_start(tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text("raise ValueError('weights: no such folder')")
    process = NodeProcess("fails", "fails", (), tmp_path / "fails.log")
    process.log.write_text("[ERROR] [1.5] [kalie.fails]: of an earlier start\n")
    process.start({**os.environ, "PYTHONPATH": str(tmp_path)})
    _until(lambda: not process.runs)
    assert process.exit == "exit code 1"
    assert process.failure() == "ValueError: weights: no such folder"


# ---- managed nodes over DDS ------------------------------------------------------------------------------

GRAPH = """
import sys
from pathlib import Path
from rich.console import Console
from kalie.cli._ros_graph import NodeSpec
from kalie.cli._supervisor import BringUpError, Patience
from kalie.cli.ros_up import bring_up

def spec(name, *values):
    told = [word for value in values for word in ("-p", value)]
    arguments = ("--ros-args", "-r", "__ns:=/kalie", "-r", f"__node:={name}", *told)
    return NodeSpec(name, f"/kalie/{name}", "tiny_node", arguments)

specs = [spec("one"), spec("two", *sys.argv[2:])]
try:
    bring_up(specs, Path(sys.argv[1]), Patience(), Console(highlight=False, width=500))
except BringUpError as error:
    sys.exit(f"error: {error}")
"""


class TinyGraph:
    """Two tiny nodes under a supervisor in a process of its own."""

    def __init__(self, folder: Path, domain: int, *parameters: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        self._said = folder / "said.txt"
        with self._said.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", GRAPH, str(folder / "logs"), *parameters],
                env={**os.environ, "PYTHONPATH": path, "ROS_DOMAIN_ID": str(domain)},
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return self._said.read_text()

    def wait_for(self, text: str) -> None:
        _until(lambda: text in self.said() or self.process.poll() is not None, 240.0)
        assert text in self.said(), self.said()

    def pids(self) -> dict[str, int]:
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _alive(int(entry.name)):
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                if str(self.process.pid) in words and "tiny_node" in words:
                    found[words[words.index("-r") + 3].removeprefix("__node:=")] = int(entry.name)
        return found

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Callable[..., TinyGraph]]:
    made: list[TinyGraph] = []
    # One of those that the other tests do not use.
    domain = 1 + (os.getpid() + next(_counter)) % 19

    def make(*parameters: str) -> TinyGraph:
        made.append(TinyGraph(tmp_path / f"graph{len(made)}", domain, *parameters))
        return made[-1]

    yield make
    for graph in made:
        graph.process.kill()
        for pid in graph.pids().values():
            os.kill(pid, signal.SIGKILL)


@pytest.mark.ros
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_graph_comes_up_in_order_and_goes_down_without_orphans(
    tiny: Callable[..., TinyGraph], number: signal.Signals
) -> None:
    graph = tiny()
    graph.wait_for("up (")
    pids = graph.pids()
    assert set(pids) == {"one", "two"}
    assert graph.said().index("one: active") < graph.said().index("two: configuring")
    assert graph.end(number) == 0
    assert not any(_alive(pid) for pid in pids.values())
    assert "deactivated" in graph.log("one")
    assert "had to be killed" not in graph.said()


@pytest.mark.ros
def test_when_a_node_is_killed_expect_it_back_and_active(tiny: Callable[..., TinyGraph]) -> None:
    graph = tiny()
    graph.wait_for("up (")
    before = graph.pids()
    os.kill(before["two"], signal.SIGKILL)
    graph.wait_for("two: died (signal 9), again in 0.5 s")
    _until(lambda: graph.said().count("two: active") == 2, 240.0)
    after = graph.pids()
    assert after["one"] == before["one"]
    assert after["two"] != before["two"]
    assert graph.end() == 0


@pytest.mark.ros
def test_when_the_supervisor_is_killed_expect_its_nodes_to_stop_themselves(
    tiny: Callable[..., TinyGraph],
) -> None:
    graph = tiny()
    graph.wait_for("up (")
    pids = graph.pids()
    graph.end(signal.SIGKILL)
    _until(lambda: not any(_alive(pid) for pid in pids.values()), 20.0)
    assert "deactivated" in graph.log("two")


@pytest.mark.ros
def test_when_a_node_cannot_be_configured_expect_one_error_with_reason_and_log_and_nothing_left(
    tiny: Callable[..., TinyGraph],
) -> None:
    graph = tiny("refuse:=no camera here")
    assert graph.process.wait(240) == 1
    errors = [line for line in graph.said().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert re.match(
        r"error: two: configuring failed: configure: ValueError: no camera here; see .*two.log", errors[0]
    )
    assert graph.pids() == {}


@pytest.mark.ros
def test_when_a_node_hangs_on_its_way_down_expect_it_killed(tiny: Callable[..., TinyGraph]) -> None:
    graph = tiny("cleanup_seconds:=600.0")
    graph.wait_for("up (")
    assert graph.end() == 0
    assert "two: had to be killed" in graph.said()
    assert graph.pids() == {}


@pytest.mark.ros
def test_when_the_graph_runs_already_expect_the_second_one_refused(tiny: Callable[..., TinyGraph]) -> None:
    first = tiny()
    first.wait_for("up (")
    second = tiny()
    assert second.process.wait(240) == 1
    assert re.search(r"error: (one|two): runs already, with ROS_DOMAIN_ID=", second.said())
    assert first.process.poll() is None
    assert set(first.pids()) == {"one", "two"}
    assert first.end() == 0
