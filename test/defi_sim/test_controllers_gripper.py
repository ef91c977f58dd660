"""Laws of the emulated gripper action controllers."""

import pytest

from defi_sim.controllers import FINGER_STROKE_M, CommandRefusedError, GripperController, GripperOptions

MS = 1_000_000


class Fingers:
    """Fingers that move at 0.1 m/s each and stop at an object of `width` (as opening, 0..1)."""

    def __init__(self, opening=1.0, width=0.0):
        self.opening, self.width = opening, width

    def run(self, gripper, start_ms, until_ms, step_ms=5):
        for ms in range(start_ms, until_ms, step_ms):
            target = gripper.update(ms * MS, self.opening)
            if target is not None:
                step = 0.1 * step_ms / 1000 / FINGER_STROKE_M
                wanted = max(target, self.width)
                self.opening += min(max(wanted - self.opening, -step), step)
        return gripper.take_results()


def test_nothing_is_commanded_before_the_first_goal():
    assert GripperController().update(0, 0.7) is None


def test_a_goal_is_reached_within_its_tolerance_and_held():
    gripper, fingers = GripperController(), Fingers()
    gripper.command(0.0, "close", 0)
    (result,) = fingers.run(gripper, 0, 1000)
    assert (result.goal_id, result.outcome, result.reached_goal, result.stalled) == ("close", "succeeded", True, False)
    assert result.position_m < 0.01
    assert gripper.update(2000 * MS, 0.0) == 0.0


@pytest.mark.parametrize(("allow", "outcome"), [(False, "aborted"), (True, "succeeded")])
def test_grasping_an_object_stalls_and_aborts_unless_allowed(allow, outcome):
    gripper, fingers = GripperController(GripperOptions(allow_stalling=allow)), Fingers(width=0.5)
    gripper.command(0.0, "grasp", 0)
    assert fingers.run(gripper, 0, 1000) == []
    (result,) = fingers.run(gripper, 1000, 2500)
    assert (result.outcome, result.stalled, result.reached_goal) == (outcome, True, False)
    assert result.position_m == pytest.approx(0.5 * FINGER_STROKE_M)
    assert gripper.update(3000 * MS, 0.5) == 0.0  # it keeps squeezing


def test_a_new_goal_pre_empts_the_one_before_it():
    gripper, fingers = GripperController(), Fingers()
    gripper.command(0.0, "close", 0)
    fingers.run(gripper, 0, 50)
    gripper.command(FINGER_STROKE_M, "open", 50 * MS)
    first, second = fingers.run(gripper, 50, 1000)
    assert (first.goal_id, first.outcome) == ("close", "aborted")
    assert (second.goal_id, second.outcome) == ("open", "succeeded")


def test_cancelling_holds_the_fingers_where_they_are():
    gripper, fingers = GripperController(), Fingers()
    gripper.command(0.0, "close", 0)
    fingers.run(gripper, 0, 100)
    there = fingers.opening
    gripper.update(100 * MS, there)
    gripper.cancel("close")
    assert gripper.take_results()[0].outcome == "canceled"
    assert gripper.update(200 * MS, there) == pytest.approx(there)


def test_cancelling_another_goal_does_nothing():
    gripper = GripperController()
    gripper.command(0.0, "close", 0)
    gripper.cancel("other")
    assert gripper.goal_id == "close"


@pytest.mark.parametrize("position", [-0.01, 0.08, float("nan")])
def test_a_position_the_fingers_do_not_have_is_refused(position):
    with pytest.raises(CommandRefusedError, match=r"expected the position of one finger in 0\.\.0\.04 m"):
        GripperController().command(position, "g", 0)


def test_activation_aborts_and_commands_nothing():
    gripper = GripperController()
    gripper.command(0.0, "close", 0)
    gripper.activate(0.6)
    assert gripper.take_results()[0].outcome == "aborted"
    assert gripper.update(MS, 0.6) is None
