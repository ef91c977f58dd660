"""Messages <-> contract: round trips, and what is refused at the door."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("rclpy")

from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import JointState

from defi_models.contract import ActionChunk, ContractError, Imagination
from defi_ros.bridge import convert
from defi_ros.sections import Gripper

pytestmark = pytest.mark.ros
JOINTS = ("a", "b")
GRIPPER = Gripper(joint="finger", joint_closed=0.0, joint_open=0.04)


def opening_of(reader, message):
    """The opening in what the reader makes of the message."""
    reading = reader.read(message)
    assert reading is not None
    return reading.opening


def joint_state(names, positions, **fields):
    return JointState(name=names, position=positions, **fields)


@given(st.integers(min_value=0, max_value=2**31 * 10**9 - 1))
@settings(max_examples=50)
def test_time_survives_the_round_trip(time_ns):
    assert convert.to_ns(convert.to_stamp(time_ns)) == time_ns


def test_joints_are_picked_by_name_whatever_their_order():
    reader = convert.JointReader(JOINTS, GRIPPER)
    message = joint_state(["b", "x", "finger", "a"], [2.0, 9.0, 0.02, 1.0], velocity=[20.0, 90.0, 0.0, 10.0])
    reading = reader.read(message)
    assert reading is not None
    np.testing.assert_array_equal(reading.positions, [1.0, 2.0])
    np.testing.assert_array_equal(reading.velocities, [10.0, 20.0])
    assert reading.opening == pytest.approx(0.5)


def test_velocities_that_the_robot_does_not_tell_are_none():
    """A joint_state_broadcaster fills in what the robot has no interface for."""
    reading = convert.JointReader(JOINTS, GRIPPER).read(joint_state(["a", "b"], [1.0, 2.0], velocity=[math.nan] * 2))
    assert reading is not None and reading.velocities is None


def test_names_that_change_each_time_are_not_all_remembered():
    reader = convert.JointReader(JOINTS, GRIPPER)
    for number in range(1000):
        reader.read(joint_state([f"x{number}"], [1.0]))
    assert len(reader._layouts) <= convert.MOST_LAYOUTS


def test_arm_and_gripper_may_come_in_messages_of_their_own():
    reader = convert.JointReader(JOINTS, GRIPPER)
    assert opening_of(reader, joint_state(["a", "b"], [1.0, 2.0])) is None
    assert reader.read(joint_state(["finger"], [0.04])) is None
    assert opening_of(reader, joint_state(["a", "b"], [1.0, 2.0])) == 1.0


def test_an_arm_without_a_gripper_counts_as_open():
    reader = convert.JointReader(JOINTS, Gripper(kind="none"))
    assert opening_of(reader, joint_state(["a", "b"], [1.0, 2.0])) == 1.0


def test_a_missing_joint_is_named_with_what_there_is():
    with pytest.raises(ContractError, match=r"got no joint 'b', expected all of \['a', 'b'\]. It has \['a', 'c'\]"):
        convert.JointReader(JOINTS, GRIPPER).read(joint_state(["a", "c"], [1.0, 2.0]))


def test_a_joint_that_is_not_finite_is_refused_by_name():
    with pytest.raises(ContractError, match="position of joint 'b' that is not finite"):
        convert.JointReader(JOINTS, GRIPPER).read(joint_state(["a", "b"], [1.0, float("nan")]))


def test_fewer_numbers_than_joints_are_refused_with_both_counts():
    with pytest.raises(ContractError, match="got 1 numbers in position, expected 2"):
        convert.JointReader(JOINTS, GRIPPER).read(joint_state(["a", "b"], [1.0]))


def test_a_scene_is_flat_with_one_number_a_name():
    scene = convert.scene_from(convert.scene_to({"drawer": np.array([0.1]), "block": [1.0, 2.0]}, 5))
    assert scene == {"drawer": 0.1, "block.0": 1.0, "block.1": 2.0}
    assert convert.scene_from(convert.scene_to(scene, 6)) == scene


def test_a_scene_with_fewer_numbers_than_names_is_refused():
    message = convert.scene_to({"drawer": 0.1, "door": 0.2}, 5)
    message.position = [0.1]
    with pytest.raises(ContractError, match="scene_state: got 1 numbers, expected 2"):
        convert.scene_from(message)


def test_an_imagination_survives_the_round_trip():
    features = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    again = convert.imagination_from(convert.imagination_to(Imagination(7, "lift", "abc", features, 12.5)))
    np.testing.assert_array_equal(again.features, features)
    assert (again.time_ns, again.instruction, again.policy, again.inference_ms) == (7, "lift", "abc", 12.5)


def test_an_imagination_whose_bytes_do_not_fill_its_shape_is_refused():
    message = convert.imagination_to(Imagination(7, "lift", "abc", np.zeros((2, 2), dtype=np.float32)))
    message.shape = [2, 3]
    with pytest.raises(ContractError, match=r"got 16 bytes, expected 24 for shape \(2, 3\)"):
        convert.imagination_from(message)


def chunk():
    targets = np.tile([0.4, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0], (4, 1))
    return ActionChunk(9, 100_000_000, "ee_pose", targets, np.linspace(0, 1, 4), "franka_panda", "lift", 30.0, 20.0)


def test_a_chunk_survives_the_round_trip():
    again = convert.chunk_from(convert.chunk_to(chunk(), "base"))
    np.testing.assert_array_equal(again.targets, chunk().targets)
    np.testing.assert_array_equal(again.gripper, chunk().gripper)
    assert again.end_ns == chunk().end_ns and again.arm == "franka_panda" and again.imagination_ms == 30.0


def test_a_chunk_whose_numbers_do_not_fill_its_shape_is_refused():
    message = convert.chunk_to(chunk())
    message.steps = 5
    with pytest.raises(ContractError, match="got 28 numbers in targets, expected 35 for steps 5 and dims 7"):
        convert.chunk_from(message)


def test_a_chunk_with_a_number_that_is_not_finite_is_refused():
    message = convert.chunk_to(chunk())
    message.targets[3] = float("nan")
    with pytest.raises(ContractError, match="not finite"):
        convert.chunk_from(message)
