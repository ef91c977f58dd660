"""Laws of the paired transforms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from defi_models.config import ActionEncoding
from defi_models.contract import CheckpointError, ContractError
from defi_models.transforms import (
    DOWN,
    ActionTransform,
    ImageTransform,
    ProprioceptionTransform,
    Statistics,
    raw_actions,
)

STATISTICS = Statistics((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0), tuple(range(10)), tuple(range(1, 11)))


def random_poses(rng: np.random.Generator, count: int, turn_rad: float = 3.0) -> np.ndarray:
    turns = Rotation.from_rotvec(rng.uniform(-1, 1, (count, 3)) * turn_rad / np.sqrt(3))
    return np.concatenate([rng.uniform(-1, 1, (count, 3)), turns.as_quat()], axis=1)


@pytest.mark.parametrize("encoding", ["relative_pose", "absolute_pose", "accumulated_pose"])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_actions_decode_to_the_targets_they_encode(encoding: ActionEncoding, seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets, here = random_poses(rng, 5), random_poses(rng, 1)[0]
    gripper = rng.integers(0, 2, 5).astype(np.float64) if encoding == "accumulated_pose" else rng.uniform(0, 1, 5)
    transform = ActionTransform(STATISTICS, encoding)
    back, opening = transform.decode(transform.encode(targets, gripper, here), here)
    np.testing.assert_allclose(back[:, :3], targets[:, :3], atol=1e-9)
    turned = Rotation.from_quat(back[:, 3:]) * Rotation.from_quat(targets[:, 3:]).inv()
    np.testing.assert_allclose(turned.magnitude(), 0, atol=1e-7)
    np.testing.assert_allclose(opening, gripper, atol=1e-9)


def test_absolute_targets_of_an_arm_that_points_down_do_not_jump() -> None:
    """From the base, pointing down is half a turn: a hair to either side, the rotation vector was its own opposite."""
    tilts = Rotation.from_euler("xyz", np.array([[t, 0.01 * np.sign(t), 0.3] for t in np.linspace(-0.02, 0.02, 9)]))
    targets = np.concatenate([np.zeros((9, 3)), (tilts * Rotation.from_quat(DOWN)).as_quat()], axis=1)
    actions = raw_actions("absolute_pose", targets, np.zeros(9), targets[0])
    assert np.abs(np.diff(actions[:, 3:6], axis=0)).max() < 0.03


def test_joint_positions_decode_to_the_targets_they_encode() -> None:
    rng = np.random.default_rng(0)
    targets, gripper = rng.uniform(-2, 2, (5, 6)), rng.uniform(0, 1, 5)
    transform = ActionTransform(Statistics((1.5,) * 6 + (1.0,), (0.0,) * 10, (1.0,) * 10), "joint_positions")
    here = random_poses(rng, 1)[0]
    back, opening = transform.decode(transform.encode(targets, gripper, here), here)
    np.testing.assert_allclose(back, targets, atol=1e-12)
    np.testing.assert_allclose(opening, gripper, atol=1e-12)


def test_accumulated_steps_add_up_as_calvin_adds_them() -> None:
    """Positions and Euler angles about fixed axes, scaled, onto the target before; the gripper by its sign."""
    scale = (0.02,) * 3 + (0.05,) * 3 + (1.0,)
    transform = ActionTransform(Statistics(scale, (0.0,) * 10, (1.0,) * 10), "accumulated_pose")
    here = np.concatenate([[0.3, 0.0, 0.5], Rotation.from_euler("xyz", [3.1, 0.0, 1.5]).as_quat()])
    actions = np.array([[1, 0, 0, 0, 0, 1, 0.2], [1, -1, 0, 0, 0.5, 1, -0.2], [0, 0, 1, 0, 0, 0, 0]], dtype=float)
    targets, opening = transform.decode(actions, here)
    np.testing.assert_allclose(targets[:, :3], [[0.32, 0, 0.5], [0.34, -0.02, 0.5], [0.34, -0.02, 0.52]], atol=1e-12)
    expected = Rotation.from_euler("xyz", [[3.1, 0, 1.55], [3.1, 0.025, 1.6], [3.1, 0.025, 1.6]])
    turned = Rotation.from_quat(targets[:, 3:]) * expected.inv()
    np.testing.assert_allclose(turned.magnitude(), 0, atol=1e-12)
    np.testing.assert_array_equal(opening, [1.0, 0.0, 0.0])


def test_standing_still_is_the_zero_action() -> None:
    here = random_poses(np.random.default_rng(1), 1)[0]
    action = ActionTransform(STATISTICS).encode(here[None], np.array([0.5]), here)
    np.testing.assert_allclose(action, np.zeros((1, 7)), atol=1e-9)


def test_image_of_the_right_size_comes_back_exactly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    transform = ImageTransform(32)
    np.testing.assert_array_equal(transform.decode(transform.encode(image)), image)


def test_image_is_scaled_to_minus_one_to_one() -> None:
    image = np.zeros((40, 50, 3), np.uint8)
    image[:, 25:] = 255
    encoded = ImageTransform(16).encode(image)
    assert encoded.shape == (3, 16, 16)
    assert encoded.min() == -1.0
    assert encoded.max() == 1.0


def test_float_image_is_refused_with_what_was_expected() -> None:
    with pytest.raises(ContractError, match=r"got float64 of shape \(4, 4, 3\), expected uint8"):
        ImageTransform(4).encode(np.zeros((4, 4, 3)))  # type: ignore[arg-type]


def test_statistics_come_back_from_their_dictionary() -> None:
    values = {k: [float(x) for x in v] for k, v in STATISTICS.to_dict().items()}
    assert Statistics.from_dict(values, 7).to_dict() == values


@pytest.mark.parametrize(
    "damage", [{"action_scale": None}, {"action_scale": [1.0]}, {"proprioception_std": [float("nan")] * 10}]
)
def test_damaged_statistics_are_refused_by_name(damage: dict) -> None:
    values = {**{k: [float(x) for x in v] for k, v in STATISTICS.to_dict().items()}, **damage}
    with pytest.raises(CheckpointError, match=next(iter(damage))):
        Statistics.from_dict(values, 7)


def test_an_action_that_never_moves_is_not_blown_up() -> None:
    statistics = Statistics.of(np.zeros((4, 5, 7)), np.zeros((4, 10)))
    assert min(statistics.action_scale) > 0
    assert min(statistics.proprioception_std) > 0


def test_proprioception_is_clipped() -> None:
    far = ProprioceptionTransform(STATISTICS).encode(np.array([1e3, 0, 0, 1, 0, 0, 0]), np.zeros(7), 0.0)
    assert np.abs(far).max() == 5.0


@pytest.mark.parametrize("shape", [(256, 16), (16, 256)])
def test_an_edge_that_shrinks_is_averaged_also_where_the_other_one_grows(shape: tuple[int, int]) -> None:
    """The height alone decided; a fine pattern along the other edge became stripes that the scene does not have."""
    stripes = (np.arange(256) % 2 * 255).astype(np.uint8)
    image = np.broadcast_to(stripes.reshape([-1 if n == 256 else 1 for n in shape])[..., None], (*shape, 3)).copy()
    seen = ImageTransform(32).encode(image)
    assert seen.shape == (3, 32, 32)
    assert np.abs(seen).max() < 0.02


def test_a_state_of_other_joints_than_those_of_training_is_refused() -> None:
    transform = ProprioceptionTransform(STATISTICS, in_joints=True)
    with pytest.raises(ContractError, match="proprioception: got 8 numbers, 7 joints, expected 10 numbers"):
        transform.encode(np.array([0, 0, 0, 1.0, 0, 0, 0]), np.zeros(7), 0.5)
