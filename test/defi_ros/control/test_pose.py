import numpy as np
import pinocchio as pin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defi_ros.control.pose import apart, rotation, turn_between

poses = st.lists(st.floats(-1, 1), min_size=7, max_size=7).map(np.array).filter(lambda p: np.linalg.norm(p[3:]) > 0.1)


@given(first=poses, second=poses)
def test_the_turn_between_two_poses_leads_from_one_to_the_other(first, second):
    turned = pin.exp3(turn_between(first, second)) @ rotation(first)
    np.testing.assert_allclose(turned, rotation(second), atol=1e-6)


@given(pose=poses)
def test_a_quaternion_of_any_length_and_sign_is_the_same_turn(pose):
    np.testing.assert_allclose(rotation(np.append(pose[:3], -3.0 * pose[3:])), rotation(pose), atol=1e-12)


def test_a_metre_apart_counts_as_much_as_a_radian():
    here = np.array([0, 0, 0, 0, 0, 0, 1.0])
    there = np.array([0.3, 0, 0, np.sin(0.2), 0, 0, np.cos(0.2)])
    assert apart(here, here) == 0.0
    assert apart(here, there) == apart(there, here) == pytest.approx(0.5)
