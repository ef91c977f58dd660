"""Laws of the pacer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defi_sim.pacing import MAX_CATCH_UP_S, Pacer, every

STEP_S = 0.002


def test_steps_follow_the_clock():
    pacer = Pacer(STEP_S, 0.0)
    assert [pacer.due(ms / 1000) for ms in (5, 10, 15, 20)] == [2, 3, 2, 3]


@given(st.lists(st.floats(0.0, 0.0179), max_size=50))
def test_simulated_time_is_never_ahead_and_at_most_a_step_behind(waits):
    pacer, now_s, steps = Pacer(STEP_S, 0.0), 0.0, 0
    for wait_s in waits:
        now_s += wait_s
        steps += pacer.due(now_s)
        assert -1e-6 <= now_s - steps * STEP_S < STEP_S + 1e-6
    assert pacer.lost_s == 0.0


def test_a_long_stall_is_given_up_not_caught_up():
    pacer = Pacer(STEP_S, 0.0)
    assert pacer.due(10.0) == round(MAX_CATCH_UP_S / STEP_S)
    assert pacer.due(10.0) == 0
    assert pacer.lost_s == pytest.approx(10.0 - MAX_CATCH_UP_S)


def test_the_real_time_factor_tells_of_time_given_up():
    pacer = Pacer(STEP_S, 0.0)
    for tick in range(1, 32):
        pacer.due(tick * 0.04)
    assert pacer.real_time_factor == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("rate_hz", "count"), [(200.0, 200), (30.0, 30), (50.0, 50), (1000.0, 200)])
def test_every_is_true_as_often_as_asked_but_at_most_once_a_call(rate_hz, count):
    due = every(0.005, rate_hz)
    assert sum(due() for _ in range(200)) == count
