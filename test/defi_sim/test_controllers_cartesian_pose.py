"""Laws of the emulated Cartesian impedance controller, on the real kinematics of the Panda."""

import numpy as np
import pytest

from defi_ros.control.kinematics import Kinematics
from defi_sim.controllers import CartesianPoseController, CommandRefusedError, PoseCommand
from defi_sim.description import ARM_JOINTS, TIP_FRAME, robot_description

HOME = np.array([0.0, -0.7854, 0.0, -2.3562, 0.0, 1.5708, 0.7854])
MS = 1_000_000


@pytest.fixture(scope="module")
def kinematics():
    return Kinematics(robot_description(), ARM_JOINTS, TIP_FRAME)


@pytest.fixture
def controller(kinematics):
    made = CartesianPoseController(kinematics)
    made.activate(0, HOME)
    return made


def run(controller, start_ms, until_ms, measured=None):
    """Updates every 5 ms; the arm follows perfectly unless `measured` is given. Returns all set points."""
    q, path = HOME if measured is None else measured, []
    for ms in range(start_ms, until_ms, 5):
        q = controller.update(ms * MS, q if measured is None else measured)
        path.append(q)
    return np.array(path)


def shifted(kinematics, x_m):
    pose = kinematics.forward(HOME)
    pose[0] += x_m
    return pose


def test_nothing_is_written_before_activation(kinematics):
    assert CartesianPoseController(kinematics).update(0, HOME) is None


def test_activation_makes_the_present_pose_the_target(controller):
    np.testing.assert_allclose(run(controller, 5, 1000)[-1], HOME, atol=1e-9)


def test_a_target_is_reached_smoothly_without_overshoot(controller, kinematics):
    target = shifted(kinematics, 0.05)
    controller.command(PoseCommand(target), 0)
    x_m = np.array([kinematics.forward(q)[0] for q in run(controller, 5, 2000)])
    assert x_m[-1] == pytest.approx(target[0], abs=1e-4)
    assert x_m.max() < target[0] + 1e-4
    assert np.abs(np.diff(x_m, 2)).max() < 0.05 * 0.02  # no step in velocity: 5 ms of 500/3 * 0.05 m/s^2 and margin


def test_the_target_is_held_for_ever(controller, kinematics):
    target = shifted(kinematics, 0.05)
    controller.command(PoseCommand(target), 0)
    run(controller, 5, 2000)
    late = run(controller, 600_000, 600_100)[-1]
    np.testing.assert_allclose(kinematics.forward(late), target, atol=1e-4)


def test_a_far_target_pulls_no_harder_than_the_clip(controller, kinematics):
    near, far = (CartesianPoseController(kinematics) for _ in range(2))
    for made, x_m in ((near, 0.1), (far, 0.3)):
        made.activate(0, HOME)
        made.command(PoseCommand(shifted(kinematics, x_m)), 0)
        run(made, 5, 40)
    moved = [kinematics.forward(run(made, 40, 45)[-1])[0] for made in (near, far)]
    assert moved[1] - moved[0] < 0.3 * 0.1


def test_a_blocked_arm_never_winds_up(controller, kinematics):
    controller.command(PoseCommand(shifted(kinematics, 0.25)), 0)
    pushed = run(controller, 5, 3000, measured=HOME)[-1]
    assert kinematics.forward(pushed)[0] - kinematics.forward(HOME)[0] < 0.1 + 1e-3


def test_two_publishers_silence_the_topic(controller, kinematics):
    controller.command(PoseCommand(shifted(kinematics, 0.05), publishers=2), 0)
    np.testing.assert_allclose(run(controller, 5, 500)[-1], HOME, atol=1e-9)
    assert controller.ignored == 1


def test_turning_follows_the_shorter_way(controller, kinematics):
    target = kinematics.forward(HOME)
    half = 0.15
    x, y, z, w = target[3:]
    turned = np.array([np.cos(half) * x - np.sin(half) * y, np.cos(half) * y + np.sin(half) * x,
                       np.cos(half) * z + np.sin(half) * w, np.cos(half) * w - np.sin(half) * z])  # fmt: skip
    target[3:] = -turned  # the same rotation
    controller.command(PoseCommand(target), 0)
    path = run(controller, 5, 2000)
    got = kinematics.forward(path[-1])
    assert abs(got[3:] @ turned) == pytest.approx(1.0, abs=1e-6)
    assert np.abs(path - HOME).max() < 0.5


@pytest.mark.parametrize("pose", [[0.0] * 6, [np.nan] * 7, [0.5, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]])
def test_a_pose_that_is_none_is_refused(controller, pose):
    with pytest.raises(CommandRefusedError, match="expected 3 finite metres and a quaternion"):
        controller.command(PoseCommand(np.array(pose)), 0)
