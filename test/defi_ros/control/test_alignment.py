import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defi_models.contract import NS_PER_S
from defi_ros.control.alignment import AlignedFrames, FrameAligner, JointHistory, JointSample
from defi_ros.sections import Alignment

MS = 1_000_000
NOW_NS = 1_750_000_000 * NS_PER_S
IMAGE = np.zeros((2, 2, 3), np.uint8)


@pytest.fixture
def history():
    history = JointHistory(2, Alignment(joint_max_age_s=0.1, joint_max_gap_s=0.1, history_s=1.0))
    for k in range(11):
        stamp_ns = NOW_NS + 10 * k * MS
        assert history.add(stamp_ns, [0.1 * k, -0.1 * k], 0.05 * k, stamp_ns) is None
    return history


@settings(max_examples=200)
@given(at_ms=st.floats(0, 100))
def test_proprioception_is_interpolated_to_the_wanted_time(history, at_ms):
    sample = history.at(NOW_NS + round(at_ms * MS))
    assert isinstance(sample, JointSample)
    np.testing.assert_allclose(sample.positions, [at_ms / 100, -at_ms / 100], atol=1e-6)
    assert sample.gripper == pytest.approx(at_ms / 200, abs=1e-6)


def test_after_the_newest_it_holds_for_as_long_as_it_may(history):
    sample = history.at(NOW_NS + 150 * MS)
    assert isinstance(sample, JointSample)
    np.testing.assert_allclose(sample.positions, [1.0, -1.0])
    assert history.at(NOW_NS + 300 * MS) == "joint_states: newest is 0.200 s old, limit 0.1 s"


def test_before_the_oldest_it_is_not_known(history):
    assert history.at(NOW_NS - 40 * MS) == "joint_states: asked for 0.040 s before the oldest of 1 s kept"


def test_a_known_latency_dates_joints_back_to_when_they_were_read():
    history = JointHistory(1, Alignment(joint_latency_s=0.02))
    for tick in range(5):
        now_ns = 10 * NS_PER_S + tick * 10_000_000
        assert history.add(now_ns, [float(tick)], 1.0, now_ns) is None
    sample = history.at(10 * NS_PER_S)
    assert not isinstance(sample, str)
    np.testing.assert_allclose(sample.positions, [2.0])  # said 20 ms later


def test_over_a_gap_it_is_not_guessed(history):
    late_ns = NOW_NS + 400 * MS
    history.add(late_ns, [0, 0], 0.0, late_ns)
    assert history.at(NOW_NS + 200 * MS) == "joint_states: got a gap of 0.300 s around the wanted time, limit 0.1 s"


def test_before_the_first_state_nothing_is_known():
    assert (
        JointHistory(2, Alignment()).at(NOW_NS)
        == "joint_states: got none yet, expected them before the first image is used"
    )


@pytest.mark.parametrize(
    ("stamp_ms", "positions", "reason"),
    [
        (110, [0.0], "joint_states: got 1 positions, expected 2"),
        (110, [0.0, np.nan], "joint_states: got a number that is not finite, expected finite numbers only"),
        (90, [0.0, 0.0], "joint_states: stamp is 0.010 s older than the newest, expected a newer one"),
        (900, [0.0, 0.0], "joint_states: stamp is 0.80 s in the future, limit 0.1 s; do the clocks agree?"),
    ],
)
def test_a_state_that_cannot_be_true_is_refused(history, stamp_ms, positions, reason):
    assert history.add(NOW_NS + stamp_ms * MS, positions, 0.0, NOW_NS + 100 * MS) == reason


def test_a_clock_set_back_starts_a_new_history(history):
    back_ns = NOW_NS - 10 * NS_PER_S
    assert history.add(back_ns, [5.0, 5.0], 0.0, back_ns) is None
    sample = history.at(back_ns + 10 * MS)
    assert isinstance(sample, JointSample) and sample.positions[0] == 5.0


def test_history_is_bounded(history):
    later_ns = NOW_NS + 1050 * MS
    history.add(later_ns, [0, 0], 0.0, later_ns)
    assert isinstance(history.at(NOW_NS + 10 * MS), str)


