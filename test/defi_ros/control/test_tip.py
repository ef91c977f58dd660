"""What the tool centre point is asked to go through: nothing beyond its limits, and what keeps them unchanged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_models.contract import Workspace
from defi_ros.control.tip import TipFollower

PERIOD_S = 0.005
BOX = Workspace(
    np.full(3, -1.0),
    np.ones(3),
    0.6,
    acceleration_m_s2=4.0,
    jerk_m_s3=400.0,
    velocity_rad_s=1.5,
    acceleration_rad_s2=10.0,
    jerk_rad_s3=1000.0,
)
START = np.array([0.4, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])


def begun():
    tip = TipFollower(BOX, PERIOD_S)
    tip.begin(START, np.zeros(6))
    return tip


def turned(rad, pose=START):
    """`pose` turned about z of the base."""
    half = 0.5 * rad
    x, y, z, w = pose[3:]
    c, s = np.cos(half), np.sin(half)
    return np.array([*pose[:3], c * x - s * y, c * y + s * x, c * z + s * w, c * w - s * z])


def steps(poses):
    """Largest speed, acceleration and jerk in place, and the largest speed of turning."""
    places = np.vstack([np.tile(START[:3], (3, 1)), poses[:, :3]])
    found = [np.linalg.norm(np.diff(places, n, axis=0), axis=1).max() / PERIOD_S**n for n in (1, 2, 3)]
    cosine = np.abs((poses[1:, 3:] * poses[:-1, 3:]).sum(axis=1)).clip(max=1.0)
    return *found, float((2 * np.arccos(cosine)).max()) / PERIOD_S


def test_targets_within_the_limits_go_through_unchanged():
    tip = begun()
    times_s = PERIOD_S * np.arange(1, 400)
    for time_s in times_s:
        part = 0.5 - 0.5 * np.cos(2.0 * time_s)
        pose = turned(0.3 * part)
        pose[:3] += [0.1 * part, -0.05 * part, 0.0]
        followed, why = tip.step(pose)
        assert why == ""
        np.testing.assert_allclose(followed, pose, atol=2e-5)


@settings(max_examples=60)
@given(
    jumps=st.lists(
        st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-3.0, 3.0)), min_size=1
    ),
    every=st.integers(1, 60),
)
def test_whatever_is_asked_acceleration_and_jerk_stay_within_the_limits(jumps, every):
    tip, poses = begun(), []
    for tick in range(300):
        x, y, z, rad = jumps[(tick // every) % len(jumps)]
        pose = turned(rad)
        pose[:3] += [x, y, z]
        poses.append(tip.step(pose)[0])
    rows = np.array(poses)
    speed, acceleration, jerk, turning = steps(rows)
    assert speed <= BOX.velocity_m_s * (1 + 1e-3)
    assert acceleration <= BOX.acceleration_m_s2 * (1 + 1e-3)
    assert jerk <= BOX.jerk_m_s3 * (1 + 1e-2)
    assert turning <= BOX.velocity_rad_s * (1 + 1e-2), "about one axis; the programs turn about z alone"
    np.testing.assert_allclose(np.linalg.norm(rows[:, 3:], axis=1), 1.0, atol=1e-9)


def test_a_turn_about_one_axis_may_be_as_fast_as_the_limit():
    """Each axis once had 0.58 of it, so that a turn about one of them was left behind."""
    tip = TipFollower(BOX, PERIOD_S)
    tip.begin(START, np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.4]))
    for tick in range(1, 200):
        pose = turned(1.4 * PERIOD_S * tick)
        followed, why = tip.step(pose)
        assert why == ""
        np.testing.assert_allclose(followed, pose, atol=2e-5)


def test_a_far_target_is_reached_and_kept_with_the_reason_on_the_way():
    tip, goal = begun(), turned(1.0)
    goal[:3] += [0.2, 0.1, -0.1]
    pose, why = tip.step(goal)
    assert why.startswith("tip: 244.9 mm and 1.000 rad to its target, limits 4 m/s^2, 400 m/s^3")
    for _ in range(400):
        pose, why = tip.step(goal)
    assert why == ""
    np.testing.assert_allclose(pose, goal, atol=1e-6)


def test_a_motion_under_way_is_taken_over_at_its_speed():
    tip = TipFollower(BOX, PERIOD_S)
    tip.begin(START, np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.0]))
    pose = START.copy()
    for tick in range(1, 20):
        pose[0] = START[0] + 0.2 * PERIOD_S * tick
        followed, why = tip.step(pose)
        assert (why, followed[0]) == ("", pytest.approx(pose[0], abs=1e-9))
