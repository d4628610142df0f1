"""After a failed try the arm lets go, comes home behind the gate, and looks again."""

from __future__ import annotations

import numpy as np
import pytest

from kalie.control.plan import PlanError
from kalie.sim import retry
from kalie.sim.arm import SimulatedArm
from kalie.sim.episode import act, oracle
from kalie.sim.registry import task
from kalie.sim.retry import NoWayHome, come_home, look_again, true_affordance
from kalie.sim.staging import stage
from kalie.sim.world import HOME, JAW_LIMIT, World


def test_the_arm_comes_home_with_open_jaws_from_where_a_motion_ended(world: World) -> None:
    staged = stage(world, task("drawer"), "train", 3)
    act(world, staged, oracle(staged))
    assert np.abs(world.joint_states()[0][:7] - np.array(HOME)).max() > 0.1
    come_home(world)
    state = SimulatedArm(world).state()
    assert np.abs(state.positions - np.array(HOME)).max() < 0.02
    assert state.gripper_width > 0.9 * JAW_LIMIT


def test_looking_again_sees_what_has_changed_and_knows_the_new_truth(world: World) -> None:
    staged = stage(world, task("drawer"), "train", 3)
    unmoved = look_again(world, staged)
    assert np.array_equal(unmoved.frame.rgb, staged.frame.rgb)
    assert true_affordance(world, unmoved) == staged.affordance
    act(world, staged, oracle(staged))
    come_home(world)
    again = look_again(world, staged)
    assert not np.array_equal(again.frame.rgb, staged.frame.rgb)
    assert true_affordance(world, again) != staged.affordance


def test_when_the_way_home_is_not_free_expect_an_error_and_no_motion(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocked(*arguments: object) -> None:
        raise PlanError("home: on the way there is the table")

    monkeypatch.setattr(retry, "plan_return", blocked)
    steps = world.steps
    with pytest.raises(NoWayHome, match="on the way there is the table"):
        come_home(world)
    assert world.steps == steps
