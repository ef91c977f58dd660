"""The emulators of what robots do beyond one controller: velocities, the Franka hand, stops and recoveries."""

import numpy as np
import pytest

from defi_sim.controllers import (
    CommandRefusedError,
    EmulatedArm,
    ForwardPositionController,
    ForwardVelocityController,
    FrankaHand,
    FrankaMode,
    FrankaStatus,
    GripperController,
    HandGoal,
    UrMode,
    UrSafety,
    UrStatus,
)

MS = 1_000_000
NAMES = ("a", "b")
HERE = np.array([0.1, 0.2])


def test_a_velocity_stays_in_force_when_messages_stop():
    made = ForwardVelocityController(NAMES)
    made.activate(0, HERE)
    assert made.update(5 * MS, HERE) is None
    made.command([0.5, 0.0], 5 * MS)
    reached = [made.update(millisecond * MS + 5 * MS, HERE) for millisecond in range(5, 2005, 5)]
    assert reached[-1] is not None
    np.testing.assert_allclose(reached[-1], HERE + np.array([1.0, 0.0]), atol=1e-9)
    made.command([np.nan, 0.0], 0)
    assert made.dropped == 1
    with pytest.raises(CommandRefusedError, match="got 1 numbers, expected 2"):
        made.command([0.0], 0)


class Hand:
    """A hand whose fingers move at 0.2 m/s, and perhaps meet something."""

    def __init__(self, held_m=None):
        self.gripper = GripperController()
        self.hand = FrankaHand(self.gripper)
        self.opening, self.held_m, self.now_ns, self.results = 1.0, held_m, 0, []

    def run(self, seconds):
        for _ in range(round(seconds / 0.005)):
            self.now_ns += 5 * MS
            wanted = self.gripper.update(self.now_ns, self.opening)
            if wanted is not None:
                step = 0.005 * 0.2 / 0.04
                opening = self.opening + min(max(wanted - self.opening, -step), step)
                self.opening = max(opening, self.held_m / 0.08) if self.held_m else opening
            self.results += self.hand.take_results(self.gripper.take_results(), self.now_ns)
        return self.results


def test_widths_are_those_between_both_fingers():
    made = Hand()
    made.hand.command(HandGoal("open", 0.04), 0)
    (result,) = made.run(1.0)
    assert result.success and made.opening == pytest.approx(0.5, abs=0.01)
    with pytest.raises(CommandRefusedError, match=r"got a width of 0\.1 m"):
        made.hand.check(0.1)


@pytest.mark.parametrize(("epsilon_m", "held"), [(0.005, False), (0.08, True)])
def test_a_grasp_succeeds_when_what_it_holds_is_within_epsilon(epsilon_m, held):
    made = Hand(held_m=0.05)
    made.hand.command(HandGoal("grasp", 0.0, (epsilon_m, epsilon_m)), 0)
    (result,) = made.run(3.0)
    assert result.success is held


def test_a_second_goal_waits_for_the_first_which_stop_alone_ends():
    made = Hand()
    made.hand.command(HandGoal("close", 0.0, (0.08, 0.08)), 0)
    made.hand.command(HandGoal("open", 0.08), 0)
    assert made.run(0.05) == []
    made.hand.stop()
    first, second = made.run(1.0)
    assert (first.goal_id, first.success) == ("close", False) and "aborted" in first.error
    assert (second.goal_id, second.success) == ("open", True)


def follow(arm, positions, now_ms):
    arm.post("forward_position", positions)
    return arm.update(now_ms * MS, HERE)


def test_a_paused_robot_stays_and_then_goes_where_its_controller_wants_meanwhile():
    arm = EmulatedArm({"forward_position": ForwardPositionController(NAMES)})
    follow(arm, [0.5, 0.5], 0)
    arm.suspend("protective stop", 5 * MS, HERE, deactivate=False)
    np.testing.assert_array_equal(follow(arm, [0.7, 0.7], 10), HERE)
    arm.resume(15 * MS, HERE)
    np.testing.assert_array_equal(arm.update(20 * MS, HERE), [0.7, 0.7])


def test_a_robot_whose_controllers_are_off_hears_nothing_until_they_are_on_again():
    arm = EmulatedArm({"forward_position": ForwardPositionController(NAMES)})
    follow(arm, [0.5, 0.5], 0)
    arm.suspend("reflex", 5 * MS, HERE, deactivate=True)
    np.testing.assert_array_equal(follow(arm, [0.7, 0.7], 10), HERE)
    with pytest.raises(CommandRefusedError, match="switched off: reflex"):
        arm.check("forward_position", [0.0, 0.0], 10 * MS)
    arm.resume(15 * MS, HERE)
    assert arm.update(20 * MS, HERE) is None
    np.testing.assert_array_equal(follow(arm, [0.3, 0.3], 25), [0.3, 0.3])


def test_a_franka_comes_back_in_one_order_only():
    franka = FrankaStatus()
    franka.fail("joint_reflex")
    assert (franka.mode, franka.hardware, franka.ready) == (FrankaMode.REFLEX, "unconfigured", False)
    assert not franka.activate_hardware() and not franka.switch_on()
    assert franka.recover() and not franka.switch_on()
    assert franka.activate_hardware() and not franka.ready
    assert franka.switch_on() and franka.ready and franka.errors == ()


def test_a_ur_comes_back_in_one_order_only():
    ur = UrStatus()
    ur.emergency_stop(True)
    assert not (ur.power_on() or ur.brake_release() or ur.start_program() or ur.unlock_protective_stop())
    ur.emergency_stop(False)
    assert not ur.brake_release() and ur.power_on() and ur.mode == UrMode.IDLE
    assert not ur.start_program() and ur.brake_release() and ur.start_program() and ur.ready
    ur.protective_stop()
    assert ur.safety == UrSafety.PROTECTIVE_STOP and not ur.start_program()
    assert ur.unlock_protective_stop() and not ur.ready and ur.start_program() and ur.ready
