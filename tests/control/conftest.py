"""A Panda, its kinematics and a synthetic overhead camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pybullet_data
import pytest

from kalie.control.kinematics import Kinematics
from kalie.control.robot import RobotConfig, panda_config
from kalie.control.safety import SafetyGate, SafetyLimits
from kalie.perception.frame import FloatArray


@pytest.fixture(scope="session")
def panda() -> RobotConfig:
    return panda_config(Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf")


@pytest.fixture(scope="session")
def kinematics(panda: RobotConfig) -> Kinematics:
    return Kinematics(panda)


@pytest.fixture
def home(panda: RobotConfig) -> FloatArray:
    return np.array(panda.posture)


@pytest.fixture
def gate(kinematics: Kinematics) -> SafetyGate:
    return SafetyGate(SafetyLimits(kinematics.limits), kinematics.forward)
