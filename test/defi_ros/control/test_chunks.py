import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_models.contract import NS_PER_S, ActionChunk
from defi_ros.control.chunks import SEAM_RAD_S2, ChunkSchedule
from defi_ros.control.curves import slerp

S = NS_PER_S
START_NS = 1_750_000_000 * S


@pytest.fixture(params=["newest", "ensemble", "rtc"])
def schedule(spec, request):
    return ChunkSchedule(spec.arm, 7, max_age_s=1.0, blend_s=0.12, blending=request.param)


def row_at(schedule, seconds):
    target = schedule.target_at(START_NS + round(seconds * S))
    assert target is not None
    return target.row


def test_target_k_is_due_at_start_plus_k_steps(schedule, spec, joint_chunk):
    chunk = joint_chunk(START_NS, lambda s: spec.home + 0.1 * np.sin(5 * s))
    assert schedule.accept(chunk, START_NS) is None
    for k in range(len(chunk.targets)):
        np.testing.assert_allclose(row_at(schedule, 0.1 * k), chunk.targets[k], atol=1e-12)


def test_late_chunk_skips_elapsed_steps(schedule, spec, joint_chunk):
    chunk = joint_chunk(START_NS, lambda s: spec.home + 0.1 * s)
    assert schedule.accept(chunk, START_NS + 450_000_000) is None
    np.testing.assert_allclose(row_at(schedule, 0.45), spec.home + 0.045, atol=1e-9)


def test_lookahead_leads_by_the_delay_of_the_controller(spec, joint_chunk):
    schedule = ChunkSchedule(spec.arm, 7, lookahead_s=0.05)
    schedule.accept(joint_chunk(START_NS, lambda s: spec.home + 0.1 * s), START_NS)
    np.testing.assert_allclose(row_at(schedule, 0.2), spec.home + 0.025, atol=1e-9)


def test_nothing_is_due_after_the_end(schedule, joint_chunk):
    chunk = joint_chunk(START_NS)
    schedule.accept(chunk, START_NS)
    assert schedule.target_at(chunk.end_ns) is not None
    assert schedule.target_at(chunk.end_ns + 1) is None


def test_a_chunk_stamped_a_little_ahead_is_followed_without_a_pause(schedule, spec, joint_chunk):
    """The clock of a camera's computer that was 60 ms ahead once made every chunk wait: the arm stopped and went on."""
    moves = lambda s: spec.home + 0.4 * s  # noqa: E731
    schedule.accept(joint_chunk(START_NS, moves), START_NS)
    rows = []
    for tick in range(200):
        now_ns = START_NS + tick * 5_000_000
        if tick % 40 == 39:
            assert schedule.accept(joint_chunk(now_ns + 60_000_000, moves), now_ns) is None
        rows.append(row_at(schedule, tick * 0.005))
    np.testing.assert_allclose(np.diff(rows, axis=0) / 0.005, 0.4, atol=0.05)


def test_cleared_is_empty(schedule, joint_chunk):
    schedule.accept(joint_chunk(START_NS), START_NS)
    schedule.clear()
    assert (schedule.target_at(START_NS), schedule.chunk, schedule.accepted_ns) == (None, None, None)


