"""Stages report their time and the memory of the whole process tree."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from kalie.core.resources import StageTimer, resident_bytes

HUNGRY_CHILD = "b = bytearray(200_000_000); b[::4096] = b'x' * len(b[::4096]); import time; time.sleep(0.6)"


def test_stages_are_timed_in_order() -> None:
    timer = StageTimer()
    with timer.stage("a"):
        time.sleep(0.05)
    with timer.stage("b"):
        pass
    timer.close()
    assert [stage.name for stage in timer.stages] == ["a", "b"]
    assert 0.05 <= timer.stages[0].seconds < 1
    assert timer.stages[1].seconds < 0.05 + timer.stages[0].seconds


def test_memory_of_a_child_process_counts_in_its_stage_only() -> None:
    timer = StageTimer()
    with timer.stage("alone"):
        pass
    with timer.stage("with child"):
        subprocess.run([sys.executable, "-c", HUNGRY_CHILD], check=True)
    with timer.stage("alone again"):
        pass
    timer.close()
    alone, with_child, again = (stage.peak_bytes for stage in timer.stages)
    assert with_child > alone + 190_000_000
    assert again < with_child - 150_000_000


def test_a_failed_stage_is_recorded_too() -> None:
    timer = StageTimer()

    def fail() -> None:
        with timer.stage("bad"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    timer.close()
    assert timer.stages[0].name == "bad"


def test_resident_bytes_is_plausible() -> None:
    assert 10_000_000 < resident_bytes() < 100_000_000_000
