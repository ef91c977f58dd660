import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_models.contract import ConfigError
from defi_ros.control.kinematics import Kinematics

parts = st.lists(st.floats(0.1, 0.9), min_size=7, max_size=7).map(np.array)


def joints_at(spec, part):
    return spec.limits.lower + part * (spec.limits.upper - spec.limits.lower)


@settings(max_examples=200)
@given(part=parts)
def test_the_pose_of_any_posture_is_reached_from_nearby(spec, kinematics, part):
    q = joints_at(spec, part)
    pose = kinematics.forward(q)
    solution = kinematics.inverse(pose, np.clip(q + 0.05, spec.limits.lower, spec.limits.upper))
    if not solution.reached:  # a singular posture may need another way; then the reason says so
        assert "not reached" in solution.reason
        return
    np.testing.assert_allclose(kinematics.forward(solution.q)[:3], pose[:3], atol=2e-5)
    assert abs(kinematics.forward(solution.q)[3:] @ pose[3:]) > 1 - 1e-7


@settings(max_examples=300)
@given(pose=st.lists(st.floats(-3, 3), min_size=7, max_size=7).map(np.array), part=parts)
def test_no_target_leads_outside_the_joint_limits(spec, kinematics, pose, part):
    if np.linalg.norm(pose[3:]) < 1e-3:
        pose[6] = 1.0
    solution = kinematics.inverse(pose, joints_at(spec, part), spec.home, max_iterations=20)
    assert (solution.q >= spec.limits.lower).all() and (solution.q <= spec.limits.upper).all()
    assert solution.reached == (solution.reason == "")


def test_the_jacobian_is_the_derivative_of_the_pose(spec, kinematics):
    q = spec.home + 0.1
    jacobian = kinematics.jacobian(q)
    for joint in range(7):
        step = 1e-6 * np.eye(7)[joint]
        difference = (kinematics.forward(q + step)[:3] - kinematics.forward(q - step)[:3]) / 2e-6
        np.testing.assert_allclose(jacobian[:3, joint], difference, atol=1e-6)


def test_ten_far_starts_in_ten_reach_a_pose_of_the_workspace(spec, kinematics):
    rng = np.random.default_rng(7)
    for _ in range(10):
        pose = kinematics.forward(np.clip(spec.home + rng.uniform(-0.6, 0.6, 7), spec.limits.lower, spec.limits.upper))
        assert kinematics.inverse(pose, spec.home, spec.home).reached


def test_the_posture_pulls_the_elbow_and_leaves_the_tip(spec, kinematics):
    q = spec.home.copy()
    q[0] += 0.5
    pose = kinematics.forward(q)
    away = np.linalg.norm(q - spec.home)
    for _ in range(300):
        q = kinematics.inverse(pose, q, spec.home).q
        np.testing.assert_allclose(kinematics.forward(q)[:3], pose[:3], atol=2e-5)
    assert np.linalg.norm(q - spec.home) < 0.8 * away


def test_a_pose_out_of_reach_gives_the_closest_joints_and_says_how_far(spec, kinematics):
    pose = kinematics.forward(spec.home)
    pose[0] += 1.0
    solution = kinematics.inverse(pose, spec.home)
    assert not solution.reached
    assert "not reached" in solution.reason and "mm" in solution.reason
    assert kinematics.forward(solution.q)[0] > 0.6


def test_a_pose_that_is_not_finite_is_not_reached(spec, kinematics):
    solution = kinematics.inverse(np.full(7, np.nan), spec.home)
    assert (solution.reached, solution.reason) == (False, "pose or seed is not finite")
    np.testing.assert_array_equal(solution.q, spec.home)


def test_joints_may_be_named_in_any_order(spec, kinematics):
    import defi_sim

    turned = Kinematics(defi_sim.robot_description(), spec.joint_names[::-1], spec.tip_frame)
    np.testing.assert_allclose(turned.forward(spec.home[::-1]), kinematics.forward(spec.home))
    np.testing.assert_allclose(turned.jacobian(spec.home[::-1])[:, ::-1], kinematics.jacobian(spec.home))


@pytest.mark.parametrize(
    ("xml", "names", "tip", "message"),
    [
        (
            None,
            ["panda_joint1", "elbow"],
            "panda_hand_tcp",
            "got no joint 'elbow', expected all of .* It has .*panda_joint7",
        ),
        (None, ["panda_joint1"], "tool0", "got no frame 'tool0'.* It has .*panda_hand_tcp"),
        ("hello", ["a"], "b", "a text of 5 characters without <robot>, expected a URDF"),
        ("<robot name='x'>", ["a"], "b", "a text that is no URDF"),
    ],
)
def test_a_description_that_does_not_fit_says_what_exists(xml, names, tip, message):
    import defi_sim

    with pytest.raises(ConfigError, match=message):
        Kinematics(xml or defi_sim.robot_description(), names, tip)


def test_shapes_are_checked(spec, kinematics):
    with pytest.raises(
        ConfigError, match=r"pose of shape \(6,\) and a seed of shape \(7,\), expected \(7,\) and \(7,\)"
    ):
        kinematics.inverse(np.zeros(6), spec.home)


def test_the_limits_of_the_description_are_told_in_the_order_of_the_joints_and_cannot_be_changed(spec):
    import defi_sim

    turned = Kinematics(defi_sim.robot_description(), spec.joint_names[::-1], spec.tip_frame, spec.limits)
    described = turned.described_limits
    np.testing.assert_allclose(described.lower[:2], [-2.8973, -0.0175])
    np.testing.assert_allclose(described.upper[:2], [2.8973, 3.7525])
    np.testing.assert_allclose(described.velocity, [2.61, 2.61, 2.61, 2.175, 2.175, 2.175, 2.175])
    with pytest.raises(ValueError, match="read-only"):
        described.velocity[0] = 1.0
    with pytest.raises(AttributeError):
        described.velocity = np.ones(7)  # pyright: ignore[reportAttributeAccessIssue]
