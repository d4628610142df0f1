from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kalie.control.kinematics import Kinematics
from kalie.control.plan import PlanError
from kalie.control.planner import PlannerSettings, plan_motion
from kalie.control.primitives import PrimitiveSettings, plan
from kalie.control.trajectory import plan_trajectories
from kalie.perception.frame import FloatArray

from .scenes import Box, image_yaw, keypoint, render
from .test_primitives import brush_affordance, brush_scene, pour_scene, simple


def test_planner_is_primitive_then_trajectories(kinematics: Kinematics, home: FloatArray) -> None:
    frame, grasp, function = brush_scene()
    affordance = brush_affordance(frame, grasp, function, 0.3)
    planned = plan_motion("grasp_and_use", affordance, frame, kinematics, home)
    motion = plan("grasp_and_use", affordance, frame)
    by_hand = plan_trajectories(motion, kinematics, home)
    for mine, theirs in zip(planned.trajectories, by_hand, strict=True):
        assert np.array_equal(mine.positions, theirs.positions)


def test_a_tool_yields_its_yaw_where_the_wanted_one_is_out_of_reach(
    kinematics: Kinematics, home: FloatArray
) -> None:
    _, affordance, _ = pour_scene()
    boxes = [Box((0.45, -0.15), (0.02, 0.14, 0.03)), Box((0.45, -0.05), (0.06, 0.06, 0.03))]
    frame = render(boxes)
    affordance = replace(
        affordance,
        grasp=keypoint(frame, 0.45, -0.15, 0.03),
        function=keypoint(frame, 0.45, -0.03, 0.03),
        pre_contact=keypoint(frame, 0.6, 0.1),
        target=keypoint(frame, 0.715, 0.215),
        grasp_yaw=image_yaw(frame, (0.45, -0.15, 0.03), (1.0, 0.0, 0.0)),
        tool_tilt=1.0,
    )
    stubborn = PlannerSettings(tool_yaws=(0.0,))
    with pytest.raises(PlanError, match=r"^tilt"):
        plan_motion("pour", affordance, frame, kinematics, home, stubborn)
    planned = plan_motion("pour", affordance, frame, kinematics, home)
    assert planned.trajectories[-1].phase == "post_contact"


def test_when_no_yaw_is_reachable_expect_the_error_of_the_first(
    kinematics: Kinematics, home: FloatArray
) -> None:
    frame, grasp, function = brush_scene()
    affordance = replace(
        brush_affordance(frame, grasp, function, 0.3), post_contact=keypoint(frame, 0.95, 0.38)
    )
    errors = []
    for settings in (PlannerSettings(tool_yaws=(0.0,)), PlannerSettings()):
        with pytest.raises(PlanError, match="nearest reachable pose") as error:
            plan_motion("grasp_and_use", affordance, frame, kinematics, home, settings)
        errors.append(str(error.value))
    assert errors[0] == errors[1]


def test_a_push_overshoots_less_where_the_arm_does_not_reach_that_far(
    kinematics: Kinematics, home: FloatArray
) -> None:
    frame = render([])
    points = simple(frame, pre_contact=(0.55, 0.0, 0), target=(0.65, 0.0, 0), post_contact=(0.76, 0.0, 0))
    affordance = replace(points, pre_height=0.02, target_height=0.02, post_height=0.02)
    with pytest.raises(PlanError, match=r"^post_contact"):
        plan_trajectories(plan("push", affordance, frame), kinematics, home)
    planned = plan_motion("push", affordance, frame, kinematics, home)
    end = planned.plan.waypoints[2].base_from_tcp[0, 3]
    assert 0.755 < end < 0.76 + PrimitiveSettings().overtravel - 0.01
