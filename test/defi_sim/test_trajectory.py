"""Laws of a timed plan: it keeps to its speed, never jumps and ends where it should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_models.contract import ContractError
from defi_sim.starts import down_pose
from defi_sim.trajectory import GRID_S, MAX_SPEED_M_S, MAX_TURN_RAD_S, Route

coordinate = st.floats(-0.4, 0.4)
legs = st.lists(
    st.tuples(
        coordinate, coordinate, coordinate, st.floats(-3.0, 3.0), st.floats(0.05, MAX_SPEED_M_S), st.floats(0, 1)
    ),
    min_size=1,
    max_size=5,
)


def route_of(knots) -> Route:
    route = Route(down_pose(np.array([0.4, 0.0, 0.3])), 0.5)
    for x, y, z, yaw, speed, gripper in knots:
        route.move(down_pose(np.array([x, y, z]), yaw), speed, gripper=gripper)
    return route


@settings(max_examples=40, deadline=None)
@given(legs)
def test_speed_and_turning_rate_never_exceed_those_of_the_legs(knots):
    trajectory = route_of(knots).trajectory()
    fastest = max(knot[4] for knot in knots)
    speed = np.linalg.norm(np.diff(trajectory.poses[:, :3], axis=0), axis=1) / GRID_S
    assert speed.max() <= fastest * 1.001 + 1e-9
    cosines = np.clip(np.sum(trajectory.poses[1:, 3:] * trajectory.poses[:-1, 3:], axis=1), -1.0, 1.0)
    assert (2 * np.arccos(cosines)).max() / GRID_S <= MAX_TURN_RAD_S * 1.1


@settings(max_examples=40, deadline=None)
@given(legs)
def test_a_plan_begins_and_ends_at_rest_and_exactly(knots):
    route = route_of(knots)
    trajectory = route.trajectory()
    pose, gripper = trajectory.sample(0.0)
    np.testing.assert_allclose(pose, down_pose(np.array([0.4, 0.0, 0.3])), atol=1e-9)
    assert gripper == pytest.approx(0.5)
    pose, gripper = trajectory.sample(trajectory.duration_s + 1.0)
    np.testing.assert_allclose(pose[:3], route.pose[:3], atol=1e-9)
    assert abs(pose[3:] @ route.pose[3:]) == pytest.approx(1.0, abs=1e-9)
    assert gripper == pytest.approx(route.gripper)
    for samples in (trajectory.poses[:2], trajectory.poses[-2:]):
        assert np.linalg.norm(samples[1] - samples[0]) / GRID_S < 0.05


@settings(max_examples=40, deadline=None)
@given(legs)
def test_velocity_never_jumps(knots):
    velocity = np.diff(route_of(knots).trajectory().poses[:, :3], axis=0) / GRID_S
    acceleration = np.linalg.norm(np.diff(velocity, axis=0), axis=1) / GRID_S
    assert acceleration.max() <= 2 * MAX_SPEED_M_S / 0.19  # a reversal at full speed over half the blend


def test_times_between_samples_are_interpolated():
    trajectory = route_of([(0.1, 0.1, 0.1, 0.5, 0.3, 0.0)]).trajectory()
    middle, _ = trajectory.sample(0.505)
    np.testing.assert_allclose(middle[:3], (trajectory.poses[50, :3] + trajectory.poses[51, :3]) / 2, atol=1e-9)
    assert np.linalg.norm(middle[3:]) == pytest.approx(1.0)


def test_a_speed_above_the_limit_is_refused():
    route = Route(down_pose(np.zeros(3)), 0.0)
    with pytest.raises(ContractError, match=r"got a speed of 0.5 m/s, expected more than 0 and at most 0.35"):
        route.move(down_pose(np.ones(3)), 0.5)
