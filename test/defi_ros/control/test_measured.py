import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defi_models.contract import NS_PER_S
from defi_ros.control.measured import MeasuredJoints

START_NS = 1_750_000_000 * NS_PER_S


@pytest.fixture
def joints(spec):
    made = MeasuredJoints(spec, 0.1)
    assert made.hear(START_NS, spec.home, START_NS) == (None, None)
    return made


@pytest.mark.parametrize(
    ("after_s", "moved_rad", "jumps"), [(0.005, 0.05, False), (0.005, 0.5, True), (0.3, 0.5, False)]
)
def test_a_joint_jumps_when_it_was_faster_than_an_arm_can_be(joints, spec, after_s, moved_rad, jumps):
    now_ns = START_NS + round(after_s * NS_PER_S)
    refused, jump = joints.hear(now_ns, spec.home + moved_rad * np.eye(7)[3], now_ns)
    assert refused is None
    assert (jump is not None) == jumps and (not jumps or "panda_joint4 jumped by 0.50 rad within 0.005 s" in jump)
    np.testing.assert_allclose(joints.positions, spec.home + moved_rad * np.eye(7)[3])


@given(speeds=st.lists(st.floats(-1, 1), min_size=7, max_size=7), period_s=st.floats(0.001, 0.1))
def test_an_arm_at_any_speed_it_may_have_never_jumps(spec, speeds, period_s):
    joints, now_ns, positions = MeasuredJoints(spec, 0.1), START_NS, spec.home
    for _ in range(5):
        assert joints.hear(now_ns, positions, now_ns) == (None, None)
        now_ns += round(period_s * NS_PER_S)
        positions = positions + period_s * np.array(speeds) * spec.limits.velocity


def test_a_refused_state_changes_nothing_and_a_late_one_is_counted(joints, spec):
    refused, _ = joints.hear(START_NS, spec.home + 0.5, START_NS + NS_PER_S)
    assert refused == "joint state: stamp is 1.00 s old, limit 0.1 s; do the clocks agree?"
    np.testing.assert_array_equal(joints.positions, spec.home)
    assert joints.refused_late == 1 and joints.silent_s(START_NS + NS_PER_S) == 1.0
