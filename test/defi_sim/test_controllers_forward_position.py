"""Laws of the emulated forward command controller."""

import numpy as np
import pytest

from defi_sim.controllers import CommandRefusedError, ForwardPositionController

HERE = np.zeros(2)


@pytest.fixture
def controller():
    made = ForwardPositionController(("a", "b"))
    made.activate(0, HERE)
    return made


def test_nothing_is_written_before_the_first_command(controller):
    assert controller.update(10**9, HERE) is None


def test_the_last_command_persists_for_ever(controller):
    controller.command([1.0, 2.0], 0)
    np.testing.assert_array_equal(controller.update(10**15, HERE), [1.0, 2.0])


def test_a_jump_in_the_command_is_a_jump_of_the_set_point(controller):
    controller.command([1.0, 2.0], 0)
    controller.update(0, HERE)
    controller.command([-1.0, -2.0], 1)
    np.testing.assert_array_equal(controller.update(1, HERE), [-1.0, -2.0])


@pytest.mark.parametrize("command", [[], [1.0], [1.0, 2.0, 3.0]])
def test_a_wrong_length_is_an_error_that_changes_nothing(controller, command):
    controller.command([1.0, 2.0], 0)
    with pytest.raises(
        CommandRefusedError, match=rf"got {len(command)} numbers, expected 2, one for each of \['a', 'b'\]"
    ):
        controller.command(command, 0)
    np.testing.assert_array_equal(controller.update(1, HERE), [1.0, 2.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_command_that_is_not_finite_is_dropped(controller, bad):
    controller.command([1.0, 2.0], 0)
    controller.command([3.0, bad], 0)
    np.testing.assert_array_equal(controller.update(1, HERE), [1.0, 2.0])
    assert controller.dropped == 1


def test_a_command_is_copied(controller):
    command = np.array([1.0, 2.0])
    controller.command(command, 0)
    command[:] = 9.0
    np.testing.assert_array_equal(controller.update(1, HERE), [1.0, 2.0])


def test_activation_forgets_the_last_command(controller):
    controller.command([1.0, 2.0], 0)
    controller.activate(1, HERE)
    assert controller.update(2, HERE) is None
