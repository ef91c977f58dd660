import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_ros.control.gripper import GripperSwitch
from defi_ros.sections import Gripper

MS = 1_000_000


@pytest.fixture
def switch():
    switch = GripperSwitch(Gripper(close_below=0.4, open_above=0.6, min_interval_s=0.3))
    switch.measured(1.0)
    return switch


def test_only_transitions_become_goals(switch):
    wishes = [(0, 1.0), (400, 0.9), (800, 0.3), (1200, 0.1), (1600, 0.5), (2000, 0.61)]
    assert [switch.step(wanted, at * MS) for at, wanted in wishes] == [None, None, 0.0, None, None, 1.0]


def test_between_the_thresholds_nothing_changes(switch):
    switch.step(0.1, 0)
    assert [switch.step(wanted, 1000 * MS) for wanted in (0.41, 0.5, 0.59)] == [None] * 3


def test_a_transition_within_the_interval_waits_and_may_be_dropped(switch):
    assert switch.step(0.0, 0) == 0.0
    assert switch.step(1.0, 100 * MS) is None
    assert switch.step(1.0, 300 * MS) == 1.0
    assert switch.step(0.0, 400 * MS) is None
    assert switch.step(1.0, 700 * MS) is None
    assert switch.commanded == 1.0


def test_the_measured_opening_counts_until_the_first_goal():
    switch = GripperSwitch(Gripper())
    switch.measured(0.1)
    assert switch.step(0.0, 0) is None
    assert switch.step(1.0, 0) == 1.0
    switch.measured(0.1)
    assert switch.step(1.0, 10_000 * MS) is None


def test_after_a_handover_the_first_clear_wish_is_sent_again(switch):
    assert switch.step(0.0, 0) == 0.0
    switch.forget()
    assert switch.step(0.5, 1000 * MS) is None
    assert switch.step(0.0, 1000 * MS) == 0.0
    assert switch.step(0.0, 2000 * MS) is None


def test_a_handover_before_the_first_goal_still_goes_by_the_measured_opening(switch):
    switch.forget()
    assert switch.step(1.0, 0) is None


def test_a_wish_that_is_not_a_number_changes_nothing(switch):
    assert switch.step(float("nan"), 0) is None


@pytest.mark.parametrize(("wanted", "word"), [(0.0, "close"), (1.0, "open")])
def test_a_gripper_that_does_not_move_when_told_to_is_stuck(switch, wanted, word):
    switch.measured(1.0 - wanted)
    switch.step(1.0 - wanted, 0)
    switch.step(wanted, 1000 * MS)
    switch.measured(1.0 - wanted)
    assert switch.why_stuck(2900 * MS) is None
    assert f"gripper: told to {word} 2.5 s ago, still {1.0 - wanted:.0%} open" in (switch.why_stuck(3500 * MS) or "")
    switch.measured(0.5)
    assert switch.why_stuck(3600 * MS) is None


def test_a_gripper_told_to_close_again_on_what_it_holds_is_not_stuck(switch):
    switch.step(0.0, 0)
    for opening in (0.8, 0.6, 0.5):
        switch.measured(opening)
    switch.forget()
    assert switch.step(0.0, 1000 * MS) == 0.0
    assert switch.why_stuck(9000 * MS) is None


def test_a_gripper_that_does_not_say_where_it_is_never_seems_stuck():
    switch = GripperSwitch(Gripper())
    assert switch.step(0.0, 0) == 0.0
    assert switch.why_stuck(9000 * MS) is None


@settings(max_examples=300)
@given(wishes=st.lists(st.tuples(st.integers(0, 200), st.floats(0, 1)), max_size=60))
def test_goals_alternate_and_keep_their_distance(wishes):
    switch, now_ns, goals = GripperSwitch(Gripper(min_interval_s=0.3)), 0, []
    switch.measured(1.0)
    for wait, wanted in wishes:
        now_ns += wait * MS
        goal = switch.step(wanted, now_ns)
        if goal is not None:
            goals.append((now_ns, goal))
    assert [goal for _, goal in goals] == [float(index % 2) for index in range(len(goals))]
    assert all(later - earlier >= 300 * MS for (earlier, _), (later, _) in itertools.pairwise(goals))
