import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_ros.control.motion import JointState, Motion, brake_of

TOP, JERK = 4.5, 1125.0
velocities = st.floats(-2, 2)
accelerations = st.floats(-TOP, TOP)


@settings(max_examples=1000)
@given(v=velocities, a=accelerations)
def test_braking_ends_at_rest_where_it_says(v, a):
    brake = brake_of(0.0, v, a, TOP, JERK)
    p, speed, push = 0.0, v, a
    places = [p]
    for duration, jerk in ((brake.first_s, brake.jerk), (brake.held_s, 0.0), (brake.last_s, -brake.jerk)):
        for _ in range(50):
            t = duration / 50
            p += t * (speed + t * (push / 2 + t * jerk / 6))
            speed += t * (push + t * jerk / 2)
            push += t * jerk
            places.append(p)
            assert abs(push) <= TOP + 1e-9
    assert math.isclose(p, brake.rest, abs_tol=1e-9)
    assert abs(speed) < 1e-9 and abs(push) < 1e-6
    assert min(places) >= min(brake.rest, brake.turn, 0.0) - 1e-9
    assert max(places) <= max(brake.rest, brake.turn, 0.0) + 1e-9


@settings(max_examples=300)
@given(v=velocities, a=accelerations)
def test_braking_takes_no_longer_than_speed_and_jerk_ask(v, a):
    brake = brake_of(0.0, v, a, TOP, JERK)
    assert min(brake.first_s, brake.held_s, brake.last_s) >= 0
    bound = (abs(brake.coasting) / TOP) + 3 * TOP / JERK
    assert brake.first_s + brake.held_s + brake.last_s <= bound + 1e-9


def test_rest_is_already_rest():
    brake = brake_of(1.0, 0.0, 0.0, TOP, JERK)
    assert (brake.rest, brake.first_s + brake.held_s + brake.last_s) == (1.0, 0.0)


@settings(max_examples=300)
@given(
    v=st.lists(velocities, min_size=7, max_size=7),
    a=st.lists(accelerations, min_size=7, max_size=7),
    part=st.floats(0, 1),
)
def test_braking_on_the_way_leads_to_the_same_place(spec, v, a, part):
    limits = spec.limits
    motion = Motion(limits, 0.005)
    state = JointState(np.zeros(7), np.array(v), np.clip(np.array(a), -limits.acceleration, limits.acceleration))
    brakes = motion.brakes(state)
    later = motion.along(brakes, state, 0.3 * part)
    np.testing.assert_allclose([b.rest for b in motion.brakes(later)], [b.rest for b in brakes], atol=1e-9)


def test_a_constant_jerk_is_a_reachable_state_and_twice_the_limit_is_not(spec):
    motion, t, jerk = Motion(spec.limits, 0.005), 0.005, spec.limits.jerk
    state = JointState(np.zeros(7), np.full(7, 0.3), np.zeros(7))
    for factor, expected in ((0.5, True), (2.0, False)):
        j = factor * jerk
        wanted = JointState(state.p + t * state.v + j * t**3 / 6, state.v + j * t**2 / 2, j * t)
        assert (motion.reaches(state, wanted) == expected).all()
