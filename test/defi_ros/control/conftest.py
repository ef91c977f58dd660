"""One Franka for all tests of the control core: the shipped robot file and the description the simulator uses."""

import numpy as np
import pytest

import defi_sim
from defi_models.contract import NS_PER_S, ActionChunk, RobotSpec
from defi_ros.control.kinematics import Kinematics
from defi_ros.robot import RobotFile, load_robot

START_NS = 1_750_000_000 * NS_PER_S
PERIOD_NS = 5_000_000


@pytest.fixture(scope="session")
def robot() -> RobotFile:
    return load_robot("franka")


@pytest.fixture(scope="session")
def spec(robot: RobotFile) -> RobotSpec:
    return robot.spec


@pytest.fixture(scope="session")
def kinematics(spec: RobotSpec) -> Kinematics:
    return Kinematics(defi_sim.robot_description(), spec.joint_names, spec.tip_frame, spec.limits)


@pytest.fixture
def joint_chunk(spec: RobotSpec):
    """Makes chunks that follow `path(seconds since START_NS) -> (joints,)`."""

    def make(observed_ns: int, path=None, steps: int = 10, step_s: float = 0.1, **changes) -> ActionChunk:
        seconds = (observed_ns - START_NS) / NS_PER_S + step_s * np.arange(steps)
        targets = np.array([path(s) if path else spec.home for s in seconds])
        values = {
            "start_ns": observed_ns,
            "step_ns": round(step_s * NS_PER_S),
            "space": "joint_positions",
            "targets": targets,
            "gripper": np.ones(steps),
            "arm": spec.arm,
        }
        return ActionChunk(**{**values, **changes})

    return make
