from typing import Any

import numpy as np
import pytest

from defi_models.contract import NS_PER_S
from defi_ros.control.promises import Promises, soft_weights

S = NS_PER_S
START_NS = 1_750_000_000 * S
STEP_NS = S // 10


@pytest.fixture
def promises() -> Any:
    return Promises()


def said(promises, chunk, latency_s):
    promises.note(chunk, chunk.start_ns + round(latency_s * S))
    promises.executing(chunk.start_ns)


def certain(promised):
    """How many targets are carried out whatever comes."""
    return int((promised.weights == 1.0).sum())


def test_until_a_chunk_is_executed_nothing_is_promised(promises, joint_chunk):
    assert promises.at(START_NS, STEP_NS, 10, "joint_positions") is None
    promises.note(joint_chunk(START_NS), START_NS + S // 5)
    assert promises.at(START_NS, STEP_NS, 10, "joint_positions") is None
    promises.executing(START_NS + 1)  # another process' chunk
    assert promises.at(START_NS, STEP_NS, 10, "joint_positions") is None


def test_what_is_due_before_the_next_chunk_can_come_is_promised_at_its_own_times(promises, spec, joint_chunk):
    said(promises, joint_chunk(START_NS, lambda s: spec.home + 0.1 * s), 0.25)
    observed_ns = START_NS + 170_000_000  # off the grid of the chunk before
    promised = promises.at(observed_ns, STEP_NS, 10, "joint_positions")
    assert promised is not None
    chunk = promised.chunk
    assert (chunk.start_ns, chunk.step_ns) == (observed_ns, STEP_NS)
    assert certain(promised) == 4  # 0, 0.1, 0.2 s and 0.3 s, towards which the arm is moving then
    np.testing.assert_allclose(chunk.targets[:3, 0], spec.home[0] + 0.1 * np.array([0.17, 0.27, 0.37]), atol=1e-9)


def test_what_is_left_of_a_chunk_binds_the_less_the_later_it_is(promises, joint_chunk):
    said(promises, joint_chunk(START_NS), 0.25)
    weights = promises.at(START_NS + 2 * STEP_NS, STEP_NS, 10, "joint_positions").weights
    np.testing.assert_allclose(weights[:4], 1.0)
    assert len(weights) > 5 and (np.diff(weights[3:]) < 0).all() and 0.0 < weights[-1] < 0.1


def test_soft_weights_are_those_of_the_paper():
    np.testing.assert_allclose(
        soft_weights(4, 2), [1.0, 1.0, 2 / 3 * np.expm1(2 / 3) / np.expm1(1), 1 / 3 * np.expm1(1 / 3) / np.expm1(1)]
    )
    np.testing.assert_array_equal(soft_weights(2, 5), [1.0, 1.0])


def test_one_slow_inference_does_not_bind_the_chunks_after_it(promises, joint_chunk):
    for k in range(4):
        said(promises, joint_chunk(START_NS + k * STEP_NS), 0.9 if k == 1 else 0.15)
    assert certain(promises.at(START_NS + 4 * STEP_NS, STEP_NS, 10, "joint_positions")) == 3


def test_a_policy_of_other_actions_is_promised_nothing(promises, joint_chunk):
    said(promises, joint_chunk(START_NS), 0.2)
    assert promises.at(START_NS, STEP_NS, 10, "ee_pose") is None
    assert promises.at(START_NS, STEP_NS, 10, "joint_positions") is not None


def test_the_delay_foreseen_is_the_longest_but_one_of_the_last_ones_and_is_forgotten(promises, joint_chunk):
    said(promises, joint_chunk(START_NS), 0.55)
    assert certain(promises.at(START_NS, STEP_NS, 10, "joint_positions")) == 7
    for k in range(1, 11):
        said(promises, joint_chunk(START_NS + k * STEP_NS), 0.1)
    assert certain(promises.at(START_NS + 11 * STEP_NS, STEP_NS, 10, "joint_positions")) == 2


def test_the_arm_s_own_delay_is_promised_too(joint_chunk):
    promises: Any = Promises(lookahead_s=0.2)
    said(promises, joint_chunk(START_NS), 0.1)
    assert certain(promises.at(START_NS, STEP_NS, 10, "joint_positions")) == 4


def test_never_more_is_promised_than_the_chunk_holds_or_the_next_one_has(promises, joint_chunk):
    said(promises, joint_chunk(START_NS), 5.0)
    assert certain(promises.at(START_NS + S // 2, STEP_NS, 10, "joint_positions")) == 5
    assert certain(promises.at(START_NS + S // 2, STEP_NS, 2, "joint_positions")) == 2
    assert promises.at(START_NS + 2 * S, STEP_NS, 10, "joint_positions") is None


def test_once_a_person_has_the_arm_nothing_is_promised(promises, joint_chunk):
    said(promises, joint_chunk(START_NS), 0.2)
    promises.executing(0)
    assert promises.at(START_NS, STEP_NS, 10, "joint_positions") is None
