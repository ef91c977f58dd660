from typing import Any

import numpy as np
import pytest

from defi_models.contract import NS_PER_S
from defi_ros.control.promises import Promises

S = NS_PER_S
START_NS = 1_750_000_000 * S
STEP_NS = S // 10


@pytest.fixture
def promises() -> Any:
    return Promises()


def said(promises, chunk, latency_s):
    promises.note(chunk, chunk.start_ns + round(latency_s * S))
    promises.executing(chunk.start_ns)


def test_until_a_chunk_is_executed_nothing_is_promised(promises, joint_chunk):
    assert promises.at(START_NS, STEP_NS, 10) is None
    promises.note(joint_chunk(START_NS), START_NS + S // 5)
    assert promises.at(START_NS, STEP_NS, 10) is None
    promises.executing(START_NS + 1)  # another process' chunk
    assert promises.at(START_NS, STEP_NS, 10) is None


def test_what_is_due_before_the_next_chunk_can_come_is_promised_at_its_own_times(promises, spec, joint_chunk):
    said(promises, joint_chunk(START_NS, lambda s: spec.home + 0.1 * s), 0.25)
    observed_ns = START_NS + 170_000_000  # off the grid of the chunk before
    promised = promises.at(observed_ns, STEP_NS, 10)
    assert promised is not None
    assert (promised.start_ns, promised.step_ns, len(promised.targets)) == (observed_ns, STEP_NS, 3)  # 0, 0.1, 0.2 s
    np.testing.assert_allclose(promised.targets[:, 0], spec.home[0] + 0.1 * np.array([0.17, 0.27, 0.37]), atol=1e-9)


def test_the_delay_foreseen_is_the_longest_of_the_last_ones_and_is_forgotten(promises, joint_chunk):
    said(promises, joint_chunk(START_NS), 0.55)
    assert len(promises.at(START_NS, STEP_NS, 10).targets) == 6
    for k in range(1, 11):
        said(promises, joint_chunk(START_NS + k * STEP_NS), 0.1)
    assert len(promises.at(START_NS + 11 * STEP_NS, STEP_NS, 10).targets) == 2


def test_the_arm_s_own_delay_is_promised_too(joint_chunk):
    promises: Any = Promises(lookahead_s=0.2)
    said(promises, joint_chunk(START_NS), 0.1)
    assert len(promises.at(START_NS, STEP_NS, 10).targets) == 4


def test_never_more_is_promised_than_the_chunk_holds_or_the_next_one_has(promises, joint_chunk):
    said(promises, joint_chunk(START_NS), 5.0)
    assert len(promises.at(START_NS + S // 2, STEP_NS, 10).targets) == 5
    assert len(promises.at(START_NS + S // 2, STEP_NS, 2).targets) == 2
    assert promises.at(START_NS + 2 * S, STEP_NS, 10) is None


def test_once_a_person_has_the_arm_nothing_is_promised(promises, joint_chunk):
    said(promises, joint_chunk(START_NS), 0.2)
    promises.executing(0)
    assert promises.at(START_NS, STEP_NS, 10) is None