@settings(max_examples=20)
@given(
    shift=st.floats(-0.2, 0.2),
    every=st.integers(6, 60),
    latency=st.integers(0, 40),
    frequency=st.floats(0.2, 4),
)
def test_seams_have_no_step_in_position_or_velocity(schedule, spec, joint_chunk, shift, every, latency, frequency):
    schedule.clear()
    rows, period_ns = [], 5_000_000
    for tick in range(240):
        now_ns = START_NS + tick * period_ns
        if tick % every == 0:
            sign = 1 if (tick // every) % 2 else -1
            observed_ns = now_ns - latency * period_ns
            schedule.accept(
                joint_chunk(observed_ns, lambda s, sign=sign: spec.home + sign * shift + 0.1 * np.sin(frequency * s)),
                now_ns,
                (spec.home + shift, np.zeros(7)),
            )
        target = schedule.target_at(now_ns)
        if target is not None:
            rows.append(target.row[0])
    velocity = np.diff(rows) / 0.005
    assert np.abs(velocity).max() < 1.5 * 2 * abs(shift) / 0.12 * 3 + 1.0
    # 0.4 rad in 0.12 s is an acceleration of up to 6 * 0.4 / 0.12^2; three such blends may overlap
    bound = 3 * (12 * abs(shift) / 0.12**2) + 40
    assert np.abs(np.diff(velocity)).max() < bound * 0.005


@pytest.mark.parametrize("blending", ["newest", "rtc"])
def test_a_wide_seam_is_closed_calmly(blending, spec, joint_chunk):
    schedule = ChunkSchedule(spec.arm, 7, blend_s=0.12, blending=blending)
    schedule.accept(joint_chunk(START_NS), START_NS)
    schedule.accept(joint_chunk(START_NS + S // 10, lambda s: spec.home + 0.2), START_NS + S // 5)
    rows = np.array([row_at(schedule, 0.2 + 0.005 * tick)[0] for tick in range(100)])
    assert np.abs(np.diff(rows, 2)).max() / 0.005**2 <= SEAM_RAD_S2 * (1 + 1e-6)
    assert rows[-1] == pytest.approx(spec.home[0] + 0.2)


def test_a_seam_that_opens_at_a_speed_is_closed_calmly_too(spec, joint_chunk):
    """A crossfade was once half as long as that takes: its end, where the speeds differ most, had been left out."""
    schedule = ChunkSchedule(spec.arm, 7, blend_s=0.02)
    schedule.accept(joint_chunk(START_NS), START_NS)
    schedule.accept(
        joint_chunk(START_NS + S // 10, lambda s: spec.home + 0.4 * (s - 0.1)), START_NS + S // 10 + 1_000_000
    )
    rows = np.array([row_at(schedule, 0.105 + 0.005 * tick)[0] for tick in range(120)])
    most = np.abs(np.diff(rows, 2)).max() / 0.005**2
    assert 0.6 * SEAM_RAD_S2 < most <= SEAM_RAD_S2 * 1.02


def test_the_first_chunk_begins_where_and_as_fast_as_the_arm_goes(schedule, spec, joint_chunk):
    anchor = (spec.home + 0.05, np.full(7, 0.3))
    schedule.accept(joint_chunk(START_NS), START_NS, anchor)
    first, second = row_at(schedule, 0.0), row_at(schedule, 0.001)
    np.testing.assert_allclose(first, anchor[0])
    np.testing.assert_allclose((second - first) / 0.001, 0.3, atol=0.03)


def test_orientation_goes_the_short_way_and_stays_of_unit_length(schedule, spec, kinematics):
    poses = np.tile(kinematics.forward(spec.home), (6, 1))
    for k in range(6):
        poses[k, 3:] = slerp(np.array([1.0, 0, 0, 0]), np.array([0, 1.0, 0, 0]), 0.1 * k) * (-1) ** k
    chunk = ActionChunk(START_NS, S // 10, "ee_pose", poses, np.ones(6), spec.arm)
    schedule.accept(chunk, START_NS)
    rows = np.array([row_at(schedule, 0.005 * tick) for tick in range(101)])
    np.testing.assert_allclose(np.linalg.norm(rows[:, 3:], axis=1), 1)
    turned = 2 * np.arccos(np.clip(np.abs((rows[1:, 3:] * rows[:-1, 3:]).sum(axis=1)), 0, 1))
    assert turned.max() < 1.2 * np.pi * 0.5 / 100
    assert turned.sum() == pytest.approx(np.pi * 0.5, rel=0.01)


@settings(max_examples=200)
@given(
    first=st.lists(st.floats(-1, 1), min_size=4, max_size=4).map(np.array),
    second=st.lists(st.floats(-1, 1), min_size=4, max_size=4).map(np.array),
    part=st.floats(0, 1),
)
def test_slerp_turns_in_proportion(first, second, part):
    if min(np.linalg.norm(first), np.linalg.norm(second)) < 0.1:
        return
    first, second = first / np.linalg.norm(first), second / np.linalg.norm(second)
    middle = slerp(first, second, part)
    assert np.linalg.norm(middle) == pytest.approx(1)
    whole = np.arccos(min(abs(first @ second), 1.0))
    assert np.arccos(min(abs(first @ middle), 1.0)) == pytest.approx(part * whole, abs=1e-4)


def test_the_gripper_is_the_one_of_the_nearest_step(schedule, joint_chunk):
    schedule.accept(joint_chunk(START_NS, gripper=np.array([1.0] * 5 + [0.0] * 5)), START_NS)
    openings = [schedule.target_at(START_NS + round(s * S)).gripper for s in (0.40, 0.449, 0.451, 0.9)]
    assert openings == [1.0, 1.0, 0.0, 0.0]


def test_a_single_target_is_a_chunk(schedule, joint_chunk, spec):
    assert schedule.accept(joint_chunk(START_NS, steps=1, gripper=np.ones(1)), START_NS - 1) is None
    np.testing.assert_array_equal(schedule.target_at(START_NS).row, spec.home)


@pytest.mark.parametrize(
    ("changes", "late_s", "reason"),
    [
        ({"arm": "ur5e"}, 0.0, "chunk is for arm 'ur5e', expected 'franka_panda'"),
        ({"targets": np.zeros((10, 6))}, 0.0, "chunk has targets of 6 joints, expected 7"),
        (
            {"targets": np.full((10, 7), 1e308)},
            0.0,
            "chunk has a target at 1e+308, expected none beyond 1000 m or rad, where no arm gets",
        ),
        ({}, 0.95, "chunk was over 0.05 s ago, expected targets still to come"),
        ({"step_ns": S}, 1.2, "chunk's observation is 1.20 s old, limit 1 s"),
        ({}, -0.5, "chunk's observation is 0.50 s in the future, limit 0.1 s; do the clocks agree?"),
    ],
)
def test_a_chunk_that_does_not_fit_is_refused_with_the_reason(schedule, joint_chunk, changes, late_s, reason):
    assert schedule.accept(joint_chunk(START_NS, **changes), START_NS + round(late_s * S)) == reason
    assert schedule.chunk is None


def test_a_chunk_older_than_the_one_in_execution_is_refused(schedule, joint_chunk):
    newer = joint_chunk(START_NS + S // 5)
    assert schedule.accept(newer, START_NS + S // 4) is None
    for observed_ns, behind in ((START_NS, "0.20"), (newer.start_ns, "0.00")):
        reason = schedule.accept(joint_chunk(observed_ns), START_NS + S // 4)
        assert reason == f"chunk's observation is {behind} s older than the one in execution, expected a newer one"
    assert schedule.chunk is newer


def test_an_ensemble_is_the_weighted_mean_of_all_chunks_that_cover_the_time(spec, joint_chunk):
    schedule = ChunkSchedule(spec.arm, 7, blend_s=0.1, blending="ensemble", ensemble_gain_1_s=-5.0)
    for k, shift in enumerate((0.0, 0.02, 0.04)):
        schedule.accept(
            joint_chunk(START_NS + k * S // 5, lambda s, shift=shift: spec.home + shift), START_NS + k * S // 5
        )
    weights = np.exp(-5.0 * np.array([-0.4, -0.2, 0.0]))
    expected = weights @ [0.0, 0.02, 0.04] / weights.sum()
    np.testing.assert_allclose(row_at(schedule, 0.7), spec.home + expected, atol=1e-9)
    # the first chunk ends at 0.9 s and leaves without a step
    rows = np.array([row_at(schedule, 0.7 + 0.005 * tick)[0] for tick in range(100)])
    assert np.abs(np.diff(rows)).max() < 0.02 * 4.0 / 0.1 * 0.005  # the heavier one leaves faster than alone
    assert row_at(schedule, 1.25)[0] == pytest.approx(spec.home[0] + 0.04, abs=1e-6)


def test_an_ensemble_of_rotations_is_a_rotation_between_them(spec, kinematics):
    schedule = ChunkSchedule(spec.arm, 7, blend_s=0.1, blending="ensemble", ensemble_gain_1_s=0.0)
    pose = kinematics.forward(spec.home)
    for k, angle in enumerate((0.0, 0.4)):
        turned = np.array([*pose[:3], 0.0, 0.0, np.sin(angle / 2), np.cos(angle / 2)]) * (
            1 if k == 0 else [1] * 3 + [-1] * 4
        )
        chunk = ActionChunk(START_NS + k * S // 5, S // 10, "ee_pose", np.tile(turned, (10, 1)), np.ones(10), spec.arm)
        schedule.accept(chunk, START_NS + k * S // 5)
    row = row_at(schedule, 0.5)
    assert np.linalg.norm(row[3:]) == pytest.approx(1.0)
    assert 2 * np.arctan2(abs(row[5]), abs(row[6])) == pytest.approx(0.2, abs=1e-6)


def test_a_second_chunk_makes_no_step_while_the_arm_still_leaves_its_rest(spec, joint_chunk):
    """The ensemble weighs chunks against the newest; what the arm did before them was not, and jumped by millimetres."""
    schedule = ChunkSchedule(spec.arm, 7, blend_s=0.4, blending="ensemble", ensemble_gain_1_s=-2.0)
    schedule.accept(joint_chunk(START_NS, lambda s: spec.home + 0.5), START_NS, (spec.home, np.zeros(7)))
    before = row_at(schedule, 0.2)
    assert (np.abs(before - spec.home - 0.25) < 0.2).all()  # on its way
    schedule.accept(joint_chunk(START_NS + S // 5, lambda s: spec.home + 0.5), START_NS + S // 5)
    np.testing.assert_allclose(row_at(schedule, 0.2), before, atol=1e-12)