@pytest.fixture
def aligner():
    return FrameAligner({"static": 0.3, "wrist": 0.3}, 0.05)


def test_the_anchor_is_the_oldest_of_the_newest_images(aligner):
    wrist = [IMAGE + k for k in range(3)]
    aligner.add("static", NOW_NS, IMAGE, NOW_NS)
    for k in range(3):
        aligner.add("wrist", NOW_NS + (33 * k - 20) * MS, wrist[k], NOW_NS + 50 * MS)
    frames = aligner.aligned(NOW_NS + 60 * MS)
    assert isinstance(frames, AlignedFrames)
    assert frames.time_ns == NOW_NS
    assert frames.images["wrist"] is wrist[1]  # 13 ms away; the newest is 46 ms away


def test_the_same_images_are_not_acted_upon_twice(aligner):
    for camera in ("static", "wrist"):
        aligner.add(camera, NOW_NS, IMAGE, NOW_NS)
    assert isinstance(aligner.aligned(NOW_NS, NOW_NS - 1), AlignedFrames)
    assert aligner.aligned(NOW_NS, NOW_NS) == "no image newer than the one acted upon last"


def test_a_silent_camera_is_named(aligner):
    aligner.add("static", NOW_NS, IMAGE, NOW_NS)
    assert aligner.aligned(NOW_NS) == "camera 'wrist': got no image yet, expected one of each of ['static', 'wrist']"


def test_a_frozen_camera_is_named_with_its_age(aligner):
    for camera, at_ms in (("wrist", 0), ("static", 600)):
        aligner.add(camera, NOW_NS + at_ms * MS, IMAGE, NOW_NS + at_ms * MS)
    assert aligner.aligned(NOW_NS + 620 * MS) == "camera 'wrist': newest image is 0.62 s old, limit 0.3 s"


def test_images_too_far_apart_are_not_one_observation(aligner):
    for camera, at_ms in (("wrist", 0), ("static", 100)):
        aligner.add(camera, NOW_NS + at_ms * MS, IMAGE, NOW_NS + at_ms * MS)
    assert aligner.aligned(NOW_NS + 100 * MS) == "camera 'static': image is 0.100 s away from the others, limit 0.05 s"


def test_the_camera_that_lags_is_blamed_and_not_those_that_run_ahead_of_it(aligner):
    """Of the others a few frames are kept, so their nearest is less far away than the lag, and once was blamed for it."""
    for tick in range(12):
        now_ns = NOW_NS + tick * 33 * MS
        aligner.add("wrist", now_ns, IMAGE, now_ns)
        aligner.add("static", now_ns - 200 * MS, IMAGE, now_ns)
    assert aligner.aligned(now_ns) == "camera 'static': its images come 0.200 s behind those of 'wrist', limit 0.05 s"


def test_an_image_that_comes_again_under_its_stamp_is_refused(aligner):
    aligner.add("static", NOW_NS, IMAGE, NOW_NS)
    assert aligner.add("static", NOW_NS, IMAGE, NOW_NS) == (
        "camera 'static': got the same stamp again, expected a newer one; is it frozen?"
    )


def test_an_unknown_camera_is_refused(aligner):
    assert aligner.add("roof", NOW_NS, IMAGE, NOW_NS) == (
        "camera 'roof': got an image of an unknown camera, expected one of ['static', 'wrist']"
    )


def test_an_image_out_of_order_is_refused_and_a_clock_set_back_is_followed(aligner):
    aligner.add("static", NOW_NS, IMAGE, NOW_NS)
    assert "0.100 s older than the newest" in aligner.add("static", NOW_NS - 100 * MS, IMAGE, NOW_NS)
    back_ns = NOW_NS - 5 * NS_PER_S
    for camera in ("static", "wrist"):
        assert aligner.add(camera, back_ns, IMAGE, back_ns) is None
    frames = aligner.aligned(back_ns, NOW_NS)
    assert isinstance(frames, AlignedFrames) and frames.time_ns == back_ns
