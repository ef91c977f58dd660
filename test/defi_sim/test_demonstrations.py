"""Demonstrations: what is recorded, and that labels are the plan while the motion is disturbed."""

import numpy as np
import pytest

from defi_models.contract import ConfigError
from defi_sim.demonstrations import Demonstration, Disturbance, demonstrate, displaced
from defi_sim.starts import down_pose
from defi_sim.tasks import TASKS
from defi_sim.world import World


@pytest.fixture(scope="module")
def world():
    with World(image_size=(32, 48)) as made:
        yield made


def record(world: World, noise_m: float = 0.01, seed: int = 5) -> Demonstration:
    world.reset(seed, task="turn_on_lamp")
    return demonstrate(world, "turn_on_lamp", np.random.default_rng(seed), noise_m=noise_m)


def test_everything_is_recorded_at_the_rate_asked_for(world: World):
    demonstration = record(world)
    steps = len(demonstration.times_ns)
    assert demonstration.step_ns == 100_000_000
    np.testing.assert_array_equal(demonstration.times_ns, np.arange(steps) * demonstration.step_ns)
    assert {name: images.shape for name, images in demonstration.images.items()} == {
        "static": (steps, 32, 48, 3),
        "wrist": (steps, 32, 48, 3),
    }
    assert demonstration.joint_positions.shape == (steps, 7)
    assert demonstration.ee_pose.shape == demonstration.target_pose.shape == (steps, 7)
    assert demonstration.gripper.shape == demonstration.target_gripper.shape == (steps,)
    assert demonstration.success
    assert demonstration.instruction in TASKS["turn_on_lamp"].instructions
    assert TASKS["turn_on_lamp"].success(demonstration.start, demonstration.end)


def test_a_demonstration_is_reproducible(world: World):
    first, second = record(world), record(world)
    np.testing.assert_array_equal(first.ee_pose, second.ee_pose)
    np.testing.assert_array_equal(first.images["wrist"], second.images["wrist"])


def test_the_motion_strays_but_the_labels_do_not(world: World):
    quiet, disturbed = record(world, 0.0), record(world, 0.015)
    np.testing.assert_allclose(quiet.target_pose, disturbed.target_pose, atol=1e-12)
    strayed = np.linalg.norm(disturbed.ee_pose[:, :3] - disturbed.target_pose[:, :3], axis=1).max()
    followed = np.linalg.norm(quiet.ee_pose[:, :3] - quiet.target_pose[:, :3], axis=1).max()
    assert followed < 0.02 < strayed + 0.01


def test_the_end_is_recorded_standing_still(world: World):
    demonstration = record(world)
    np.testing.assert_allclose(demonstration.target_pose[-4:], demonstration.target_pose[[-1] * 4], atol=1e-9)


def test_a_demonstration_may_end_as_soon_as_the_task_is_done(world: World):
    whole = record(world)
    world.reset(5, task="turn_on_lamp")
    short = demonstrate(world, "turn_on_lamp", np.random.default_rng(5), stop_after_s=0.2)
    steps = len(short.times_ns)
    assert short.success
    assert steps < len(whole.times_ns) - 5
    np.testing.assert_array_equal(short.target_pose, whole.target_pose[:steps])


def test_a_rate_that_does_not_divide_the_control_rate_is_refused(world: World):
    world.reset(0, task="turn_on_led")
    with pytest.raises(ConfigError, match="got 30, expected a divisor of 100"):
        demonstrate(world, "turn_on_led", np.random.default_rng(0), rate_hz=30)


def test_the_disturbance_is_smooth_and_as_large_as_asked():
    disturbance = Disturbance(np.random.default_rng(0), 0.01, 0.01)
    offsets = np.array([disturbance.advance() for _ in range(40_000)])
    assert offsets[:, :3].std() == pytest.approx(0.01, rel=0.15)
    assert np.abs(np.diff(offsets[:, :3], axis=0)).max() < 0.0025  # within 10 ms; white noise would jump by 0.04


def test_no_offset_leaves_a_pose_unchanged():
    pose = down_pose(np.array([0.4, 0.1, 0.2]), 0.3)
    np.testing.assert_allclose(displaced(pose, np.zeros(6)), pose)
    turned = displaced(pose, np.array([0, 0, 0, 0, 0, 0.2]))
    np.testing.assert_allclose(turned, down_pose(pose[:3], 0.5), atol=1e-3)
