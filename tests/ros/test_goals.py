from __future__ import annotations

import importlib

import pytest

from kalie.control.arm import Execution
from kalie_ros.goals import GoalEnded, TaskName, choose_task, ending

TASKS: tuple[TaskName, ...] = ("sweep", "drawer", "towel", "pour", "unplug")


def phrases(name: TaskName) -> list[str]:
    """Every way in which the benchmark words a task."""
    module = importlib.import_module(f"kalie.sim.tasks.{name}")
    texts = [text for key, value in vars(module).items() if key.endswith("PHRASES") for text in value]
    assert texts
    return [text.format("left", noun="rack", side="left") for text in texts]


@pytest.mark.parametrize("name", TASKS)
def test_the_words_of_every_benchmark_instruction_give_its_task_away(name: TaskName) -> None:
    assert {choose_task("", text) for text in phrases(name)} == {name}


@pytest.mark.parametrize("text", ["do something", "sweep the towel", ""])
def test_when_words_fit_no_task_or_several_expect_the_choices_named(text: str) -> None:
    with pytest.raises(GoalEnded, match="name one of sweep, drawer") as caught:
        choose_task("", text)
    assert caught.value.outcome == "REJECTED"


def test_a_named_task_goes_before_the_words() -> None:
    assert choose_task("drawer", "sweep it") == "drawer"


def test_when_the_named_task_is_unknown_expect_refusal() -> None:
    with pytest.raises(GoalEnded, match="'fly' is not one of"):
        choose_task("fly", "sweep it")


def test_a_stall_is_never_a_success_and_the_emergency_stop_goes_before_its_consequences() -> None:
    assert ending(Execution("stalled", "x"), emergency=False) == "STALLED"
    assert ending(Execution("halted", "x"), emergency=True) == "EMERGENCY_STOP"
    assert ending(Execution("done"), emergency=True) == "SUCCEEDED"
